"""Clips out: frames encoded in the container that the suffix names, other streams copied packet by packet.

The file is written aside and takes its name when it is whole: an interruption leaves none.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter

from mien.errors import MienError
from mien.photo.credentials import Seal
from mien.photo.write import write_aside
from mien.video.clip import Clip, Frame, container_at
from mien.video.finish import finish, packet
from mien.video.kinds import container_of

_ENCODERS: dict[str, dict[str, str]] = {
    "libx264": {"crf": "17", "preset": "veryfast"},
    "libx265": {"crf": "19", "preset": "superfast", "x265-params": "log-level=none:bframes=0", "tag": "hvc1"},
    "libvpx-vp9": {"crf": "22", "b": "0", "deadline": "realtime", "cpu-used": "6", "row-mt": "1"},
    "gif": {},
    "libwebp_anim": {"quality": "90", "compression_level": "3"},
}
"""As good as the source to the eye; files are larger than a streaming site would make them. x265 loses the clock of a
clip that is shorter than its reordering, so it does none."""


_BT709 = 1  # the same number for matrix, primaries and transfer (ITU-T H.273)


@contextmanager
def clip_writer(
    path: Path,
    clip: Clip | None,
    frame: av.VideoFrame,
    rate: Fraction,
    *,
    overwrite: bool = False,
    mark: bool = True,
    seal: Seal | None = None,
) -> Iterator[Writer]:
    """A writer whose file appears at ``path`` when the block ends without an error, and else not at all.

    clip: whose sound, tags and clock are kept. frame: one like all to come; where it is the clip's first, so are the
    clip's turn, aspect and codec. seal: signs the finished file.
    """
    kind = container_of(path)
    with write_aside(path, overwrite) as aside:
        writer = Writer(aside, kind, clip, frame, rate, mark)
        try:
            yield writer
            writer.finish()
            writer.container.close()
        except av.error.FFmpegError as error:
            raise MienError(f"{path} cannot be written ({error.strerror}); choose another format or place") from error
        finally:
            with suppress(av.error.FFmpegError):  # what went wrong first is told
                writer.container.close()
        finish(aside, kind, writer.last, writer.end, mark)
        if seal:
            seal(aside, True)


class Writer:
    """See ``clip_writer``. notes: what the container could not keep, a line each. last, end: seconds that
    the last frame shows, and from the first frame's beginning to its end."""

    def __init__(
        self, aside: Path, kind: str, clip: Clip | None, frame: av.VideoFrame, rate: Fraction, mark: bool
    ) -> None:
        self.notes: list[str] = []
        self.last = self.end = 0.0
        self._start: float | None = None
        self._scaler = VideoReformatter()
        options = {"mp4": {"movflags": "+faststart"}, "mov": {"movflags": "+faststart"}}.get(kind, {})
        if kind in ("gif", "webp"):
            options = {"loop": str(clip.loop if clip else 0)}
        self.container = av.open(f"file:{aside}", "w", format=kind, container_options=options)
        self._open_pictures(kind, clip, frame, rate)
        self._copies: dict[int, Any] = {}
        if clip is not None:
            self.container.metadata.update(clip.metadata)
            self._open_others(kind, clip)
        if mark and kind in ("webm", "matroska"):
            self.container.metadata["XMP"] = packet().decode()
        try:
            self.container.start_encoding()
        except (ValueError, av.error.FFmpegError):
            kinds = ", ".join(sorted({s.codec_context.name for s in self.container.streams if s.codec_context}))
            raise MienError(f"{kind} cannot carry {kinds} of this size; write .mp4 or .mkv") from None

    def _open_pictures(self, kind: str, clip: Clip | None, frame: av.VideoFrame, rate: Fraction) -> None:
        name = {"webm": "libvpx-vp9", "gif": "gif", "webp": "libwebp_anim"}.get(kind, "libx264")
        own = clip if clip is not None and frame is clip.first.native else None
        if name == "libx264" and own and own.codec == "hevc":
            name = "libx265"  # phones play deep colour in this one only
        settings = dict(_ENCODERS[name])
        tag = settings.pop("tag", None)
        limited = Fraction(rate).limit_denominator(100_000)
        stream: Any = self.container.add_stream(name, rate=limited, options=settings)
        self.stream = stream
        self._form, self._even = _form(name, frame)
        self._palette = _Palette(frame, self._form, clip is not None and clip.codec == "gif") if name == "gif" else None
        self._size = (frame.width, frame.height)
        stream.width, stream.height = (side + side % 2 if self._even else side for side in self._size)
        stream.pix_fmt = "pal8" if self._palette else self._form
        time_base = clip.time_base if clip is not None else frame.time_base
        stream.time_base = stream.codec_context.time_base = time_base
        context = stream.codec_context
        if tag and kind in ("mp4", "mov"):
            context.codec_tag = tag
        if not frame.format.is_rgb:
            context.color_range, context.colorspace = frame.color_range, frame.colorspace
            context.color_primaries, context.color_trc = frame.color_primaries, frame.color_trc
        elif name not in ("gif", "libwebp_anim"):
            context.color_range = int(ColorRange.MPEG)
            context.colorspace = context.color_primaries = context.color_trc = _BT709
        if own and own.stream is not None:
            if own.stream.sample_aspect_ratio:
                context.sample_aspect_ratio = own.stream.sample_aspect_ratio
            matrix = _display_matrix(own.first.native)
            if matrix is not None:
                stream.set_display_matrix(matrix)
        deep = max(part.bits for part in frame.format.components)
        kept = max(part.bits for part in av.VideoFormat(self._form, 2, 2).components)
        if kept < deep and name not in ("gif", "libwebp_anim"):
            self.notes.append(f"{deep}-bit pictures become {kept}-bit ones, which is what {kind} is written with")
        if self._even and any(side % 2 for side in self._size):
            self.notes.append(f"{frame.width} x {frame.height} pixels: the last row or column stands twice, for H.264")

    def _open_others(self, kind: str, clip: Clip) -> None:
        for other in clip.others:
            if kind in ("gif", "webp"):
                self.notes.append(f"{kind} carries no {'sound' if other.type == 'audio' else 'subtitles'}")
                continue
            try:
                self._copies[other.index] = self.container.add_stream_from_template(other, opaque=True)
            except (ValueError, av.error.FFmpegError):
                codec = other.codec_context.name
                if other.type == "audio":
                    raise MienError(f"{kind} cannot carry {codec} sound; write .mp4, .mov or .mkv") from None
                self.notes.append(f"{kind} cannot carry {codec} subtitles: left out")
                continue
            self._copies[other.index].metadata.update(other.metadata)

    def put(self, item: Frame | av.Packet) -> None:
        """The next frame, or a packet of another stream."""
        if isinstance(item, Frame):
            self.picture(item.native)
        elif (copy := self._copies.get(item.stream.index)) is not None:
            item.stream = copy
            self.container.mux(item)

    def picture(self, frame: av.VideoFrame) -> None:
        """The next frame, at its own ``pts`` and ``time_base``."""
        base = float(frame.time_base or 0)
        self.last, at = (frame.duration or 0) * base, (frame.pts or 0) * base
        self._start = at if self._start is None else self._start
        self.end = at - self._start + self.last
        if self._even and (frame.width % 2 or frame.height % 2):
            frame = _even(frame)
        if not self._palette and frame.format.name != self._form:
            frame = self._fitted(frame)
        for shown in self._palette(frame) if self._palette else [frame]:
            self.container.mux(self.stream.encode(shown))

    def _fitted(self, frame: av.VideoFrame) -> av.VideoFrame:
        """The frame in the encoder's form; RGB becomes BT.709, the usual for what screens show."""
        ways: dict[str, Any] = {}
        if frame.format.is_rgb and "yuv" in self._form:
            ways = {"dst_colorspace": Colorspace.ITU709, "dst_color_range": ColorRange.MPEG}
        fitted = self._scaler.reformat(frame, format=self._form, **ways)
        fitted.pts, fitted.duration, fitted.time_base = frame.pts, frame.duration, frame.time_base
        return fitted

    def finish(self) -> None:
        """Bring out what the encoder still holds."""
        for shown in self._palette(None) if self._palette else []:
            self.container.mux(self.stream.encode(shown))
        self.container.mux(self.stream.encode(None))


def copy_clip(clip: Clip, path: Path, overwrite: bool = False, seal: Seal | None = None) -> None:
    """The source's own streams, in ``path``'s container; the file itself where that is the same kind."""
    kind = container_of(path)
    with write_aside(path, overwrite) as aside:
        if container_of_source(clip) == kind:
            shutil.copyfile(clip.path, aside)
        elif clip.stream is None:
            raise MienError(f"{path}: an unchanged {clip.path.suffix} stays what it is; give that suffix to -o")
        else:
            _remux(clip, clip.stream, path, aside, kind)
        if seal:
            seal(aside, False)


def _remux(clip: Clip, pictures: Any, path: Path, aside: Path, kind: str) -> None:
    try:
        with container_at(clip.path) as source, av.open(f"file:{aside}", "w", format=kind) as target:
            kept = [source.streams[s.index] for s in (pictures, *clip.others)]
            copies = {s.index: target.add_stream_from_template(s, opaque=True) for s in kept}
            for packet in source.demux(kept):
                if packet.dts is not None:
                    packet.stream = copies[packet.stream.index]
                    target.mux(packet)
    except (ValueError, av.error.FFmpegError):
        raise MienError(f"{path}: {kind} cannot carry the source's streams; give -o the source's suffix") from None


def container_of_source(clip: Clip) -> str | None:
    """FFmpeg's name of the container that a clip came in, as far as its suffix tells."""
    try:
        return container_of(clip.path)
    except MienError:
        return None


def _form(encoder: str, frame: av.VideoFrame) -> tuple[str, bool]:
    """The pixel format to encode, the frame's own where the encoder takes it; and whether it needs even sides."""
    known = [form.name for form in av.Codec(encoder, "w").video_formats or ()]
    name = frame.format.name
    if encoder == "gif":
        return ("rgba" if name == "rgba" else "rgb24"), False
    if encoder == "libwebp_anim":
        return ("bgra" if frame.format.is_rgb else "yuv420p"), False
    if name not in known or frame.format.is_rgb:
        deep = any(part.bits > 8 for part in frame.format.components)
        name = "yuv420p10le" if deep and "yuv420p10le" in known else "yuv420p"
    return name, encoder in ("libx264", "libx265") and "444" not in name and "gray" not in name


def _even(frame: av.VideoFrame) -> av.VideoFrame:
    """The frame with its last row and column repeated where its sides are odd."""
    wide, high = frame.width % 2, frame.height % 2
    if frame.format.is_rgb:
        pixels: Any = np.pad(frame.to_ndarray(), ((0, high), (0, wide), (0, 0)), "edge")
        grown = av.VideoFrame.from_ndarray(pixels, frame.format.name)
    else:
        grown = av.VideoFrame(frame.width + wide, frame.height + high, frame.format.name)
        old: Any
        new: Any
        for old, new in zip(frame.planes, grown.planes, strict=True):
            rows: Any = np.frombuffer(old, np.uint8).reshape(old.height, -1)
            each = 2 if frame.format.components[0].bits > 8 else 1
            rows = rows[:, : old.width * each].reshape(old.height, old.width, each)
            rows = np.pad(rows, ((0, new.height - old.height), (0, new.width - old.width), (0, 0)), "edge")
            target = np.frombuffer(new, np.uint8).reshape(new.height, -1)
            target[:, : new.width * each] = rows.reshape(new.height, -1)
        grown.colorspace, grown.color_range = frame.colorspace, frame.color_range
    grown.pts, grown.duration, grown.time_base = frame.pts, frame.duration, frame.time_base
    return grown


def _display_matrix(frame: av.VideoFrame) -> list[int] | None:
    data: Any = frame.side_data.get("DISPLAYMATRIX")
    return np.frombuffer(bytes(data), np.int32).tolist() if data is not None else None


class _Palette:
    """Every frame in its own 256 colours. A GIF's own frames have few enough; others get an ordered dither, which
    stands still where the picture does."""

    def __init__(self, frame: av.VideoFrame, form: str, plain: bool) -> None:
        self.form = form
        self.graph = graph = av.filter.Graph()
        into = graph.add_buffer(
            width=frame.width, height=frame.height, format=av.VideoFormat(form), time_base=frame.time_base
        )
        split, made = graph.add("split"), graph.add("palettegen", "stats_mode=single")
        used = graph.add("paletteuse", f"new=1:dither={'none' if plain else 'bayer:bayer_scale=4'}")
        out = graph.add("buffersink")
        into.link_to(split)
        split.link_to(used, 0, 0)
        split.link_to(made, 1, 0)
        made.link_to(used, 0, 1)
        used.link_to(out)
        graph.configure()

    def __call__(self, frame: av.VideoFrame | None) -> Iterator[av.VideoFrame]:
        """What comes of one frame, or of the end."""
        if frame is not None and frame.format.name != self.form:
            changed = frame.reformat(format=self.form)
            changed.pts, changed.time_base, changed.duration = frame.pts, frame.time_base, frame.duration
            frame = changed
        self.graph.vpush(frame)
        while True:
            try:
                yield self.graph.vpull()
            except (av.error.BlockingIOError, av.error.EOFError):
                return
