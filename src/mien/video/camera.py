"""``mien record``: a camera's picture with another expression, as a clip.

FFmpeg's devices (PyAV) are the camera: v4l2 on Linux, avfoundation on macOS, dshow on Windows. They are opened here and
nowhere else; what a file may be taken for stays as ``mien.video.clip.FORMATS`` has it.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from itertools import chain
from pathlib import Path
from queue import Empty, Queue
from threading import Event, Thread
from typing import Any

import av
import numpy as np
import tyro
from av.device import enumerate_input_devices

from mien import target
from mien.editor import Editor
from mien.errors import MienError
from mien.expressions import Expression
from mien.model import DEFAULT, shipped
from mien.options import Finding, Output
from mien.video.clip import Clip, Frame
from mien.video.commands import progress, told
from mien.video.curve import constant
from mien.video.edit import Wish, edit_clip
from mien.video.planes import Viewer

AHEAD = 2
"""Frames that wait to be edited; what comes while so many wait is left out."""
_MICROSECOND = Fraction(1, 1_000_000)


def device(camera: str) -> tuple[str, str, dict[str, str]]:
    """FFmpeg's names of this system's kind of camera and of the one that is meant, and the options it needs."""
    if sys.platform == "darwin":
        return "avfoundation", f"{camera}:none", {"framerate": "30"}  # cameras refuse its own default of 29.97
    if sys.platform == "win32":
        return "dshow", f"video={camera}", {}
    return "v4l2", f"/dev/video{camera}" if camera.isdecimal() else camera, {}


class Camera(Clip):
    """A clip that is being filmed, on the camera's clock, until ``most`` seconds are over or ``stop`` is set.

    dropped: frames that were left out so far, since those before were still being edited. Raises MienError.
    """

    advice = "come into the picture, and into the light"

    def __init__(self, camera: str, most: float | None = None) -> None:
        kind, name, options = device(camera)
        try:
            opened: Any = av.open(name, format=kind, options=options)
        except (ValueError, OSError) as error:  # no such device, or an FFmpeg without this kind
            raise MienError(f"camera {camera} cannot be opened ({error}); {_found(kind)}") from error
        self.most, self.stop, self.dropped = most, Event(), 0
        self._waiting: Queue[tuple[float, np.ndarray]] = Queue(AHEAD)
        rate = opened.streams.video[0].average_rate or Fraction(30)
        self._reader = Thread(target=self._read, args=(opened,), daemon=True)
        self._reader.start()
        items = self._frames()
        if (first := next(items, None)) is None:
            raise MienError(f"camera {camera} gives no picture; {_found(kind)}")
        super().__init__(Path(f"camera {camera}"), first, chain([first], items), _MICROSECOND, rate, None, None, "raw")

    def __enter__(self) -> Camera:
        return self

    def close(self) -> None:
        """Let the camera go."""
        self.stop.set()
        self._reader.join(2)  # one that gives nothing more holds its thread until the program ends

    def _read(self, opened: Any) -> None:
        with opened:
            while not self.stop.is_set():
                try:
                    return self._take(opened)
                except av.error.BlockingIOError:  # avfoundation has none yet
                    time.sleep(0.005)
                except av.error.FFmpegError:  # pulled out
                    return None

    def _take(self, opened: Any) -> None:
        """Take every frame off the camera. Pixels are copied: its memory goes when it is closed."""
        viewer = Viewer()
        for native in opened.decode(video=0):
            if self.stop.is_set():
                return
            if self._waiting.full():
                self.dropped += 1
            else:
                at = time.perf_counter() if native.time is None else native.time
                self._waiting.put((at, viewer.rgb(native).copy()))

    def _frames(self) -> Iterator[Frame]:
        start, last = None, -1
        while not self.stop.is_set():
            over = not self._reader.is_alive()
            try:
                at, rgb = self._waiting.get(timeout=0.1)
            except Empty:
                if over:
                    return
                continue
            start = at if start is None else start
            if self.most is not None and at - start > self.most:
                return
            if (pts := round((at - start) * 1e6)) > last:  # a clock may stumble
                native = av.VideoFrame.from_ndarray(rgb, "rgb24")
                native.pts, native.time_base, last = pts, _MICROSECOND, pts
                yield Frame(native, at - start, 0, rgb)


def _found(kind: str) -> str:
    try:
        seen = (each for each in enumerate_input_devices(kind) if each.media_types != ["audio"])
        names = ", ".join(f"{each.name} ({each.description})" for each in seen) or "none"
    except (ValueError, OSError):
        names = "unknown"
    return f"found: {names}. Connect one, name it with --camera, and let no other program hold it"


def record(
    to: Expression,
    finding: tyro.conf.OmitArgPrefixes[Finding],
    intensity: float = 1.0,
    seconds: float | None = None,
    camera: str = "0",
    face: str = "all",
    out: Output = None,
    model: str = DEFAULT,
    overwrite: bool = False,
    mark: bool = True,
) -> int:
    """Film with a camera, changing the expression of the faces, until --seconds are over or Ctrl-C; without sound.

    Args:
        to: The expression to change to.
        intensity: 1 is the full expression, up to 1.5 exaggerates it.
        seconds: How long; until Ctrl-C by default.
        camera: A number from 0, or the system's name of a camera.
        face: all, largest, a number from 1 (by size, where the first faces show), or a point "x,y" inside it.
        out: The clip to write, in the format of its suffix; camera-EXPRESSION.mp4 by default.
        model: A model that `mien models` lists, or the path of an .onnx file.
        overwrite: Replace files that exist.
        mark: Say in the written clip's metadata that it was edited.
    """
    if seconds is not None and not seconds > 0:
        raise MienError(f"--seconds {seconds:g}: give a length above 0, or leave it out and end with Ctrl-C")
    place, wish = out or Path(f"camera-{to}.mp4"), Wish(target.by_name(to), constant(intensity), face)
    editor = Editor(model, finding.open())
    editor.finder.find(np.zeros((64, 64, 3), np.uint8))  # models are opened before the camera films, not while it does
    for each in (shipped("landmarks", 1), shipped("muscles", 1), shipped("emotion", 1), shipped("render")):
        _ = each.session
    with Camera(camera, seconds) as source, until_interrupted(source.stop.set), progress("filming", None) as advance:
        print("mien: filming; Ctrl-C ends it", file=sys.stderr)
        outcome = edit_clip(source, place, editor, wish, overwrite=overwrite, mark=mark, advance=advance)
    if source.dropped:
        outcome.notes.append(f"{source.dropped} frames came faster than they were edited, and were left out")
    for line in told(outcome, None):
        print(f"mien: {line}", file=sys.stderr)
    print(f"{place}  ({outcome.edited} of {outcome.frames} frames edited, {outcome.clip_seconds:.1f} s)")
    return 0


@contextmanager
def until_interrupted(stop: Callable[[], None]) -> Iterator[None]:
    """The first Ctrl-C calls ``stop``; a second one interrupts as ever."""

    def heard(*_: object) -> None:
        signal.signal(signal.SIGINT, before)
        stop()

    before = signal.signal(signal.SIGINT, heard)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def main(name: str, words: list[str]) -> int:
    """Run the command."""
    os.environ.setdefault("MIEN_THREADS", "1")  # as for the other commands of clips
    return tyro.cli(record, prog=f"mien {name}", args=words, config=(tyro.conf.FlagCreatePairsOff,)) or 0
