"""Clips in: one moment after another, never the whole, with the sound's packets in between as they lie in the file.

FFmpeg (PyAV) reads everything but animated GIF and WebP, which Pillow reads: FFmpeg has no decoder for the latter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.frame import PictureType
from PIL import Image
from PIL.GifImagePlugin import GifImageFile
from PIL.WebPImagePlugin import WebPImageFile

from mien.errors import MienError
from mien.photo.read import MAX_PIXELS, check_size
from mien.video.planes import Viewer, put_back

FORMATS = "mov,matroska,avi,mpegts,mpeg,mpegvideo,m4v,h264,hevc,flv,asf,ogg,ivf,dv,mxf"
"""What FFmpeg may take a file for. Among its other formats are playlists, which open further files or connections, and
text that is drawn."""
_MILLISECOND = Fraction(1, 1000)
_SHORTEST = 20
"""A frame of a GIF that asks for less than 20 ms is shown for 100 ms, as browsers do."""


@dataclass(eq=False)
class Frame:
    """One moment of a clip.

    native: the decoded frame, coded as in the file. time: seconds from the clip's first frame. turn: quarter turns
    anticlockwise that bring it upright. rgb: (H, W, 3) uint8, upright. broken: the decoder had to guess parts of it.
    """

    native: av.VideoFrame
    time: float
    turn: int
    rgb: np.ndarray
    broken: bool = False

    def edited(self, rgb: np.ndarray) -> bool:
        """Put an edit of ``rgb`` into ``native``; False where nothing differs."""
        return put_back(self.native, self.rgb, rgb, self.turn)


@dataclass(eq=False)
class Clip:
    """A file open for reading; iterate over it once. Use ``open_clip``.

    first: its first frame. others: the streams beside the pictures, whose packets come as they are. missed: times in
    seconds of pictures that could not be decoded at all; seconds: the length that the file claims.
    """

    path: Path
    first: Frame
    items: Iterator[Frame | av.Packet]
    time_base: Fraction
    rate: Fraction
    seconds: float | None
    count: int | None
    codec: str
    stream: Any = None
    container: Any = None
    loop: int = 0
    others: list[Any] = field(default_factory=list)
    missed: list[float] = field(default_factory=list)
    advice = "--copy-if-unchanged passes it on"  # where no frame shows a face

    def __enter__(self) -> Clip:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[Frame | av.Packet]:
        return self.items

    def close(self) -> None:
        """Give the file back."""
        if self.container is not None:
            self.container.close()

    @property
    def length(self) -> int | None:
        """About how many frames it has."""
        if self.count:
            return self.count
        return round(self.seconds * float(self.rate)) if self.seconds else None

    @property
    def metadata(self) -> dict[str, str]:
        """The file's tags, without those that describe the container."""
        tags = dict(self.container.metadata) if self.stream is not None else {}
        return {k: v for k, v in tags.items() if k.lower() not in _CONTAINERS_OWN}


_CONTAINERS_OWN = ("major_brand", "minor_version", "compatible_brands", "encoder", "duration")


def open_clip(path: str | Path, max_pixels: int = MAX_PIXELS) -> Clip:
    """Open a clip and decode its first frame. Raises MienError for whatever is wrong with the file."""
    path = Path(path)
    try:
        if path.exists() and not path.is_file():  # a pipe would block
            raise MienError(f"{path} is not a regular file; name a clip")
        with path.open("rb") as file:
            head = file.read(16)
    except OSError as error:
        raise MienError(f"{path} cannot be read ({error.strerror}); check the name and its permissions") from error
    try:
        if head.startswith(b"GIF8") or (head.startswith(b"RIFF") and head[8:12] == b"WEBP"):
            return _open_pictures(path, max_pixels)
        return _open_container(path, max_pixels)
    except MienError:
        raise
    except Exception as error:  # parsers raise nearly every built-in exception for hostile files
        raise MienError(f"{path} is damaged, cut short or no clip; save it anew or get a fresh copy") from error


def container_at(path: Path) -> Any:
    """The file itself, whatever its name looks like to FFmpeg (``concat:a|b``, ``%d.png``), and no other one."""
    options = {"format_whitelist": FORMATS, "protocol_whitelist": "file"}
    return av.open(f"file:{path}", metadata_errors="replace", options=options)


def _open_container(path: Path, max_pixels: int) -> Clip:
    container = container_at(path)
    videos = [stream for stream in container.streams.video if "ATTACHED_PIC" not in str(stream.disposition).upper()]
    if not videos or videos[0].codec_context is None:
        container.close()
        raise MienError(f"{path} has no moving picture; give a clip")
    stream: Any = videos[0]
    check_size(path, stream.width, stream.height, path.stat().st_size, max_pixels)
    stream.thread_type = "AUTO"
    stream.codec_context.options = {"max_pixels": str(max_pixels)}  # the container's word is not the decoder's
    others = [s for s in container.streams if s.type in ("audio", "subtitle") and s.codec_context is not None]
    missed: list[float] = []
    items = _decoded(container, stream, others, missed)
    early: list[Frame | av.Packet] = []
    first = None
    while first is None and (item := next(items, None)) is not None:
        early.append(item)
        first = item if isinstance(item, Frame) else None
    if first is None:
        container.close()
        raise MienError(f"{path}: not one frame can be decoded; get a fresh copy")
    seconds = None
    if stream.duration:
        seconds = float(stream.duration * stream.time_base)
    elif container.duration:
        seconds = container.duration / 1e6
    return Clip(
        path=path,
        first=first,
        items=_chained(early, items),
        time_base=stream.time_base,
        rate=stream.average_rate or stream.guessed_rate or Fraction(25),
        seconds=seconds,
        count=stream.frames,
        codec=stream.codec_context.name,
        stream=stream,
        container=container,
        others=others,
        missed=missed,
    )


def _chained(early: list[Any], items: Iterator[Any]) -> Iterator[Any]:
    while early:
        yield early.pop(0)
    yield from items


def _decoded(container: Any, stream: Any, others: list[Any], missed: list[float]) -> Iterator[Frame | av.Packet]:
    """Frames and the other streams' packets, in the file's order; what cannot be read is noted and left out."""
    viewer = Viewer()
    start: float | None = None
    size: tuple[int, int] | None = None
    last = -1
    packets = container.demux([stream, *others])
    while True:
        try:
            packet = next(packets, None)
        except av.error.FFmpegError:  # the file ends in the midst of a packet
            packet = None
        if packet is None:
            return
        if packet.stream is not stream:
            if packet.size:
                yield packet
            continue
        try:
            frames = packet.decode()  # an empty packet at the end brings out the decoder's last frames
        except av.error.FFmpegError:
            missed.append(float((packet.pts or 0) * stream.time_base) - (start or 0.0))
            continue
        for native in frames:
            if native.pts is None:
                native.pts = last + max(1, native.duration or 1)
            native.time_base = native.time_base or stream.time_base
            if native.pts <= last:  # a damaged clock: such a frame has no place of its own
                continue
            last = native.pts
            time = float(native.pts * native.time_base)
            start = time if start is None else start
            size = size or (native.width, native.height)
            shown = viewer.editable(native, *size)  # a clip may change its size; as players do, mien keeps the first
            shown.pict_type = PictureType.NONE
            turn = round((native.rotation or 0) / 90) % 4
            broken = native.is_corrupt or packet.is_corrupt
            yield Frame(shown, time - start, turn, viewer.rgb(shown, turn), broken)


def _open_pictures(path: Path, max_pixels: int) -> Clip:
    """An animated GIF or WebP; a still one is a clip of one frame."""
    with path.open("rb") as file:
        kind: type[Any] = GifImageFile if file.read(3) == b"GIF" else WebPImageFile
    image = kind(str(path))

    def check() -> None:
        check_size(path, image.width, image.height, path.stat().st_size, max_pixels)

    missed: list[float] = []
    items = _pictured(image, missed, check)
    first = next(items)
    count = getattr(image, "n_frames", 1)
    span = max(first.native.duration, 1)
    loop = image.info.get("loop", -1 if kind is GifImageFile else 0)
    return Clip(
        path=path,
        first=first,
        items=_chained([first], items),
        time_base=_MILLISECOND,
        rate=Fraction(1000, span),
        seconds=None,
        count=count,
        codec=image.format.lower(),
        container=image,
        loop=loop,
        missed=missed,
    )


def _pictured(image: Image.Image, missed: list[float], check: Callable[[], None]) -> Iterator[Frame]:
    at, number, box = 0, 0, (0, 0, *image.size)
    while True:
        try:
            image.seek(number)
            check()  # a later picture of a GIF may reach beyond the others
            pixels = np.asarray(image.convert("RGBA").crop(box))
        except EOFError:
            return
        except Exception:  # as in open_clip
            missed.append(at / 1000)
            if not number:
                raise
            return
        span = int(image.info.get("duration") or 0)
        span = span if span >= _SHORTEST else 100
        see_through = pixels[..., 3].min() < 255
        shown = np.ascontiguousarray(pixels if see_through else pixels[..., :3])
        native = av.VideoFrame.from_ndarray(shown, "rgba" if see_through else "rgb24")
        native.pts, native.time_base, native.duration = at, _MILLISECOND, span
        yield Frame(native, at / 1000, 0, np.ascontiguousarray(shown[..., :3]))
        at, number = at + span, number + 1
