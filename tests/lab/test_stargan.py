"""StarGAN: its terms have the right sign, and the class moves."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from drawn import openness
from tiny import faces, tiny, trainer_of
from torch import Tensor

from mien.expressions import EXPRESSIONS
from mien.lab.faces import Faces
from mien.lab.method import Optimizer, Terms
from mien.lab.methods.stargan import Critic, StarGAN, StarGANConfig, one_hot

NEUTRAL, SURPRISED = EXPRESSIONS.index("neutral"), EXPRESSIONS.index("surprise")


def test_the_published_size_at_128_px() -> None:
    """SYSTEMS 1: 8.43 M generator parameters (of which 64 x 7 x 7 go to each of the labels)."""
    with torch.device("meta"):
        method = StarGAN(StarGANConfig())
    count = sum(p.numel() for p in method.generator.parameters())
    assert count == pytest.approx(8.43e6, rel=0.01)
    widths = [layer.out_channels for layer in method.critic.trunk if isinstance(layer, torch.nn.Conv2d)]
    assert widths == [64, 128, 256, 512, 1024, 2048]


@pytest.mark.parametrize("size", [16, 32, 48, 64, 96])
def test_every_size_has_scores_and_a_label(size: int) -> None:
    score, label = Critic(size, size, 4)(torch.rand(2, 3, size, size))
    assert score.shape[:2] == (2, 1)
    assert score.numel()
    assert label.shape == (2, 7)


class Quick(StarGAN):
    """At ten times the learning rate. ``sign`` -1: the generator's classification term turned round."""

    sign = 1.0

    def optimizer(self, network: str) -> Optimizer:
        return Optimizer(lr=1e-3 if network == "generator" else 2e-3, betas=(0.5, 0.99))

    def generator_loss(self, source: Faces, target: Faces) -> Terms:
        terms = super().generator_loss(source, target)
        return terms | {"classify": self.sign * terms["classify"]}


def opened(drawn: Path, out: Path, sign: float) -> float:
    """After 200 steps: how much wider mouths stand in held-out faces edited to surprise than in those to neutral."""
    torch.manual_seed(0)
    method = Quick(StarGANConfig(size=32, width=8, blocks=1, critic_steps=2, reconstruct=2.0, classify=2.0))
    method.sign = sign
    trainer = trainer_of(method, drawn, out, batch=8, steps=200)
    for step in range(200):
        trainer.step(step)
    method.eval()
    source = faces(drawn, "val").take(torch.arange(32))
    one = torch.ones(32)
    with torch.no_grad():
        wide, shut = (
            method.edit(source, source.having(emotion=torch.full((32,), label)), one).image
            for label in (SURPRISED, NEUTRAL)
        )
    return float((openness(wide) - openness(shut)).mean())


def test_the_class_moves(drawn: Path, tmp_path: Path) -> None:
    """Measured on the pixels, where no network has a say; real surprise differs from neutral by about 1.2."""
    source = faces(drawn, "val").take(torch.arange(32))
    real = (
        openness(source.image[source.emotion == SURPRISED]).mean()
        - openness(source.image[source.emotion == NEUTRAL]).mean()
    )
    assert opened(drawn, tmp_path / "right", 1.0) > 0.25 * real > 0.2
    assert opened(drawn, tmp_path / "wrong", -1.0) < 0, "the check itself: a wrong sign must not pass"


def pieces(drawn: Path, **config: object) -> tuple[StarGAN, Faces, Faces]:
    torch.manual_seed(0)
    method = StarGAN(StarGANConfig(size=32, width=8, blocks=1, **config))
    table = faces(drawn)
    return method, table.take(torch.arange(4)), table.take(torch.arange(4) + 6)


@pytest.mark.parametrize("adversarial", ["wasserstein", "log"])
def test_terms_against_the_papers_formulas(drawn: Path, adversarial: str) -> None:
    method, source, target = pieces(drawn, adversarial=adversarial, classify=1.5, reconstruct=7.0)
    fake = method.generator(source.image, one_hot(target.emotion))
    back = method.generator(fake, one_hot(source.emotion))
    (real_score, real_label), (fake_score, fake_label) = method.critic(source.image), method.critic(fake)
    rows = torch.arange(4)
    wanted = {"reconstruct": 7 * (back - source.image).abs().mean()}
    wanted["classify"] = -1.5 * fake_label.log_softmax(1)[rows, target.emotion].mean()
    wanted["fool"] = -fake_score.mean() if adversarial == "wasserstein" else -fake_score.sigmoid().log().mean()
    same_terms(method.generator_loss(source, target), wanted)

    terms = method.critic_loss(source, target)
    wanted = {"classify": -1.5 * real_label.log_softmax(1)[rows, source.emotion].mean()}
    if adversarial == "wasserstein":
        assert terms.pop("penalty") > 0
        wanted["wasserstein"] = fake_score.mean() - real_score.mean()
    else:
        wanted["log"] = -(real_score.sigmoid().log().mean() + (1 - fake_score.sigmoid()).log().mean())
    same_terms(terms, wanted)


def same_terms(terms: Terms, wanted: Terms) -> None:
    assert terms.keys() == wanted.keys()
    for name, value in wanted.items():
        torch.testing.assert_close(terms[name], value, atol=1e-4, rtol=1e-4, msg=name)


def test_the_critic_does_not_teach_the_generator(drawn: Path) -> None:
    method, source, target = pieces(drawn)
    sum(method.critic_loss(source, target).values()).backward()
    assert all(p.grad is None for p in method.generator.parameters())


def test_the_critic_is_trained_critic_steps_times_as_often(drawn: Path, tmp_path: Path) -> None:
    trainer = trainer_of(StarGAN(StarGANConfig(size=32, width=8, blocks=1, critic_steps=5)), drawn, tmp_path)
    moved = []
    for step in range(6):
        before = trainer.method.generator.layers[0].weight.detach().clone()
        trainer.step(step)
        moved.append(not torch.equal(before, trainer.method.generator.layers[0].weight))
    assert moved == [True, False, False, False, False, True]


def test_halfway_the_label_is_half_of_each(drawn: Path) -> None:
    method = tiny("stargan").eval()
    seen: list[Tensor] = []
    method.generator.register_forward_hook(lambda module, inputs, output: seen.append(inputs[1]))
    source = Faces(torch.zeros(1, 3, 32, 32), torch.tensor([NEUTRAL]))
    with torch.no_grad():
        method.edit(source, Faces(emotion=torch.tensor([SURPRISED])), torch.tensor([0.25]))
    expected = torch.zeros(1, 7)
    expected[0, NEUTRAL], expected[0, SURPRISED] = 0.75, 0.25
    torch.testing.assert_close(seen[0], expected)
