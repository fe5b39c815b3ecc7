"""The geometry of moving faces: landmark paths as points on the unit Hilbert hypersphere.

A path is (..., T, 68, 2): T frames at even times from 0 to 1. Its square-root velocity function (SRVF; Srivastava et
al., PAMI 2011), q = v / sqrt|v|, is a function of time without the place where the path began; |q|^2 is the path's
length, so that paths brought to length 1 lie on the unit sphere of L2, whose geodesics have closed forms. That is how
MotionGAN sees expressions (Otberdout et al., PAMI 2022). All functions here can be differentiated.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mien.expressions import TEMPLATE
from mien.lab.readers.finder import five_points

STILL = (*range(27, 31), 36, 39, 42, 45)
"""Landmarks that no expression moves much: the bridge of the nose and the corners of the eyes."""
_SMALL = 1e-6


def srvf(path: Tensor) -> Tensor:
    """(..., T, 68, 2) -> (..., T - 1, 68, 2): velocity over the root of speed, 0 where the face stands still."""
    velocity = path.diff(dim=-3) * (path.shape[-3] - 1)
    return velocity / _long(velocity, (-2, -1)).sqrt().clamp(min=_SMALL)


def integrate(q: Tensor, start: Tensor) -> Tensor:
    """The path (..., T, 68, 2) from ``start`` (..., 68, 2) whose SRVF is ``q``: start + integral of q |q|."""
    moved = (q * _long(q, (-2, -1))).cumsum(-3) / q.shape[-3]
    return start[..., None, :, :] + torch.cat([torch.zeros_like(moved[..., :1, :, :]), moved], -3)


def length(path: Tensor) -> Tensor:
    """(...,) how far the landmarks of a path travel, as one point of R^136."""
    return _long(path.diff(dim=-3), (-2, -1)).sum((-3, -2, -1))


def inner(p: Tensor, q: Tensor) -> Tensor:
    """(..., 1, 1, 1) inner product of L2 over times 0 to 1."""
    return (p * q).sum((-3, -2, -1), keepdim=True) / p.shape[-3]


def norm(q: Tensor) -> Tensor:
    """(..., 1, 1, 1) length of a function in L2."""
    return _long(q, (-3, -2, -1)) / q.shape[-3] ** 0.5


def unit(q: Tensor) -> Tensor:
    """``q`` on the unit sphere: the SRVF of the same path brought to length 1."""
    return q / norm(q).clamp(min=_SMALL)


def distance(p: Tensor, q: Tensor) -> Tensor:
    """(...,) geodesic distance of two points of the sphere: their angle, 0 to pi, exact for small ones too."""
    return _angle(p, q)[..., 0, 0, 0]


def exp(base: Tensor, tangent: Tensor) -> Tensor:
    """The point reached from ``base`` along ``tangent`` (inner(base, tangent) = 0) after its own length."""
    angle = norm(tangent)
    safe = angle.clamp(min=_SMALL)
    return angle.cos() * base + safe.sin() / safe * tangent


def log(base: Tensor, point: Tensor) -> Tensor:
    """The tangent vector at ``base`` whose ``exp`` is ``point``; there is none where they are opposite (angle pi)."""
    angle = _angle(base, point)
    safe = angle.clamp(min=_SMALL)
    return safe / safe.sin() * (point - angle.cos() * base)


def tangent(base: Tensor, vector: Tensor) -> Tensor:
    """What of ``vector`` is tangent to the sphere at ``base``."""
    return vector - inner(base, vector) * base


def karcher_mean(points: Tensor, steps: int = 50, tolerance: float = 1e-5) -> Tensor:
    """The point (T - 1, 68, 2) with the least mean squared distance to ``points`` (N, T - 1, 68, 2).

    By gradient descent: step along the mean of the logs until it is shorter than ``tolerance`` (Karcher 1977). There is
    one such point where all lie within a quarter of a great circle from one place.
    """
    mean = unit(points.mean(0))
    for _ in range(steps):
        step = log(mean, points).mean(0)
        mean = unit(exp(mean, step))
        if norm(step) < tolerance:
            break
    return mean


def normalised(path: Tensor) -> Tensor:
    """A path (T, 68, 2) without the head's own motion, in fractions of the aligned crop of its first frame.

    Each frame is brought onto the first by the similarity that fits ``STILL`` best, then all by the one that brings the
    first frame's five points to ``TEMPLATE``. What a turning head does beyond a similarity stays in.
    """
    points = torch.view_as_complex(path.double().contiguous())
    points = _fitted(points, points[:, STILL], points[:1, STILL])
    five = five_points(torch.view_as_real(points[:1]))
    goal = torch.tensor([TEMPLATE], dtype=torch.double)
    points = _fitted(points, torch.view_as_complex(five), torch.view_as_complex(goal))
    return torch.view_as_real(points).to(path.dtype)


def _fitted(points: Tensor, some: Tensor, goal: Tensor) -> Tensor:
    """Complex ``points`` (T, N) under the similarity a z + b that brings ``some`` nearest to ``goal``."""
    z, w = some.mean(1, keepdim=True), goal.mean(1, keepdim=True)
    a = ((some - z).conj() * (goal - w)).sum(1, keepdim=True) / (some - z).abs().square().sum(1, keepdim=True)
    return a * (points - z) + w


def _long(x: Tensor, axes: tuple[int, ...]) -> Tensor:
    return torch.linalg.vector_norm(x, dim=axes, keepdim=True)


def _angle(p: Tensor, q: Tensor) -> Tensor:
    """2 atan(|p - q| / |p + q|), Kahan's formula: the arc cosine has no digits left near 0."""
    return 2 * torch.atan2(norm(p - q), norm(p + q))
