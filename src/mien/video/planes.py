"""A decoded frame seen as RGB, and an edit of what was seen put back into the frame's own planes.

Only the difference is put back: converted with the frame's own matrix, range and depth, and added where it is not 0.
A sample that no edit touched keeps the value that the decoder gave it, in 8 bits or 12, in any subsampling.
"""

from __future__ import annotations

from typing import Any

import av
import numpy as np
from av.video.reformatter import VideoReformatter

# Luma weights of red and blue by FFmpeg's AVColorSpace (ITU-T H.273); what is not named is taken for BT.601, as
# swscale does, so that the way back is the inverse of the way there.
_WEIGHTS = {1: (0.2126, 0.0722), 4: (0.30, 0.11), 7: (0.212, 0.087), 9: (0.2627, 0.0593), 10: (0.2627, 0.0593)}
_BT601 = (0.299, 0.114)
_FULL = 2
_PACKED = ("rgb24", "rgba")


def editable(frame: av.VideoFrame) -> bool:
    """Whether ``put_back`` knows the frame's layout: planar of 8 to 16 bits, RGB24 or RGBA."""
    form = frame.format
    if form.name in _PACKED:
        return True
    alone = len({part.plane for part in form.components}) == len(form.components)
    deep = all(8 <= part.bits <= 16 for part in form.components)
    return (form.is_planar or form.name.startswith("gray")) and alone and deep and not form.is_big_endian


class Viewer:
    """Shows frames as RGB. It keeps swscale's tables, which take longer to make than a frame to convert."""

    def __init__(self) -> None:
        self._scaler, self._changer = VideoReformatter(), VideoReformatter()

    def editable(self, frame: av.VideoFrame, width: int, height: int) -> av.VideoFrame:
        """The frame, or a copy of this size in a layout that ``put_back`` knows."""
        known = editable(frame)
        if known and (frame.width, frame.height) == (width, height):
            return frame
        form = frame.format.name if known else "rgba" if frame.format.is_rgb else "yuv444p"
        changed = self._changer.reformat(frame, width, height, form)
        changed.pts, changed.duration = frame.pts, frame.duration
        if frame.time_base is not None:
            changed.time_base = frame.time_base
        return changed

    def rgb(self, frame: av.VideoFrame, turn: int = 0) -> np.ndarray:
        """(H, W, 3) uint8, turned ``turn`` quarters anticlockwise."""
        shown = self._scaler.reformat(frame, format="rgb24")
        plane: Any = shown.planes[0]
        rows = np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)
        pixels = rows[:, : 3 * plane.width].reshape(plane.height, plane.width, 3)
        return np.ascontiguousarray(np.rot90(pixels, turn))


def put_back(frame: av.VideoFrame, before: np.ndarray, after: np.ndarray, turn: int = 0) -> bool:
    """Carry an edit (H, W, 3) of what ``Viewer.rgb`` showed into ``frame``; False where nothing changed.

    The frame must be ``editable``. Its planes are copied first: the decoder still predicts other frames from them.
    """
    height, width = before.shape[:2]
    changed = (after != before).reshape(height, -1)
    rows = np.flatnonzero(changed.any(1))
    if not len(rows):
        return False
    columns = np.flatnonzero(changed[rows[0] : rows[-1] + 1].any(0)) // 3
    top, left = rows[0] & ~3, columns[0] & ~3  # whole chroma samples, turned or not
    bottom, right = min((rows[-1] | 3) + 1, height), min((columns[-1] | 3) + 1, width)
    if turn:  # rare, and turning the whole is simpler than turning coordinates
        top, left, bottom, right = 0, 0, height, width
    part = np.s_[top:bottom, left:right]
    difference = np.rot90(after[part].astype(np.float32) - before[part], -turn)
    frame.make_writable()
    if frame.format.name in _PACKED:
        pixels = _samples(frame, 0)[top : top + difference.shape[0]]
        view = pixels.reshape(len(pixels), -1, len(frame.format.components))
        _add(view[:, left : left + difference.shape[1], :3], difference, 255)
        return True
    for part_, change in zip(frame.format.components, _components(frame, difference), strict=False):
        x, y = -(-frame.width // part_.width), -(-frame.height // part_.height)
        top_bits = 2**part_.bits - 1
        small = _shrunk(change, x, y) * ((top_bits + 1) / 256)
        plane = _samples(frame, part_.plane)[top // y : top // y + small.shape[0]]
        _add(plane[:, left // x : left // x + small.shape[1]], small, top_bits)
    return True


def _components(frame: av.VideoFrame, rgb: np.ndarray) -> list[np.ndarray]:
    """A difference in RGB -> the same in the frame's components, on the scale of 8 bits."""
    if frame.format.is_rgb:
        return [rgb[..., 0], rgb[..., 1], rgb[..., 2]]
    red, blue = _WEIGHTS.get(frame.colorspace, _BT601)
    full = frame.color_range == _FULL or frame.format.name.startswith("yuvj")
    luma = np.array([red, 1 - red - blue, blue])
    u = (np.array([0, 0, 1]) - luma) / (2 * (1 - blue))
    v = (np.array([1, 0, 0]) - luma) / (2 * (1 - red))
    matrix = np.stack([luma, u, v]) * ([[1]] * 3 if full else [[219 / 255], [224 / 255], [224 / 255]])
    parts = matrix.astype(np.float32) @ rgb.reshape(-1, 3).T
    return list(parts.reshape(3, *rgb.shape[:2]))


def _shrunk(change: np.ndarray, x: int, y: int) -> np.ndarray:
    """Means over blocks of y rows and x columns; a last block that is not full repeats its edge."""
    if x == y == 1:
        return change
    down, across = -change.shape[0] % y, -change.shape[1] % x
    if down or across:
        change = np.pad(change, ((0, down), (0, across)), "edge")
    total = np.zeros((change.shape[0] // y, change.shape[1] // x), np.float32)
    for i in range(y):
        for j in range(x):
            total += change[i::y, j::x]
    return total / (x * y)


def _samples(frame: av.VideoFrame, number: int) -> np.ndarray:
    """A writable view (rows, columns) of one plane; of a packed one, (rows, columns * channels)."""
    plane: Any = frame.planes[number]
    kind = np.dtype("<u2" if frame.format.components[0].bits > 8 else "u1")
    rows = np.frombuffer(plane, kind).reshape(plane.height, plane.line_size // kind.itemsize)
    channels = len(frame.format.components) if frame.format.name in _PACKED else 1
    return rows[:, : plane.width * channels]


def _add(samples: np.ndarray, change: np.ndarray, top: int) -> None:
    total = samples + change
    samples[:] = np.clip(np.rint(total, out=total), 0, top, out=total)
