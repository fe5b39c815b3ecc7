"""LAUN: its contextual loss finds what has moved, and its terms are the formulas."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from drawn import openness
from test_stargan import same_terms
from tiny import faces, trainer_of

from mien.expressions import EXPRESSIONS
from mien.lab.faces import Faces
from mien.lab.method import Optimizer
from mien.lab.methods.laun import LAUN, LAUNConfig, contextual
from mien.lab.methods.stargan import one_hot

NEUTRAL, SURPRISED = EXPRESSIONS.index("neutral"), EXPRESSIONS.index("surprise")
SMALL = {"size": 32, "width": 8, "blocks": 1, "vgg19_width": 2}


def test_contextual_loss_is_0_for_equal_features_and_grows() -> None:
    torch.manual_seed(0)
    photo, noise = torch.randn(2, 2, 64, 5, 5)
    found = [float(contextual(photo + amount * noise, photo)) for amount in (0.0, 1.0, 2.0, 4.0)]
    assert found[0] == pytest.approx(0, abs=1e-4)
    assert sorted(found) == found
    assert found[1] > 0.01
    assert found[3] > 1


def test_contextual_loss_does_not_ask_where_a_feature_is() -> None:
    torch.manual_seed(0)
    photo = torch.randn(1, 64, 5, 5)
    assert float(contextual(photo.roll((1, 2), (2, 3)), photo)) == pytest.approx(0, abs=1e-4)


def test_contextual_loss_by_hand() -> None:
    """Two features each, around the mean of the photograph's: distances [[0, 2], [1, 1]] of cosines 1, -1 and 0, 0."""
    photo = torch.tensor([[1.0, -1.0], [0.0, 0.0]]).view(1, 2, 1, 2)
    edit = torch.tensor([[1.0, 0.0], [0.0, 1.0]]).view(1, 2, 1, 2)
    # the first edit feature: all its affinity to the first; the second: half to each, its nearest being both
    assert float(contextual(edit, photo)) == pytest.approx(-float(torch.tensor(0.75).log()), abs=1e-4)


def test_terms_against_the_formulas(drawn: Path) -> None:
    torch.manual_seed(0)
    method = LAUN(LAUNConfig(**SMALL, reconstruct=7.0, classify=1.5, contextual=3.0)).eval()
    table = faces(drawn)
    source, target = table.take(torch.arange(4)), table.take(torch.arange(4) + 6)
    fake = method.generator(source.image, one_hot(target.emotion))
    back = method.generator(fake, one_hot(source.emotion))
    score, label = method.critic(fake)
    wanted = {
        "fool": -score.mean(),
        "classify": -1.5 * label.log_softmax(1)[torch.arange(4), target.emotion].mean(),
        "reconstruct": 7 * ((back - source.image) ** 2).mean(),
        "contextual": 3 * contextual(method.features(fake), method.features(source.image)),
    }
    same_terms(method.generator_loss(source, target), wanted)
    assert method.features(fake).shape[1:] == (8, 12, 12)


def test_the_skips_are_gated() -> None:
    """Shut gates leave nothing of the skip; open ones let the full-size features through."""
    torch.manual_seed(0)
    method = LAUN(LAUNConfig(**SMALL))
    up, below, skips = method.generator.up[1], torch.randn(1, 16, 8, 8), torch.randn(2, 1, 8, 16, 16)
    for bias, passes in ((-50.0, False), (50.0, True)):
        torch.nn.init.constant_(up.gate[1].bias, bias)
        one, two = (up(below, skip) for skip in skips)
        assert torch.allclose(one, two, atol=1e-6) != passes


class Quick(LAUN):
    """At ten times the learning rate."""

    def optimizer(self, network: str) -> Optimizer:
        return Optimizer(lr=1e-3 if network == "generator" else 2e-3, betas=(0.5, 0.99))


def test_the_class_moves(drawn: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = LAUNConfig(**SMALL, critic_steps=2, reconstruct=8.0, classify=2.0, contextual=0.1)
    trainer = trainer_of(Quick(config), drawn, tmp_path, batch=8)
    for step in range(150):
        trainer.step(step)
    method, source = trainer.method.eval(), faces(drawn, "val").take(torch.arange(32))
    with torch.no_grad():
        wide, shut = (
            method.edit(source, Faces(emotion=torch.full((32,), label)), torch.ones(32)).image
            for label in (SURPRISED, NEUTRAL)
        )
    assert (openness(wide) - openness(shut)).mean() > 0.15
