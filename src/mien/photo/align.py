"""Similarity crops by five points, and their exact inverse.

Coordinates are continuous: a picture W wide spans [0, W], its first pixel's centre lies at 0.5. A crop spans [0, 1].
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from mien.expressions import TEMPLATE

Points = np.ndarray


def five_points(landmarks: Points) -> Points:
    """(68, 2) iBUG landmarks -> (5, 2): the two eyes' centres, nose tip, mouth corners, as in ``TEMPLATE``."""
    eyes = landmarks[36:42].mean(0), landmarks[42:48].mean(0)
    return np.stack([*eyes, landmarks[30], landmarks[48], landmarks[54]])


def similarity(points: Points, template: Points | None = None) -> np.ndarray:
    """(2, 3) matrix of the least-squares rotation, scale and shift from ``points`` (N, 2) to ``template`` (N, 2).

    Umeyama 1991. Raises ValueError where all points coincide.
    """
    target = np.asarray(TEMPLATE if template is None else template, float)
    source = np.asarray(points, float)
    middle, goal = source.mean(0), target.mean(0)
    a, b = source - middle, target - goal
    spread = (a**2).sum()
    if not spread > 0:
        raise ValueError("the points coincide")
    cos = (a * b).sum() / spread
    sin = (a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]).sum() / spread
    turn = np.array([[cos, -sin], [sin, cos]])
    return np.column_stack([turn, goal - turn @ middle])


def inverse(matrix: np.ndarray) -> np.ndarray:
    """The (2, 3) matrix that undoes ``matrix``."""
    turn = np.linalg.inv(matrix[:, :2])
    return np.column_stack([turn, -turn @ matrix[:, 2]])


def move(matrix: np.ndarray, points: Points) -> Points:
    """Apply a (2, 3) matrix to (..., 2) points."""
    return points @ matrix[:, :2].T + matrix[:, 2]


def crop(rgb: np.ndarray, matrix: np.ndarray, size: int) -> np.ndarray:
    """(size, size, 3) uint8: the part of ``rgb`` (H, W, 3) that ``matrix`` maps to [0, 1]^2.

    A face larger than the crop is first reduced by a whole factor, so that it does not alias. What lies outside the
    photograph repeats its edge.
    """
    back = inverse(matrix)
    corners = move(back, np.array([[0, 0], [1, 0], [0, 1], [1, 1]], float))
    pixels = float(np.hypot(*back[:, 0])) / size
    margin = 4 * max(1.0, pixels)
    low = np.floor(corners.min(0) - margin).astype(int)
    high = np.ceil(corners.max(0) + margin).astype(int)
    region = _padded(rgb, low, high)
    factor = max(1, int(pixels))
    picture = Image.fromarray(region)
    if factor > 1:
        picture = picture.reduce(factor)
    to_region = np.column_stack([back[:, :2] / size, back[:, 2] - low]) / factor
    picture = picture.transform(
        (size, size), Image.Transform.AFFINE, to_region.ravel().tolist(), Image.Resampling.BICUBIC
    )
    return np.asarray(picture)


def _padded(rgb: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """``rgb[low..high]`` (x, y), edges repeated where that reaches outside."""
    height, width = rgb.shape[:2]
    rows = np.clip(np.arange(low[1], high[1]), 0, height - 1)
    columns = np.clip(np.arange(low[0], high[0]), 0, width - 1)
    if low[0] >= 0 and low[1] >= 0 and high[0] <= width and high[1] <= height:
        return np.ascontiguousarray(rgb[low[1] : high[1], low[0] : high[0]])
    return rgb[rows[:, None], columns[None]]
