"""Faces moved by geometry: exact where landmarks are, lips that meet without what was between them."""

from __future__ import annotations

import torch
from drawn import average_face
from torch import Tensor

from mien.lab.blocks import warp
from mien.lab.geometry import INNER_LOWER, INNER_UPPER, LIPS, around, gaps, overlapped, reshaped, thin_plate

SIZE = 96


def open_mouth() -> tuple[Tensor, Tensor]:
    """A gray face whose lips (red) stand open over white teeth: the picture (1, 3, S, S) and its landmarks."""
    points = torch.tensor(average_face()).float()[None].clone()
    centre = points[:, [60, 64]].mean(1)
    points[:, INNER_UPPER, 1] = centre[:, 1:] - 0.05
    points[:, INNER_LOWER, 1] = centre[:, 1:] + 0.05
    y, x = torch.meshgrid(*[(torch.arange(SIZE) + 0.5) / SIZE] * 2, indexing="ij")
    left, right = points[0, 60, 0], points[0, 64, 0]
    across = (1 - ((x - centre[0, 0]) / (right - left) * 2) ** 2).clamp(min=0).sqrt()
    lips, teeth = ((y - centre[0, 1]).abs() < (across * half) for half in (0.10, 0.05))
    image = torch.full((1, 3, SIZE, SIZE), 0.2)
    image[0, :, lips] = torch.tensor([[0.8], [-0.6], [-0.6]])
    image[0, :, teeth] = 1.0
    return image, points


def whiteness(image: Tensor) -> float:
    return (image.amin(1) > 0.7).float().sum().item()


def test_a_spline_passes_through_its_points_and_keeps_planes() -> None:
    torch.manual_seed(0)
    centres = torch.tensor([[[10.5, 20.5], [40.5, 8.5], [30.5, 50.5], [55.5, 30.5]]]) / 64
    values = torch.randn(1, 4, 2)
    field = thin_plate(centres, values, 64)
    for point, value in zip((centres[0] * 64).long(), values[0], strict=True):
        torch.testing.assert_close(field[0, :, point[1], point[0]], value, atol=0.02, rtol=0)
    points = torch.rand(2, 20, 2)
    plane = 0.3 * points + 0.1
    middle = (torch.arange(32) + 0.5) / 32
    torch.testing.assert_close(
        thin_plate(points, plane, 32)[:, 0], (0.3 * middle + 0.1).expand(2, 32, 32), atol=1e-3, rtol=0
    )


def test_nothing_asked_nothing_moves() -> None:
    image, points = open_mouth()
    same, still = reshaped(image, points, torch.zeros_like(points), gaps(points))
    torch.testing.assert_close(still, points)
    assert (same - image).abs().mean() < 0.01


def test_a_closed_mouth_shows_no_teeth() -> None:
    image, points = open_mouth()
    assert whiteness(image) > 100
    shut, ends = reshaped(image, points, torch.zeros_like(points), torch.zeros(1))
    assert whiteness(shut) < 0.02 * whiteness(image)
    assert gaps(ends) < 0.004
    red = (shut[:, 0] - shut[:, 1] > 0.7).float().sum()
    assert red > 100, "the lips are still there"


def test_a_mouth_is_closed_as_far_as_asked() -> None:
    image, points = open_mouth()
    half, ends = reshaped(image, points, torch.zeros_like(points), gaps(points) / 2)
    torch.testing.assert_close(gaps(ends), gaps(points) / 2, atol=1e-3, rtol=0)
    assert 0.3 < whiteness(half) / whiteness(image) < 0.8


def test_what_is_far_from_the_face_stays() -> None:
    image, points = open_mouth()
    image = image + 0.1 * torch.randn_like(image)
    shut, _ = reshaped(image, points, torch.zeros_like(points), torch.zeros(1))
    assert (shut - image)[..., :6, :].abs().mean() < 0.05


def test_the_box_of_the_mouth_holds_the_lips_and_nothing_above() -> None:
    _, points = open_mouth()
    box = around(points[:, LIPS], SIZE)
    inside = (points[0, LIPS] * SIZE).long()
    assert (box[0, 0, inside[:, 1], inside[:, 0]] > 0.9).all()
    assert box[0, 0, : int(points[0, 33, 1] * SIZE) - 4].max() < 0.1


def both_ways(up: float) -> Tensor:
    """Two flows (1, 2, 2, S, S): the upper lip ``up``, the lower as far down, in fractions of the crop."""
    flows = torch.zeros(1, 2, 2, SIZE, SIZE)
    flows[:, 0, 1], flows[:, 1, 1] = up, -up
    return flows


def test_lips_that_meet_cover_the_teeth() -> None:
    image, points = open_mouth()
    assert torch.equal(overlapped(both_ways(0.0), points), torch.zeros(1, 2, SIZE, SIZE))
    met = warp(image, overlapped(both_ways(-0.06), points))
    assert whiteness(met) < 0.06 * whiteness(image), "in the corners, outside the landmarks"
    assert (met[:, 0] - met[:, 1] > 0.7).float().sum() > 50, "the lips are still there"
    smooth = warp(image, both_ways(-0.06).mean(1))
    assert whiteness(smooth) > 0.5 * whiteness(image), "the check itself"


def test_flows_that_agree_are_left_as_they_are() -> None:
    _, points = open_mouth()
    same = (0.05 * torch.randn(1, 1, 2, SIZE, SIZE)).expand(-1, 2, -1, -1, -1)
    torch.testing.assert_close(overlapped(same, points), same[:, 0])


def test_off_the_corners_nothing_tears() -> None:
    _, points = open_mouth()
    flow = overlapped(both_ways(-0.03), points)
    jump = (flow[:, 1, 1:] - flow[:, 1, :-1]).abs()
    inside, outside = int(points[0, LIPS, 0].mean() * SIZE), int((points[0, 60, 0] - 0.12) * SIZE)
    assert jump[..., outside].max() < 0.01 < jump[..., inside].max()


def test_lips_that_overlap_by_far_give_numbers() -> None:
    _, points = open_mouth()
    flow = overlapped(both_ways(-0.9), points)
    assert flow.isfinite().all()
    assert flow.abs().max() <= 0.9
