"""An edit at crop size -> the photograph at its own resolution, and not one pixel beyond the face."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

from mien.model import shipped
from mien.photo.align import inverse, move

FEATHER = 12 / 128
MAYBE, SURE = 0.4, 0.7
"""Chances that something covers the face, below which the edit is whole and above which there is none."""
PARTS = ((0.5, 0.77, 0.17, 0.1), (0.34, 0.38, 0.13, 0.09), (0.66, 0.38, 0.13, 0.09))
"""Mouth, left and right eye with brow: ellipses (x, y and half the width and height) in an aligned crop."""
HIDDEN = 0.2, 0.5
"""Shares of such a part that are covered: from the first on the edit around it fades, at the second it is left out."""
BAND = 1_500_000
"""Pixels rendered at a time: bounds the memory that a very large face takes."""


def weights(matrix: np.ndarray, others: Sequence[np.ndarray], size: int) -> np.ndarray:
    """(size, size) float32 in [0, 1]: where an edit of the face at ``matrix`` (2, 3; photo to crop) holds.

    It fades towards the crop's border, and towards each of the ``others``, half-way between the two faces: measured
    in each face's own size, so that a small face before a large one keeps its ground.
    """
    middle = (np.arange(size) + 0.5) / size
    edge = np.minimum(middle, 1 - middle)
    fade = _smooth(edge / FEATHER)
    weight = fade[:, None] * fade[None]
    spots = np.stack(np.meshgrid(middle, middle), -1)
    photo = move(inverse(matrix), spots)
    mine = np.hypot(*(spots - 0.5).transpose(2, 0, 1))
    for other in others:
        theirs = np.hypot(*(move(other, photo) - 0.5).transpose(2, 0, 1))
        weight = weight * _smooth((theirs - mine) / (2 * FEATHER))
    return weight.astype(np.float32)


def uncovered(chance: np.ndarray, size: int) -> np.ndarray:
    """(size, size) float32 in [0, 1]: where an edit stays clear of what is before the face.

    chance: (S, S) in [0, 1], that something covers the face there. What is covered is 0, and so is a narrow rim around
    it; the edge is soft. Where most of a mouth or of an eye is covered, the whole of that part of the face is left out.
    """
    cover = _smooth((chance - MAYBE) / (SURE - MAYBE))
    if not cover.any():
        return np.ones((size, size), np.float32)
    middle = (np.arange(len(cover)) + 0.5) / len(cover)
    lower = _smooth((middle - 0.55) / FEATHER)[:, None] * np.ones_like(middle)
    right = (1 - lower) * _smooth((middle - 0.5) / FEATHER + 0.5)
    for (x, y, width, height), part in zip(PARTS, (lower, 1 - lower - right, right), strict=True):
        inside = ((middle - x) / width) ** 2 + ((middle[:, None] - y) / height) ** 2 < 1
        gone = _smooth((cover[inside].mean() - HIDDEN[0]) / (HIDDEN[1] - HIDDEN[0]))
        cover = np.maximum(cover, gone * part)
    step = len(cover) // 64 or 1
    clear = 1 - _around(_around(cover, 3 * step).max((2, 3)), 2 * step).mean((2, 3))
    shown = Image.fromarray(clear.astype(np.float32)).resize((size, size), Image.Resampling.BILINEAR)
    return np.asarray(shown)


def _around(values: np.ndarray, reach: int) -> np.ndarray:
    """(S, S, 2 * reach + 1, 2 * reach + 1): the square around each of (S, S) values, edges repeated."""
    padded = np.pad(values, reach, "edge")
    return np.lib.stride_tricks.sliding_window_view(padded, (2 * reach + 1, 2 * reach + 1))


def apply(rgb: np.ndarray, matrix: np.ndarray, weight: np.ndarray, flow: np.ndarray, delta: np.ndarray) -> np.ndarray:
    """A copy of ``rgb`` (H, W, 3) uint8 with one face edited.

    matrix: (2, 3), photo pixels to crop fractions. weight: (S, S). flow: (2, S, S) in fractions of the crop.
    delta: (3, S, S) on the scale of [-1, 1].
    """
    back = inverse(matrix)
    corners = move(back, np.array([[0, 0], [1, 0], [0, 1], [1, 1]], float))
    height, width = rgb.shape[:2]
    left, top = np.maximum(np.floor(corners.min(0)).astype(int), 0)
    right, bottom = np.minimum(np.ceil(corners.max(0)).astype(int), [width, height])
    edited = rgb.copy()
    if left >= right or top >= bottom:
        return edited
    reach = int(np.ceil(np.abs(flow).max() * np.abs(back[:, :2]).sum(1).max())) + 3
    x0, x1 = max(left - reach, 0), min(right + reach, width)
    rows = max(1, BAND // (x1 - x0))
    inputs = {
        "weight": weight[None, None],
        "flow": flow[None],
        "delta": delta[None],
        "to_photo": back[:, :2].astype(np.float32),
    }
    for start in range(top, bottom, rows):
        stop = min(start + rows, bottom)
        y0, y1 = max(start - reach, 0), min(stop + reach, height)
        to_crop = np.column_stack([matrix[:, :2], move(matrix, np.array([x0, y0], float))]).astype(np.float32)
        band = shipped("render").run(inputs | {"photo": rgb[None, y0:y1, x0:x1], "to_crop": to_crop})["edited"][0]
        edited[start:stop, left:right] = band[start - y0 : stop - y0, left - x0 : right - x0]
    return edited


def _smooth(t: np.ndarray) -> np.ndarray:
    """0 below 0, 1 above 1, with no corner between."""
    t = np.clip(t, 0, 1)
    return t * t * (3 - 2 * t)
