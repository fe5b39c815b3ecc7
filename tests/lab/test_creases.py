"""Creases: what blendshapes do to the light on cheeks is found again, and comes where the landmarks are."""

from __future__ import annotations

import pytest
import torch
from drawn import average_face
from torch import Tensor

from mien.expressions import BLENDSHAPES
from mien.lab.change import Generator
from mien.lab.creases import SHARE, SIDE, creases, fit_creases
from mien.lab.faces import Faces

SIZE = 64
LEFT, RIGHT, JAW = (BLENDSHAPES.index(name) for name in ("mouthSmileLeft", "mouthSmileRight", "jawOpen"))
CHEEK = (..., slice(40, 46), slice(46, 49))
"""Where the left cheek of the drawn face folds."""


def fold(size: int = SIZE) -> Tensor:
    """(1, size, size): a dark fold in the left cheek, 0 elsewhere."""
    dark = torch.zeros(1, size, size)
    dark[CHEEK] = -0.2
    return dark


@pytest.fixture(scope="module")
def folded() -> Faces:
    """Gray faces under lamps of their own; a smile of each side folds its cheek, a jaw folds both as much."""
    torch.manual_seed(0)
    shapes = torch.zeros(600, 52)
    shapes[:, [LEFT, RIGHT, JAW]] = torch.rand(600, 3)
    points = torch.tensor(average_face()).float() + 0.002 * torch.randn(600, 68, 2)
    both = fold() + fold().flip(2)
    light = sum(
        shapes[:, i].view(-1, 1, 1) * dark for i, dark in ((LEFT, fold()), (RIGHT, fold().flip(2)), (JAW, both))
    )
    lamp = torch.linspace(-0.3, 0.3, SIZE) * torch.randn(600, 1, 1)
    gray = ((-0.5 + light + lamp).exp() * 255).clamp(0, 255).round()
    return Faces(image=gray[:, None].expand(-1, 3, -1, -1).byte(), blendshapes=shapes, landmarks=points)


def test_a_fold_is_found_again_under_any_lamp(folded: Faces) -> None:
    slopes, average = fit_creases(folded, ridge=1e-3)
    found = slopes[LEFT][CHEEK].mean()
    assert -0.22 < found < -0.12
    torch.testing.assert_close(slopes[RIGHT].flip(1), slopes[LEFT], atol=0.02, rtol=0)
    assert slopes[LEFT][..., : SIDE // 2].abs().max() < 0.1 * abs(found), "the other cheek"
    assert slopes[:, : SIDE // 2 - 6].abs().max() < 1e-3, "no crease above the eyes"
    assert not slopes[JAW].any(), "a jaw that drops makes no creases"
    torch.testing.assert_close(average, torch.tensor(average_face()).float(), atol=1e-3, rtol=0)


def test_light_falls_where_the_landmarks_are() -> None:
    slopes, average = torch.zeros(52, SIDE, SIDE), torch.tensor(average_face()).float()
    slopes[LEFT] = fold()[0]
    smile = torch.zeros(1, 52)
    smile[0, LEFT] = 1
    light = creases(smile, slopes, average, average[None], SIZE)
    inside = light[CHEEK].mean()
    assert inside == pytest.approx(float(torch.tensor(-0.2 * SHARE).exp()) - 1, abs=0.03)
    assert not creases(0 * smile, slopes, average, average[None], SIZE).any()
    lower = creases(smile, slopes, average, average[None] + torch.tensor([0.0, 4 / SIZE]), SIZE)
    rows = torch.arange(SIZE)
    middle, further = ((part.sum((0, 1, 3)) * rows).sum() / part.sum() for part in (light, lower))
    assert 3 < further - middle < 4.2, "cheeks lie between landmarks and go most of their way"


@torch.no_grad()
def test_an_edit_is_creased_though_nothing_was_learned() -> None:
    torch.manual_seed(0)
    generator = Generator(8).eval()
    generator.slopes[LEFT] = fold()[0]
    generator.average.copy_(torch.tensor(average_face()))
    image, points = torch.zeros(1, 3, SIZE, SIZE), generator.average[None]
    smile = torch.zeros(1, 52)
    smile[0, LEFT] = 0.8
    change = generator(image, points, smile, smile)
    torch.testing.assert_close(
        change.delta - change.paint, creases(smile, generator.slopes, generator.average, points, SIZE).expand_as(image)
    )
    assert (change.delta - change.paint)[CHEEK].mean() < -0.05
