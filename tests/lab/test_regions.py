"""Regions: each part has networks of its own, sees itself alone, and comes back without a trace around it."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from drawn import openness
from tiny import faces, trainer_of
from torch import Tensor

from mien.errors import MienError
from mien.expressions import EXPRESSIONS
from mien.lab.faces import Faces
from mien.lab.method import Optimizer, Turn
from mien.lab.methods.regions import PARTS, Box, Regions, RegionsConfig, blended, eroded, feathered, levelled
from mien.lab.methods.stargan import StarGAN, StarGANConfig

NEUTRAL, SURPRISED = EXPRESSIONS.index("neutral"), EXPRESSIONS.index("surprise")
SMALL = {"size": 32, "width": 8, "blocks": 1, "critic_steps": 2}


def small(**config: object) -> Regions:
    torch.manual_seed(0)
    return Regions(RegionsConfig(**(SMALL | config))).eval()


@torch.no_grad()
def edited(method: Regions, drawn: Path, count: int = 4) -> tuple[Tensor, Tensor]:
    """Held-out faces before and after a full edit."""
    source = faces(drawn, "val").take(torch.arange(count))
    target = Faces(emotion=(source.emotion + 1) % 7)
    return source.image, method.edit(source.only("image", "emotion"), target, torch.ones(count)).image


def own(method: Regions, part: str) -> Tensor:
    """(S, S) booleans: the pixels that are the part's."""
    left, top, right, bottom = PARTS["parts"][part][1].pixels(method.config.size)
    mask = torch.zeros(method.config.size, method.config.size, dtype=torch.bool)
    mask[top:bottom, left:right] = True
    return mask


@pytest.mark.parametrize("back", ["brightness", "poisson", "delta"])
def test_pixels_outside_the_parts_are_untouched_to_the_bit(drawn: Path, back: str) -> None:
    method = small(back=back)
    before, after = edited(method, drawn)
    inside = torch.stack([own(method, part) for part in method.parts])
    assert inside.sum(0).max() == 1, "parts lie over each other"
    for mask in inside:
        assert (before - after)[..., mask].abs().max() > 1e-3
    outside = ~inside.any(0)
    assert torch.equal(before[..., outside], after[..., outside])


def test_a_face_is_changed_where_the_segmenter_sees_it_and_nowhere_else(drawn: Path) -> None:
    """A segmenter that takes all left of the middle for face, and is in two minds about one column."""
    method = small(mode="face", back="delta")

    def half(image: Tensor) -> Tensor:
        background = torch.ones(len(image), 1, 32, 32)
        background[..., :15], background[..., 15] = 0.0, 0.5
        return torch.cat([background, (1 - background).expand(-1, 5, -1, -1) / 5], 1)

    method.segmenter.forward = half
    before, after = edited(method, drawn)
    assert torch.equal(before[..., 15:], after[..., 15:])
    assert (before - after)[..., 1:31, 2:13].abs().amin((0, 1)).median() > 1e-4
    seen, kept = method.seen("face", before)
    assert torch.equal(seen[..., :15], before[..., :15])
    assert not seen[..., 15:].any()
    assert kept.shape == (4, 1, 32, 32)


def test_a_part_sees_itself_alone(drawn: Path) -> None:
    method = small()
    image = faces(drawn).take(torch.arange(2)).image
    for part, (window, _) in PARTS["parts"].items():
        seen, kept = method.seen(part, image)
        mask = window.cut(own(method, part))
        assert torch.equal(seen[..., mask], window.cut(image)[..., mask])
        assert not seen[..., ~mask].any()
        assert torch.equal(kept[0, 0].bool(), mask)
        assert seen.shape[-1] == seen.shape[-2] == method.parts[part].config.size


@pytest.mark.parametrize("size", [32, 48, 64, 128, 256])
def test_parts_lie_on_whole_pixels(size: int) -> None:
    for window, box in PARTS["parts"].values():
        for rectangle in (window, box):
            sides = torch.tensor([rectangle.left, rectangle.top, rectangle.right, rectangle.bottom]) * size
            assert sides.tolist() == list(rectangle.pixels(size))
    patch = torch.rand(1, 3, size, size)
    again = Box(0.25, 0.5, 0.75, 1.0).cut(Box(0.25, 0.5, 0.75, 1.0).placed(patch[..., : size // 2, : size // 2], size))
    assert torch.equal(again, patch[..., : size // 2, : size // 2])


def test_the_image_mode_is_the_method_itself(drawn: Path) -> None:
    method = small(mode="image")
    alone = StarGAN(StarGANConfig(**SMALL)).eval()
    alone.generator.load_state_dict(method.image_generator.state_dict())
    before, after = edited(method, drawn)
    source = faces(drawn, "val").take(torch.arange(4))
    with torch.no_grad():
        wanted = alone.edit(source, Faces(emotion=(source.emotion + 1) % 7), torch.ones(4)).image
    assert (before - after).abs().mean() > 1e-3
    torch.testing.assert_close(after, wanted, atol=1e-6, rtol=0)


def box_of(height: int, width: int, margin: int = 2) -> Tensor:
    kept = torch.zeros(1, 1, height, width)
    kept[..., margin:-margin, margin:-margin] = 1
    return kept


def test_a_feathered_edge_is_a_line() -> None:
    matte = feathered(box_of(14, 16), 3)[0, 0]
    expected = [0, 0, 0.25, 0.5, 0.75, 1, 1, 1, 1, 1, 1, 0.75, 0.5, 0.25, 0, 0]
    torch.testing.assert_close(matte[7], torch.tensor(expected))
    torch.testing.assert_close(matte[:, 8], torch.tensor(expected[:5] + [1.0] * 4 + expected[-5:]))
    open_edge = feathered(torch.ones(1, 1, 8, 8), 1)
    assert (open_edge[..., 0, :] == 0.5).all(), "a part that ends with the picture has an edge there too"


def test_levelled_the_edge_is_as_bright_as_the_photograph() -> None:
    """A part that is brighter all over comes back as it was; its middle may still differ from its edge."""
    torch.manual_seed(0)
    matte = feathered(box_of(20, 24), 3)
    change = 0.3 + 0.05 * torch.randn(2, 3, 20, 24)
    change[1] -= 1.0
    change[:, :, 8:12, 8:16] += 0.5
    flat = levelled(change, matte)
    edge = (matte * (1 - matte)).expand_as(change)
    for face in range(2):
        bright = np.average(flat[face].numpy(), weights=edge[face].numpy())
        assert abs(bright) < 1e-6
    assert (flat[:, :, 8:12, 8:16].mean((1, 2, 3)) - 0.5).abs().max() < 0.05
    torch.testing.assert_close((change - flat).flatten(1).std(1), torch.zeros(2), atol=1e-6, rtol=0)


def ragged() -> Tensor:
    """A region with a bay and a hole."""
    kept = box_of(20, 22, 1)
    kept[..., 8:12, 12:] = 0
    kept[..., 14:16, 5:8] = 0
    return kept


@pytest.mark.parametrize("kept", [box_of(12, 20), ragged()], ids=["box", "ragged"])
def test_poisson_is_the_dense_solution(kept: Tensor) -> None:
    """-4 u + its neighbours = the same of the part, and u = the photograph at the rim: solved by numpy."""
    rng = np.random.default_rng(0)
    height, width = kept.shape[-2:]
    photograph, part = rng.uniform(-1, 1, (2, height, width))
    inside = eroded(kept)[0, 0].numpy() > 0.5
    rows = {cell: i for i, cell in enumerate(zip(*inside.nonzero(), strict=True))}
    assert len(rows) > 50
    matrix, known = np.zeros((len(rows), len(rows))), np.zeros(len(rows))
    for (y, x), i in rows.items():
        matrix[i, i] = -4
        known[i] = -4 * part[y, x]
        for cell in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
            known[i] += part[cell]
            if cell in rows:
                matrix[i, rows[cell]] = 1
            else:
                known[i] -= photograph[cell]
    wanted = photograph.copy()
    wanted[inside] = np.linalg.solve(matrix, known)
    change = torch.tensor(part - photograph).expand(2, 3, -1, -1)
    got = torch.tensor(photograph) + blended(change, kept.double())
    np.testing.assert_allclose(got[1, 2].numpy(), wanted, atol=1e-3)
    finer = torch.tensor(photograph) + blended(change, kept.double(), tolerance=1e-9)
    np.testing.assert_allclose(finer[1, 2].numpy(), wanted, atol=1e-7)


def test_poisson_keeps_nothing_of_an_even_change() -> None:
    """What is brighter all over by one level has the photograph's own gradients."""
    added = blended(torch.full((1, 3, 24, 24), 0.5), box_of(24, 24))
    assert added.abs().max() < 1e-3


class Quick(Regions):
    """At ten times the learning rate, and the mouth alone."""

    def turns(self, step: int) -> list[Turn]:
        return [turn for turn in super().turns(step) if turn.name.startswith("mouth/")]

    def optimizer(self, network: str) -> Optimizer:
        return Optimizer(lr=2e-3 if network.endswith("critic") else 1e-3, betas=(0.5, 0.99))


def test_the_class_moves_by_the_part_alone(drawn: Path, tmp_path: Path) -> None:
    """Surprise opens mouths, by the mouth's networks; measured on the pixels."""
    torch.manual_seed(0)
    method = Quick(RegionsConfig(**SMALL, back="delta"))
    trainer = trainer_of(method, drawn, tmp_path, batch=8, steps=300)
    for step in range(300):
        trainer.step(step)
    method.eval()
    source = faces(drawn, "val").take(torch.arange(32))
    with torch.no_grad():
        wide, shut = (
            method.edit(source, Faces(emotion=torch.full((32,), label)), torch.ones(32)).image
            for label in (SURPRISED, NEUTRAL)
        )
    real = (
        openness(source.image[source.emotion == SURPRISED]).mean()
        - openness(source.image[source.emotion == NEUTRAL]).mean()
    )
    gained = (openness(wide) - openness(shut)).mean()
    assert gained > 0.25 * real > 0.2


def test_the_inner_methods_have_the_papers_settings() -> None:
    """Upenieks & Urtans 3.2; CycleGAN's generators have about 3 M parameters."""
    star = RegionsConfig().inner(64).config
    assert (star.reconstruct, star.critic_steps, star.blocks, star.adversarial) == (5, 5, 6, "wasserstein")
    with torch.device("meta"):
        method = Regions(RegionsConfig(method="cyclegan", mode="image"))
    cycle = method.parts["image"].config
    assert (cycle.cycle, cycle.identity, cycle.noise, cycle.adversarial) == (10, 5, 0.1, "wasserstein")
    assert sum(p.numel() for p in method.image_to_target.parameters()) == pytest.approx(3e6, rel=0.1)
    assert method.knows == ("neutral", "happiness")
    for network in ("image_to_target", "image_target_critic"):
        assert method.optimizer(network) == Optimizer(1e-4, (0.5, 0.99))


@pytest.mark.parametrize("method", ["stargan", "cyclegan"])
def test_all_that_the_parts_hold_is_saved(method: str) -> None:
    """The parts are no children: every weight and buffer of theirs has to stand under a name of the wrapper's."""
    torch.manual_seed(0)
    regions = Regions(RegionsConfig(method=method, size=64, width=8, blocks=1))
    kept = {f"{part}_{key}" for part, inner in regions.parts.items() for key in inner.state_dict()}
    assert kept == set(regions.state_dict())
    averaged = {key.split(".")[0] for key in kept} & set(regions.average)
    assert averaged == {f"{part}_{name}" for part, inner in regions.parts.items() for name in inner.average}


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(MienError, match="multiple of 16"):
        Regions(RegionsConfig(size=40))
    with pytest.raises(MienError, match="too small for cyclegan"):
        Regions(RegionsConfig(size=32, method="cyclegan"))
    assert math.prod(Regions(RegionsConfig(size=40, mode="image", width=4)).image_critic.label.weight.shape) > 0
