"""Flicker that an edit adds to real footage, and strips of its frames to look at.

    python benchmarks/footage.py CLIP --to happiness [--strips strips.png]

What motion does not explain: the mean absolute difference, in the edited region, of one frame and the next brought
back along the dense optical flow between them (DIS, Kroeger and others 2016), each side with its own flow. Edited over
source is the added flicker; *fine* of pixels, where grain counts, *coarse* of means over blocks of a twentieth of the
face. Such a flow would follow a face that trembles as a whole: *trembling* is the landmarks' mean acceleration, read in
each frame anew without smoothing, edited over source. Pictures are taken before the encoder.

Needs OpenCV, which comes with ``pip install "mien[mediapipe]"``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import cv2
import numpy as np
import tyro
from PIL import Image

from mien import Editor, target
from mien.expressions import Expression
from mien.model import shipped
from mien.photo.find import Face, read_landmarks
from mien.video.clip import Frame, open_clip
from mien.video.curve import constant
from mien.video.edit import Outcome, Wish, edits
from mien.video.track import Tracker

CHANGED = 4
"""Levels of 255 by which a pixel, blurred over a fortieth of the face, must differ to count as edited."""
Pair = tuple[np.ndarray, np.ndarray]
"""A frame's pixels before and after."""


def main(
    clip: Annotated[Path, tyro.conf.Positional],
    to: Expression,
    start: float = 0.0,
    seconds: float = 4.0,
    strips: Path | None = None,
    moments: int = 6,
) -> None:
    """Print the three ratios, and the frames in which the edit changes most suddenly.

    Args:
        clip: Footage of one face, without cuts.
        to: The expression.
        start: Seconds of the clip that are edited but not measured.
        seconds: How much of it is measured.
        strips: Also write a picture of source, edit and difference (times three), at several moments.
        moments: How many.
    """
    flow, reader = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM), shipped("landmarks", 1)
    rows, paths, times, shown = [], [], [], []
    last: Pair | None = None
    for time, pair, face in edited(clip, to):
        if time >= start + seconds:
            break
        if time >= start:
            if last is not None and (row := compared(last, pair, face.size, flow)):
                rows.append(row)
                times.append(time)
            paths.append([read_landmarks(reader, rgb, [face.points])[0][0] / face.size for rgb in pair])
            if time - start >= (len(shown) + 0.5) * seconds / moments:
                shown.append(strip(pair, face))
            last = pair
    figures, acceleration = np.array(rows), np.abs(np.diff(paths, n=2, axis=0)).mean((0, 2, 3))
    fine, coarse = (figures[:, k + 1].mean() / figures[:, k].mean() for k in (0, 2))
    print(f"{clip.name} to {to}, {len(paths)} frames: fine {fine:.2f}, coarse {coarse:.2f}", end=", ")
    print(f"trembling {acceleration[1] / acceleration[0]:.2f}")
    sudden = np.argsort(figures[:, 2] - figures[:, 3])[:5]
    print("most sudden:", ", ".join(f"{times[i]:.2f} s {figures[i, 2]:.1f} -> {figures[i, 3]:.1f}" for i in sudden))
    if strips:
        Image.fromarray(np.concatenate(shown, 1)).save(strips)


def edited(clip: Path, to: Expression) -> Any:
    """(seconds, (before, after), face as followed) of each frame in which a face is edited."""
    editor = Editor()
    tracker, wish = Tracker(editor.finder), Wish(target.by_name(to), constant(1.0), "largest")
    faces: dict[float, Face] = {}
    follow = tracker.follow

    def kept(rgb: np.ndarray, time: float) -> Any:
        tracks = follow(rgb, time)
        if tracks:
            faces[time] = tracks[0].seen.face
        return tracks

    tracker.follow = kept  # type: ignore[method-assign]
    with open_clip(clip) as source:
        for item, after in edits(source, tracker, editor, wish, Outcome()):
            if isinstance(item, Frame) and (face := faces.pop(item.time, None)):
                yield item.time, (item.rgb, after), face


def compared(last: Pair, now: Pair, size: float, flow: Any) -> list[float] | None:
    """Fine difference before and after, coarse before and after; None where hardly anything was edited."""
    change = np.abs(last[1].astype(np.float32) - last[0]).mean(-1)
    region = cv2.GaussianBlur(change, (0, 0), size / 40) > CHANGED
    if region.sum() < 100:
        return None
    block = (max(2, round(size / 20)),) * 2
    inside = cv2.blur(region.astype(np.float32), block) > 0.5
    fine, coarse = [], []
    y, x = np.indices(region.shape, np.float32)
    for a, b in zip(last, now, strict=True):
        moved = flow.calc(*(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY) for rgb in (a, b)), None)
        back = cv2.remap(b, x + moved[..., 0], y + moved[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        left = (back.astype(np.float32) - a).mean(-1)
        fine.append(float(np.abs(left)[region].mean()))
        coarse.append(float(np.abs(cv2.blur(left, block))[inside].mean()))
    return fine + coarse


def strip(pair: Pair, face: Face, side: int = 220) -> np.ndarray:
    """(3 side, side, 3): the face before, after, and the difference times three about grey."""
    x, y = (face.box[0] + face.box[2]) / 2, (face.box[1] + face.box[3]) / 2
    half = 0.85 * face.size
    cut = (round(x - half), round(y - half), round(x + half), round(y + half))
    change = np.clip(128 + 3 * (pair[1].astype(int) - pair[0]), 0, 255).astype(np.uint8)
    return np.concatenate([np.asarray(Image.fromarray(rgb).crop(cut).resize((side, side))) for rgb in (*pair, change)])


if __name__ == "__main__":
    tyro.cli(main)
