"""Paths of landmarks on the sphere, against closed forms and there and back again."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from mien.expressions import TEMPLATE
from mien.lab import motion
from mien.lab.readers.finder import five_points


@pytest.fixture
def paths() -> Tensor:
    """(5, 12, 68, 2) wandering faces, the third of which stands still for a while."""
    torch.manual_seed(0)
    paths = torch.randn(5, 12, 68, 2, dtype=torch.double).cumsum(1)
    paths[2, 4:8] = paths[2, 4]
    return paths


def axes(count: int, frames: int = 8) -> Tensor:
    """(count, frames, 68, 2) points of the sphere at right angles to each other."""
    points = torch.zeros(count, frames, 68, 2, dtype=torch.double)
    for i in range(count):
        points[i, :, i, 0] = 1
    return points


def on_sphere(count: int, spread: float = 1.0) -> Tensor:
    torch.manual_seed(1)
    return motion.unit(axes(1) + spread * torch.randn(count, 8, 68, 2, dtype=torch.double) / 12)


def test_a_straight_path_has_a_constant_srvf() -> None:
    direction = torch.randn(68, 2, dtype=torch.double)
    path = torch.linspace(0, 1, 9, dtype=torch.double).view(9, 1, 1) * direction
    expected = (direction / direction.norm().sqrt()).expand(8, 68, 2)
    torch.testing.assert_close(motion.srvf(path), expected)
    torch.testing.assert_close(motion.length(path), direction.norm())


def test_a_circle_has_the_srvf_of_the_textbook() -> None:
    """One landmark on a circle of radius r: q = sqrt(2 pi r) (-sin, cos), length 2 pi r."""
    turn, r = torch.linspace(0, 2 * math.pi, 2001, dtype=torch.double), 3.0
    path = torch.zeros(2001, 68, 2, dtype=torch.double)
    path[:, 7] = r * torch.stack([turn.cos(), turn.sin()], -1)
    between = (turn[1:] + turn[:-1]) / 2
    expected = math.sqrt(2 * math.pi * r) * torch.stack([-between.sin(), between.cos()], -1)
    torch.testing.assert_close(motion.srvf(path)[:, 7], expected, atol=1e-4, rtol=1e-4)
    assert motion.length(path).item() == pytest.approx(2 * math.pi * r, rel=1e-5)


def test_integrating_the_srvf_gives_the_path_back(paths: Tensor) -> None:
    torch.testing.assert_close(motion.integrate(motion.srvf(paths), paths[:, 0]), paths)
    back = motion.integrate(motion.srvf(paths.float()), paths[:, 0].float())
    torch.testing.assert_close(back, paths.float(), atol=1e-4, rtol=1e-4)


def test_srvf_forgets_place_and_keeps_length(paths: Tensor) -> None:
    q = motion.srvf(paths)
    torch.testing.assert_close(motion.srvf(paths + torch.randn(68, 2)), q)
    torch.testing.assert_close(motion.srvf(9 * paths), 3 * q)
    torch.testing.assert_close(motion.norm(q).flatten() ** 2, motion.length(paths))
    brought = motion.integrate(motion.unit(q), paths[:, 0])
    torch.testing.assert_close(motion.length(brought), torch.ones(5, dtype=torch.double))


def test_a_still_face_is_the_origin_and_not_a_nan() -> None:
    still = torch.ones(6, 68, 2)
    assert not motion.srvf(still).any()
    assert not motion.unit(motion.srvf(still)).any()


def test_the_sphere_on_its_axes() -> None:
    p, q = axes(2)
    quarter = math.pi / 2
    torch.testing.assert_close(motion.distance(p, q).item(), quarter)
    torch.testing.assert_close(motion.distance(p, -p).item(), math.pi)
    torch.testing.assert_close(motion.log(p, q), quarter * q)
    torch.testing.assert_close(motion.exp(p, quarter * q), q)
    torch.testing.assert_close(motion.exp(p, math.pi * q), -p)
    torch.testing.assert_close(motion.exp(p, 0 * q), p)
    third = motion.exp(p, math.pi / 3 * q)
    torch.testing.assert_close(third, 0.5 * p + math.sqrt(0.75) * q)


@pytest.mark.parametrize("angle", [1e-12, 1e-8, 1e-3, 1.0, 3.0])
def test_distances_keep_their_digits(angle: float) -> None:
    p, q = axes(2)
    point = math.cos(angle) * p + math.sin(angle) * q
    assert motion.distance(p, point).item() == pytest.approx(angle, rel=1e-6)
    assert motion.norm(motion.log(p, point)).item() == pytest.approx(angle, rel=1e-5)


def test_exp_and_log_undo_each_other() -> None:
    base, points = on_sphere(1)[0], on_sphere(20)
    away = motion.log(base, points)
    assert motion.inner(base.expand_as(away), away).abs().max() < 1e-12, "not tangent"
    torch.testing.assert_close(motion.exp(base, away), points)
    torch.testing.assert_close(motion.norm(away).flatten(), motion.distance(base.expand_as(points), points))
    vector = motion.tangent(base, torch.randn(20, 8, 68, 2, dtype=torch.double) / 6)
    assert (motion.norm(vector) < math.pi).all()
    torch.testing.assert_close(motion.log(base, motion.exp(base, vector)), vector)
    torch.testing.assert_close(motion.norm(motion.exp(base, vector)), torch.ones(20, 1, 1, 1, dtype=torch.double))


def test_the_mean_of_two_is_halfway_and_of_many_where_their_logs_cancel() -> None:
    p, q = axes(2)
    torch.testing.assert_close(motion.karcher_mean(torch.stack([p, q])), motion.exp(p, math.pi / 4 * q))
    thrice = torch.stack([p, p, q])  # a weighted mean lies on the same great circle, a third of the way
    torch.testing.assert_close(motion.karcher_mean(thrice), motion.exp(p, math.pi / 6 * q), atol=1e-5, rtol=0)
    points = on_sphere(30)
    mean = motion.karcher_mean(points)
    assert motion.norm(motion.log(mean, points).mean(0)) < 1e-5

    def spread(at: Tensor) -> float:
        return motion.distance(at.expand_as(points), points).square().mean().item()

    nearby = motion.exp(mean, motion.tangent(mean, 0.01 * torch.randn(50, 8, 68, 2, dtype=torch.double)))
    assert all(spread(mean) < spread(other) for other in nearby)


def test_gradients_are_those_of_finite_differences() -> None:
    base, point = on_sphere(2)
    small = [x[:3] / motion.norm(x[:3]) for x in (base, point)]
    weight = torch.randn(3, 68, 2, dtype=torch.double)
    for function in (motion.log, motion.exp, motion.distance):
        inputs = [small[0], motion.tangent(*small) if function is motion.exp else small[1]]
        inputs[1] = inputs[1].clone().requires_grad_(True)
        value = (function(*inputs) * weight).sum()
        (slope,) = torch.autograd.grad(value, inputs[1])
        step = 1e-6 * torch.randn_like(weight)
        near, far = ((function(inputs[0], inputs[1] + sign * step) * weight).sum() for sign in (-1, 1))
        torch.testing.assert_close((slope * step).sum(), (far - near) / 2, atol=1e-12, rtol=1e-4)
    same = base.clone().requires_grad_(True)
    (slope,) = torch.autograd.grad(motion.distance(base, same), same)
    assert slope.isfinite().all(), "two equal motions must not break training"


def test_normalised_takes_the_head_out_and_leaves_the_expression() -> None:
    torch.manual_seed(2)
    face = torch.rand(68, 2, dtype=torch.double)
    mouth = torch.zeros(7, 68, 2, dtype=torch.double)
    mouth[:, 48:, 1] = torch.linspace(0, 0.2, 7)[:, None]  # it opens; what is still stays still
    still = motion.normalised(face + mouth)
    turn = torch.linspace(0, 0.7, 7, dtype=torch.double)
    rotation = torch.stack([turn.cos(), -turn.sin(), turn.sin(), turn.cos()], -1).view(7, 2, 2)
    size = torch.linspace(1, 3, 7, dtype=torch.double).view(7, 1, 1)
    moved = size * ((face + mouth) @ rotation.mT) + torch.randn(7, 1, 2)
    torch.testing.assert_close(motion.normalised(moved), still)
    assert (still[-1] - still[0]).norm() > 0.1
    torch.testing.assert_close(still[:, :48], still[:1, :48].expand(7, 48, 2))


def test_normalised_brings_the_five_points_to_the_template() -> None:
    face = torch.rand(68, 2)
    for rows, place in zip((range(36, 42), range(42, 48), [30], [48], [54]), TEMPLATE, strict=True):
        face[list(rows)] = torch.tensor(place)
    path = motion.normalised(5 * face[None] + 3)
    torch.testing.assert_close(five_points(path)[0], torch.tensor(TEMPLATE))
