"""An edit at crop size -> the photograph at its own resolution, and not one pixel beyond the face."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mien.model import shipped
from mien.photo.align import inverse, move

FEATHER = 12 / 128
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
