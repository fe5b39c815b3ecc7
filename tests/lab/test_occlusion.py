"""The occlusion reader: what is drawn before faces covers them where it says, and a network learns to see it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tiny import faces, trainer_of
from torch import Tensor

from mien.lab.method import Optimizer
from mien.lab.readers import covers
from mien.lab.readers.covers import boxes, covered, hands, microphones, pieces, shaded
from mien.lab.readers.occlusion import Occlusion, OcclusionConfig, on_face

KINDS = [hands, microphones, boxes, pieces]


def plain(count: int, *colour: float, size: int = 64) -> Tensor:
    """Pictures of one colour in [0, 1]."""
    return torch.tensor(colour).view(1, 3, 1, 1).expand(count, 3, size, size).clone()


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_each_kind_covers_a_part_of_most_faces(kind: Callable[[Tensor, Tensor], covers.Layer]) -> None:
    torch.manual_seed(0)
    layer = kind(plain(64, 0.6, 0.4, 0.3), torch.arange(64))
    assert layer.colour.shape == (64, 3, 64, 64)
    assert layer.cover.shape == (64, 1, 64, 64)
    for values in (layer.cover, layer.colour):
        assert float(values.min()) >= 0
        assert float(values.max()) <= 1
    on = on_face(layer.cover) == 1
    share = (layer.cover * on).sum((1, 2, 3)) / on.sum()
    assert (share > 0.01).float().mean() > 0.8
    assert float(share.max()) < 0.95


def test_a_hand_is_of_the_faces_own_skin() -> None:
    torch.manual_seed(0)
    pictures = torch.cat([plain(32, 0.8, 0.62, 0.52), plain(32, 0.3, 0.2, 0.15)])
    layer = hands(pictures, torch.arange(64))
    deep = (layer.cover > 0.99).expand_as(layer.colour)
    light, dark = (layer.colour[half][deep[half]].median() for half in (slice(0, 32), slice(32, 64)))
    assert light > 0.45 > dark + 0.15


def test_what_covers_hides_the_face_and_what_does_not_leaves_it() -> None:
    """The same things lie before pictures of any light; beside them nothing but a shadow tells."""
    both = []
    for level in (0.4, 0.8):
        torch.manual_seed(3)
        both.append(covered(plain(24, level, level, level) * 2 - 1))
    (_, cover), (light, same) = both
    torch.testing.assert_close(cover, same)
    assert 0.05 < float(cover.mean()) < 0.6
    clear = (cover == 0).expand_as(light)
    assert float((light[clear] - 0.6).max()) < 1e-4, "nothing but a shadow, which is darker"
    assert (light[clear] > 0.59).float().mean() > 0.5


def test_shadows_only_darken() -> None:
    torch.manual_seed(1)
    before = plain(60, 0.5, 0.5, 0.5) * 2 - 1
    after = shaded(before)
    assert float((after - before).max()) < 1e-5
    changed = ((after - before).abs().amax((1, 2, 3)) > 0.05).float().mean()
    assert 0.1 < changed < 0.6


def test_pixels_beside_the_face_weigh_little() -> None:
    weight = on_face(torch.zeros(1, 1, 64, 64))[0, 0]
    assert weight[48, 32] == weight[27, 22] == weight[27, 42] == 1  # mouth and eyes
    assert float(weight[2, 2]) == pytest.approx(0.1)


class Quick(Occlusion):
    """Few steps on an easy set."""

    def optimizer(self, network: str) -> Optimizer:
        return Optimizer(lr=4e-3, betas=(0.9, 0.99))


def test_it_sees_what_covers_faces_never_seen(drawn: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    method = Quick(OcclusionConfig(size=32, widths=(12, 24, 32)))
    trainer = trainer_of(method, drawn, tmp_path, batch=8, steps=200, decay=0.5)
    for step in range(200):
        trainer.step(step)
    held_out = faces(drawn, "val").take(torch.arange(32)).image
    torch.manual_seed(1)
    image, cover = covered(held_out)
    with torch.no_grad(), trainer.averaged() as method:
        found, untouched = (method(each) > 0.5 for each in (image, held_out))
    on = on_face(image) == 1
    truth = (cover > 0.5) & on
    iou = (found & truth).sum() / ((found & on) | truth).sum()
    assert iou > 0.55, f"{iou:.2f}"
    assert (untouched & on).sum() / (on.sum() * 32) < 0.03
