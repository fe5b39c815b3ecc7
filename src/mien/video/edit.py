"""The way of a clip: frames one after another, faces followed, each edited in place, written as it comes.

Faces are followed and measured here, in order; the edits themselves, the larger part of the work, are made a few frames
ahead by worker threads. Nothing is kept of a frame that is written.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from copy import copy
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any, TypeVar

import av
import numpy as np

from mien.editor import Editor, Seen
from mien.errors import MienError
from mien.photo.credentials import Seal
from mien.photo.read import Photo
from mien.target import Target
from mien.video.clip import Clip, Frame
from mien.video.curve import Curve
from mien.video.track import Track, Tracker
from mien.video.who import Chosen
from mien.video.write import clip_writer, copy_clip

USUAL = 0.7
"""Seconds over which a face's usual look is averaged: longer than a syllable or a blink, shorter than a mood."""
Item = TypeVar("Item")
Job = tuple[int, Target, float]
"""One face's edit: which of the faces seen, its target, the intensity."""


@dataclass
class Outcome:
    """What became of a clip. broken, missed: seconds of frames passed on unedited, and of those that had none."""

    frames: int = 0
    edited: int = 0
    faces: int = 0
    cuts: int = 0
    seconds: float = 0.0
    clip_seconds: float = 0.0
    copied: bool = False
    broken: list[float] = field(default_factory=list)
    missed: list[float] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


_NO_PIXELS = np.empty(0, np.uint8)


class Wish:
    """What is asked of each face of a clip, stable in time.

    The target is met by the face's usual look, and what that adds to each muscle is added to the face as it is now:
    speech and blinks go on below the expression.
    """

    def __init__(self, target: Target, curve: Curve, which: str = "all") -> None:
        self.target, self.curve, self.chosen = target, curve, Chosen(which)
        self._usual: dict[int, tuple[np.ndarray, float]] = {}

    def jobs(self, tracks: list[Track], time: float, shot: int) -> tuple[list[Job], list[Seen]]:
        """The edits of this moment, and all faces seen."""
        chosen = self.chosen(tracks, shot)
        self._usual = {track.number: self._usual[track.number] for track in tracks if track.number in self._usual}
        jobs, seen = [], [track.seen for track in tracks]
        for index, (track, face) in enumerate(zip(tracks, seen, strict=True)):
            offset = self._offset(track.number, face.blendshapes, time)
            strength = self.curve(time) * track.presence
            if track.number in chosen and strength:
                goal = np.clip(face.blendshapes + offset, 0, 1).astype(np.float32)
                jobs.append((index, Target(scores=goal, emotion=self.target.emotion, face=self.target.face), strength))
        return jobs, seen

    def _offset(self, number: int, now: np.ndarray, time: float) -> np.ndarray:
        usual, last = self._usual.get(number, (now, time))
        usual = usual + (1 - np.exp((last - time) / USUAL)) * (now - usual)
        self._usual[number] = (usual, time)
        return self.target.goal(usual) - usual


def edit_clip(
    clip: Clip,
    path: Path,
    editor: Editor,
    wish: Wish,
    *,
    overwrite: bool = False,
    mark: bool = True,
    seal: Seal | None = None,
    copy_if_unchanged: bool = False,
    preview: Path | None = None,
    advance: Callable[[], None] = lambda: None,
) -> Outcome:
    """Write ``clip`` to ``path`` with its faces edited. Raises MienError where no frame shows a face.

    copy_if_unchanged: where no frame was edited, the source's own streams are written. preview: a second file with
    before and after side by side. seal: signs the clip, not the preview. advance: called for each frame.
    """
    outcome, began = Outcome(missed=clip.missed), perf_counter()
    if copy_if_unchanged and wish.curve.still:
        _pass_on(clip, path, overwrite, seal, preview, outcome)
        return outcome
    tracker = Tracker(editor.finder)
    try:
        with ExitStack() as stack:
            writer = stack.enter_context(
                clip_writer(path, clip, clip.first.native, clip.rate, overwrite=overwrite, mark=mark, seal=seal)
            )
            beside = None
            if preview:
                shown = _beside(clip.first, clip.first.rgb)
                beside = stack.enter_context(clip_writer(preview, None, shown, clip.rate, overwrite=overwrite))
            for item, after in edits(clip, tracker, editor, wish, outcome):
                writer.put(item)
                if isinstance(item, Frame):
                    advance()
                    if beside:
                        beside.picture(_beside(item, after))
            outcome.faces, outcome.cuts, outcome.notes = tracker.count, tracker.cuts, writer.notes
            if not outcome.faces and not copy_if_unchanged:
                raise MienError(f"{clip.path}: no face found in {outcome.frames} frames; {clip.advice}")
            if copy_if_unchanged and not outcome.edited:
                raise _Unchanged
    except _Unchanged:
        _pass_on(clip, path, overwrite, seal, preview, outcome)
    outcome.seconds = perf_counter() - began
    return outcome


class _Unchanged(Exception):
    """Nothing was edited, and the source itself is wanted then."""


def _pass_on(
    clip: Clip, path: Path, overwrite: bool, seal: Seal | None, preview: Path | None, outcome: Outcome
) -> None:
    copy_clip(clip, path, overwrite, seal)
    outcome.copied = True
    if preview:
        outcome.notes.append("no preview is written: before and after are the same")


def edits(
    clip: Clip, tracker: Tracker, editor: Editor, wish: Wish, outcome: Outcome
) -> Iterator[tuple[Frame | av.Packet, np.ndarray]]:
    """The clip's items in their order, with the edited pixels of those that are frames."""
    editor = on_one_thread(editor)

    def work() -> Iterator[tuple[Frame | av.Packet, Callable[[], np.ndarray] | None]]:
        for item in clip:
            task = None
            if isinstance(item, Frame) and (jobs := _wanted(item, tracker, wish, outcome))[0]:
                task = partial(_edit, item, *jobs, editor)
            yield item, task

    for item, edited in side_by_side(work()):
        yield item, (edited if edited is not None else item.rgb if isinstance(item, Frame) else _NO_PIXELS)


def side_by_side(work: Iterable[tuple[Item, Callable[[], np.ndarray] | None]]) -> Iterator[tuple[Item, Any]]:
    """Each item in its order with what its work gives, None where it has none; threads do the work of several.

    Items come a few ahead of those that are given: as many as begin while the one in turn is worked on, but few even
    where that takes long, since another program has the processor.
    """
    workers = os.cpu_count() or 1
    waiting: deque[tuple[Item, Future[np.ndarray] | None]] = deque()
    busy = 0
    with ThreadPoolExecutor(workers) as pool:
        for item, task in work:
            waiting.append((item, pool.submit(task) if task else None))
            busy += task is not None
            while waiting and (
                (first := waiting[0][1]) is None or first.done() or busy > 2 * workers or len(waiting) > 4 * workers
            ):
                busy -= first is not None
                yield waiting.popleft()[0], first and first.result()
        for item, last in waiting:
            yield item, last and last.result()


def on_one_thread(editor: Editor) -> Editor:
    """A copy whose model computes on one thread, for several to run side by side."""
    single = copy(editor)
    single.model = replace(editor.model, threads=1)
    return single


def _wanted(frame: Frame, tracker: Tracker, wish: Wish, outcome: Outcome) -> tuple[list[Job], list[Seen]]:
    """Follow the faces into this frame, and say what is to be edited there."""
    outcome.frames += 1
    outcome.clip_seconds = frame.time
    if frame.broken:
        outcome.broken.append(frame.time)
        return [], []
    tracks = tracker.follow(frame.rgb, frame.time)
    jobs, seen = wish.jobs(tracks, frame.time, tracker.cuts)
    outcome.edited += bool(jobs)
    return jobs, seen


def _edit(frame: Frame, jobs: list[Job], seen: list[Seen], editor: Editor) -> np.ndarray:
    """Make this frame's edits, one face after another, and put them into its planes."""
    rgb = frame.rgb
    for index, target, strength in jobs:
        photo = Photo(rgb=rgb, native=rgb, mode="RGB")
        rgb = editor.edit(photo, target, intensity=strength, face=str(index + 1), seen=seen).rgb
    frame.edited(rgb)
    return rgb


def _beside(frame: Frame, after: np.ndarray) -> av.VideoFrame:
    """Before and after, left and right."""
    native = av.VideoFrame.from_ndarray(np.concatenate([frame.rgb, after], 1), "rgb24")
    native.pts, native.time_base, native.duration = frame.native.pts, frame.native.time_base, frame.native.duration
    return native
