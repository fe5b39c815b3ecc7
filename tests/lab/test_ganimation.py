"""GANimation: the mask points the right way and does not come to copy, terms have the right sign.

That muscles follow is in test_nine_muscles.py.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny import faces, tiny, trainer_of
from torch import Tensor

from mien.errors import MienError
from mien.expressions import BLENDSHAPES
from mien.lab.collections.units import muscles_of
from mien.lab.data import FaceTable
from mien.lab.faces import Faces
from mien.lab.method import Terms
from mien.lab.methods.ganimation import UNITS, Critic, GANimation, GANimationConfig
from mien.lab.trainer import Trainer

SMALL = {"size": 32, "width": 8, "blocks": 1}


def test_the_published_size_at_128_px() -> None:
    """StarGAN's generator, 8.43 M with five labels, with 47 more planes of 64 x 7 x 7 and a second head."""
    with torch.device("meta"):
        method = GANimation(GANimationConfig())
    count = sum(p.numel() for p in method.generator.parameters())
    assert count == pytest.approx(8.43e6 + 47 * 64 * 49, rel=0.01)
    widths = [layer.out_channels for layer in method.critic.trunk if isinstance(layer, torch.nn.Conv2d)]
    assert widths == [64, 128, 256, 512, 1024, 2048]


@pytest.mark.parametrize("size", [16, 32, 48, 64, 96])
def test_every_size_has_scores_and_a_reading(size: int) -> None:
    score, read = Critic(size, 4, 52)(torch.rand(2, 3, size, size))
    assert score.shape[:2] == (2, 1)
    assert score.numel()
    assert read.shape == (2, 52)


def test_faces_that_all_have_the_same_scores_are_refused(drawn: Path, tmp_path: Path) -> None:
    table = faces(drawn).faces.only("image", "blendshapes")
    table = table.having(blendshapes=torch.full_like(table.blendshapes, 0.3))
    with pytest.raises(MienError, match="same blendshapes") as error:
        Trainer("ganimation", tiny("ganimation"), FaceTable(table, [], "x"), tmp_path, GANimation.recipe)
    assert "\n" not in str(error.value)


# -- the terms --


def pieces(drawn: Path, **config: object) -> tuple[GANimation, Faces, Faces]:
    torch.manual_seed(0)
    method = GANimation(GANimationConfig(**(SMALL | config)))
    table = faces(drawn)
    return method, table.take(torch.arange(4)), table.take(torch.arange(4) + 6)


def same_terms(terms: Terms, wanted: Terms) -> None:
    assert terms.keys() == wanted.keys()
    for name, value in wanted.items():
        torch.testing.assert_close(terms[name], value, atol=1e-4, rtol=1e-4, msg=name)


def test_terms_against_the_papers_formulas(drawn: Path) -> None:
    method, source, target = pieces(drawn, jitter=0.0, muscles=150.0, reconstruct=7.0, mask=0.2, smooth=3.0)

    def applied(image: Tensor, scores: Tensor) -> tuple[Tensor, Tensor]:
        logits, colour = method.generator(image, scores)
        attention = logits.sigmoid()
        return (1 - attention) * colour + attention * image, attention

    fake, first = applied(source.image, target.blendshapes)
    back, second = applied(fake, source.blendshapes)
    (real_score, real_read), (fake_score, fake_read) = method.critic(source.image), method.critic(fake)
    steps = [a.diff(dim=dim).abs().mean() for a in (first, second) for dim in (2, 3)]
    wanted = {
        "fool": -fake_score.mean(),
        "muscles": 150 * (fake_read - target.blendshapes).square().mean(),
        "reconstruct": 7 * (back - source.image).abs().mean(),
        "mask": -0.2 * ((1 - first).log().mean() + (1 - second).log().mean()),
        "smooth": 3 * torch.stack(steps).sum(),
    }
    same_terms(method.generator_loss(source, target), wanted)

    terms = method.critic_loss(source, target)
    assert terms.pop("penalty") > 0
    wanted = {
        "wasserstein": fake_score.mean() - real_score.mean(),
        "muscles": 150 * (real_read - source.blendshapes).square().mean(),
    }
    same_terms(terms, wanted)


def test_weights_are_the_published_ones_on_means(drawn: Path) -> None:
    """The official sums: error / 25 x 4000 over 17 units, and 1e-5 x the variation of 25 masks of 128 x 128."""
    config = GANimationConfig()
    error, masks = torch.rand(25, 17), torch.rand(25, 1, 128, 128)
    assert config.muscles * error.mean().item() == pytest.approx((error.mean() / 25 * 4000).item())
    sums = sum(masks.diff(dim=dim).abs().sum() for dim in (2, 3))
    means = sum(masks.diff(dim=dim).abs().mean() for dim in (2, 3))
    assert config.smooth * means.item() == pytest.approx(1e-5 * sums.item(), rel=0.02)


def test_the_critic_does_not_teach_the_generator(drawn: Path) -> None:
    method, source, target = pieces(drawn)
    sum(method.critic_loss(source, target).values()).backward()
    assert all(p.grad is None for p in method.generator.parameters())


def test_the_critic_is_trained_critic_steps_times_as_often(drawn: Path, tmp_path: Path) -> None:
    trainer = trainer_of(GANimation(GANimationConfig(**SMALL, critic_steps=5)), drawn, tmp_path)
    moved = []
    for step in range(6):
        before = trainer.method.generator.layers[0].weight.detach().clone()
        trainer.step(step)
        moved.append(not torch.equal(before, trainer.method.generator.layers[0].weight))
    assert moved == [True, False, False, False, False, True]


def test_scores_asked_for_lie_around_those_of_real_faces(drawn: Path) -> None:
    method, source, target = pieces(drawn, jitter=0.1)
    seen: list[Tensor] = []
    method.generator.register_forward_hook(lambda module, inputs, output: seen.append(inputs[1]))
    method.generator_loss(source, target)
    away = (seen[0] - target.blendshapes).abs()
    assert 0.08 < away.max() <= 0.1
    assert torch.equal(seen[1], source.blendshapes), "the way back asks for the source's own scores"


# -- the mask --


class Held(torch.nn.Module):
    """In the generator's place: this one mask and this one colour for every face."""

    def __init__(self, logit: float, colour: float) -> None:
        super().__init__()
        self.logit = torch.nn.Parameter(torch.full((1, 1, 32, 32), logit))
        self.colour = colour

    def forward(self, image: Tensor, scores: Tensor) -> tuple[Tensor, Tensor]:
        return self.logit.expand(len(image), -1, -1, -1), torch.full_like(image, self.colour)


def test_a_mask_of_1_copies_and_one_of_0_paints(drawn: Path) -> None:
    method, source, target = pieces(drawn)
    for logit, expected in ((30.0, source.image), (-30.0, torch.full_like(source.image, 0.4))):
        method.generator = Held(logit, 0.4)
        image = method.edit(source, target, torch.ones(4)).image
        torch.testing.assert_close(image, expected, atol=1e-5, rtol=0)


def test_a_mask_that_copies_is_still_pulled_back(drawn: Path) -> None:
    """Where A = 0.99995 the paper's mean of A has lost its slope; the term here has all of it, and it points down."""
    method, source, target = pieces(drawn)
    method.generator = Held(10.0, 0.4)
    (slope,) = torch.autograd.grad(method.generator_loss(source, target)["mask"], method.generator.logit)
    (papers,) = torch.autograd.grad(
        method.config.mask * 2 * method.generator.logit.sigmoid().mean(), method.generator.logit
    )
    full = 2 * method.config.mask / 32**2
    torch.testing.assert_close(slope, torch.full_like(slope, full), rtol=1e-3, atol=0)
    assert (papers < 1e-3 * full).all()


# -- edits --


def test_halfway_the_scores_are_half_of_each(drawn: Path) -> None:
    method, source, target = pieces(drawn)
    seen: list[Tensor] = []
    method.generator.register_forward_hook(lambda module, inputs, output: seen.append(inputs[1]))
    with torch.no_grad():
        method.edit(source, target, torch.full((4,), 0.25))
    torch.testing.assert_close(seen[0], 0.75 * source.blendshapes + 0.25 * target.blendshapes)


def test_action_units_are_the_means_of_their_blendshapes_and_those_of_a_table_come_back(drawn: Path) -> None:
    """What ``mien prepare --muscles table`` makes of OpenFace's numbers, and what the generator is told of it."""
    given = {f"AU{unit:02d}_r": str(0.3 * (place + 1)) for place, unit in enumerate(UNITS)}
    muscles = muscles_of(given | {"AU23_r": "4", "AU25_r": "5"})
    shapes = torch.tensor([[muscles.get(name, 0.0) for name in BLENDSHAPES]])
    method, source, target = pieces(drawn, scores="units")
    wanted = torch.tensor([[0.06 * (place + 1) for place in range(len(UNITS))]])
    torch.testing.assert_close(method.scores(Faces(blendshapes=shapes)), wanted)

    seen: list[Tensor] = []
    method.generator.register_forward_hook(lambda module, inputs, output: seen.append(inputs[1]))
    with torch.no_grad():
        method.edit(source, target, torch.full((4,), 0.25))
    torch.testing.assert_close(seen[0], 0.75 * method.scores(source) + 0.25 * method.scores(target))
    smile = UNITS.index(12)
    both = [BLENDSHAPES.index(name) for name in ("mouthSmileLeft", "mouthSmileRight")]
    torch.testing.assert_close(method.scores(target)[:, smile], target.blendshapes[:, both].mean(1))
