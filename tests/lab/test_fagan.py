"""FA-GAN: its terms have the right sign, the person and the look are kept apart, and an edit shows what was asked."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from drawn import openness
from test_stargan import same_terms
from tiny import QUIET, faces, trainer_of

from mien.errors import MienError
from mien.expressions import EXPRESSIONS
from mien.lab.faces import Faces
from mien.lab.method import Optimizer
from mien.lab.methods.fagan import FAGAN, FAGANConfig

SMALL = {"size": 32, "width": 8, "blocks": 1, "attributes": 8}
NEUTRAL, SURPRISED = EXPRESSIONS.index("neutral"), EXPRESSIONS.index("surprise")


def pieces(drawn: Path, **config: object) -> tuple[FAGAN, Faces, Faces]:
    torch.manual_seed(0)
    table = faces(drawn)
    return FAGAN(FAGANConfig(**(SMALL | config))).eval(), table.take(torch.arange(4)), table.take(torch.arange(4) + 6)


@pytest.mark.parametrize("wrong", [{"size": 40}, {"width": 12}])
def test_sizes_that_cannot_be_halved_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(MienError, match="multiple of 16"):
        FAGAN(FAGANConfig(**(SMALL | wrong)))


def test_the_generators_terms_against_the_formulas(drawn: Path) -> None:
    weights = {"classify": 2.0, "reconstruct": 3.0, "identity": 5.0, "attribute": 7.0, "confuse": 11.0}
    method, source, target = pieces(drawn, **weights)
    person, own = method.person(source.image), method.attributes(source.image)
    asked = torch.cat([F.one_hot(target.emotion, 7).float(), own[:, 7:]], 1)
    plain = method.decoder(person, own)
    fake = source.image + method.decoder(person, asked) - plain
    score, label = method.critic(fake)
    told = F.cross_entropy(method.look(source.image)[:, :7], source.emotion)
    wanted = {
        "fool": -score.mean(),
        "classify": 2 * (F.cross_entropy(label, target.emotion) + told),
        "own": 3 * (plain - source.image).abs().mean(),
        "identity": 5 * (method.person(fake) - person).abs().mean(),
        "attribute": 7 * (method.attributes(fake) - own)[:, 7:].abs().mean(),
        "confuse": 11 * F.cross_entropy(method.guesser(person, own[:, 7:]), target.emotion),
    }
    same_terms(method.generator_loss(source, target), wanted)


def test_the_critics_and_the_guessers_terms(drawn: Path) -> None:
    method, source, target = pieces(drawn, classify=2.0)
    fake = method.edit(source, target, torch.ones(4)).image
    (real_score, label), (fake_score, _) = method.critic(source.image), method.critic(fake)
    wanted = {
        "hinge": F.relu(1 - real_score).mean() + F.relu(1 + fake_score).mean(),
        "classify": 2 * F.cross_entropy(label, source.emotion),
    }
    same_terms(method.critic_loss(source, target), wanted)
    guess = method.guesser(method.person(source.image), method.attributes(source.image)[:, 7:])
    same_terms(method.guesser_loss(source, target), {"guess": F.cross_entropy(guess, source.emotion)})


def test_the_expression_goes_in_a_line_and_all_else_stays(drawn: Path) -> None:
    method, source, target = pieces(drawn)
    seen = []
    method.decoder.register_forward_hook(lambda module, inputs, output: seen.append(inputs))
    with torch.no_grad():
        person, own = method.person(source.image), method.attributes(source.image)
        method.edit(source, target, torch.full((4,), 0.25))
    (kept, asked), (same, from_) = seen
    assert torch.equal(kept, person)
    assert torch.equal(same, person)
    assert torch.equal(from_, own)
    torch.testing.assert_close(asked[:, :7], 0.75 * own[:, :7] + 0.25 * F.one_hot(target.emotion, 7))
    assert torch.equal(asked[:, 7:], own[:, 7:])


class Quick(FAGAN):
    """At several times the learning rate."""

    def optimizer(self, network: str) -> Optimizer:
        return Optimizer(lr=2e-3, betas=(0.5, 0.99))


def test_mouths_open_for_surprise_and_close_again_and_the_faces_keep_their_colours(drawn: Path, tmp_path: Path) -> None:
    """On held-out faces, with averaged weights; measured on the pixels, where no network has a say."""
    torch.manual_seed(0)
    trainer = trainer_of(Quick(FAGANConfig(**SMALL)), drawn, tmp_path, batch=8, steps=150, ema=0.97, log_every=50)
    table = faces(drawn, "val")
    shut, wide = (table.take((table.faces.emotion == k).nonzero()[:, 0]) for k in (NEUTRAL, SURPRISED))
    real = float(openness(wide.image).mean() - openness(shut.image).mean())

    @torch.no_grad()
    def opened(start: Faces, emotion: int) -> float:
        target, ones = Faces(emotion=torch.full((len(start),), emotion)), torch.ones(len(start))
        with trainer.averaged() as method:
            image = method.edit(start, target, ones).image
        assert (image - start.image).mean((0, 2, 3)).abs().max() < 0.1, "a cast of colour"
        return float((openness(image) - openness(start.image)).mean()) / real

    assert abs(opened(shut, SURPRISED)) < 0.1, "the check itself: nothing follows untaught"
    trainer.run(console=QUIET)
    assert opened(shut, SURPRISED) > 0.4
    assert opened(wide, NEUTRAL) < -0.4
    with trainer.averaged() as method, torch.no_grad():
        told = method.attributes(table.take(torch.arange(32)).image)[:, :7].argmax(1)
    assert (told == table.faces.emotion[:32]).float().mean() > 0.8
