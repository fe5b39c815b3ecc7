"""Faces moved by geometry: exact where landmarks are, lips that meet without what was between them."""

from __future__ import annotations

import pytest
import torch
from drawn import average_face
from torch import Tensor

from mien.lab.blocks import warp
from mien.lab.geometry import INNER_LOWER, INNER_UPPER, LIPS, around, gaps, inside, layered, reshaped, thin_plate

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
    still, hole = layered(both_ways(0.0), points, torch.zeros(1))
    assert not still.any()
    assert hole.max() < 1e-6
    met = warp(image, layered(both_ways(-0.06), points, torch.zeros(1))[0])
    assert whiteness(met) < 0.06 * whiteness(image), "in the corners, outside the landmarks"
    assert (met[:, 0] - met[:, 1] > 0.7).float().sum() > 50, "the lips are still there"
    smooth = warp(image, both_ways(-0.06).mean(1))
    assert whiteness(smooth) > 0.5 * whiteness(image), "the check itself"


def shut_mouth() -> tuple[Tensor, Tensor]:
    """Red above the line of the lips, blue below it: the picture and its landmarks."""
    points = torch.tensor(average_face()).float()[None].clone()
    line = points[:, [60, 64], 1].mean()
    points[:, [60, *INNER_UPPER, 64, *INNER_LOWER], 1] = line
    image = torch.full((1, 3, SIZE, SIZE), -1.0)
    height = (torch.arange(SIZE) + 0.5) / SIZE
    image[:, 0, height < line] = 1
    image[:, 2, height > line] = 1
    return image, points


def test_lips_that_part_leave_a_hole_and_are_not_drawn_out() -> None:
    image, points = shut_mouth()
    flow, hole = layered(both_ways(0.05), points, torch.zeros(1))
    x, y = (points[0, [60, 64]].mean(0) * SIZE).round().long().tolist()
    high = hole[0, 0, :, x].sum()
    assert high == pytest.approx(0.1 * SIZE, abs=2), "as high as the lips are apart"
    assert hole[..., y, x] == 1
    assert not hole[..., : int(points[0, 60, 0] * SIZE) - 3].any()
    parted = warp(image, flow)
    assert (parted[0, 0, : y - 7, x] > 0.9).all()
    assert (parted[0, 2, y + 7 :, x] > 0.9).all()
    assert layered(both_ways(-0.05), points, torch.zeros(1))[1].max() < 1e-6


def test_lips_are_made_thinner_in_their_middle() -> None:
    _, points = shut_mouth()
    left, middle = ((points[0, [60, 64], 0] * torch.tensor(share)).sum() for share in ((0.97, 0.03), (0.5, 0.5)))

    def high(thinner: float, x: Tensor) -> float:
        _, hole = layered(both_ways(0.05), points, torch.tensor([thinner]))
        return hole[0, 0, :, int(x * SIZE)].sum().item()

    assert high(0.02, middle) - high(0.0, middle) == pytest.approx(0.04 * SIZE, abs=0.5)
    assert high(0.02, left) - high(0.0, left) < 0.03 * SIZE


def test_teeth_that_show_stay_where_they_are() -> None:
    image, points = open_mouth()
    flow, hole = layered(both_ways(0.04), points, torch.zeros(1))
    x, y = (points[0, [62, 66]].mean(0) * SIZE).long().tolist()
    assert not flow[..., y, x].any()
    assert not hole[..., y, x].any()
    assert whiteness(warp(image, flow)) > 0.9 * whiteness(image)
    above = int((points[0, 62, 1] - 0.02) * SIZE)
    assert hole[..., above, x] == 1, "between the teeth and where the lip went"


def test_between_the_inner_lips_is_inside() -> None:
    image, points = open_mouth()
    white = (image.amin(1) > 0.7).float()
    within = inside(points, SIZE)[:, 0]
    assert (white * within).sum() > 0.8 * white.sum()
    assert within.sum() < 1.2 * white.sum()
    assert inside(shut_mouth()[1], SIZE).max() < 1e-6


def test_where_lips_are_shut_flows_that_agree_are_left_as_they_are() -> None:
    _, points = shut_mouth()
    same = (0.05 * torch.randn(1, 1, 2, SIZE, SIZE)).expand(-1, 2, -1, -1, -1)
    torch.testing.assert_close(layered(same, points, torch.zeros(1))[0], same[:, 0])


def test_off_the_corners_nothing_tears() -> None:
    _, points = open_mouth()
    flow, _ = layered(both_ways(-0.03), points, torch.zeros(1))
    jump = (flow[:, 1, 1:] - flow[:, 1, :-1]).abs()
    within, outside = int(points[0, LIPS, 0].mean() * SIZE), int((points[0, 60, 0] - 0.12) * SIZE)
    assert jump[..., outside].max() < 0.01 < jump[..., within].max()


def test_lips_that_overlap_by_far_give_numbers() -> None:
    _, points = open_mouth()
    flow, hole = layered(both_ways(-0.9), points, torch.zeros(1))
    assert flow.isfinite().all()
    assert hole.isfinite().all()
    assert flow.abs().max() <= 0.9
