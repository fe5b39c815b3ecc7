"""FA-GAN: its terms have the right sign, the person and the look are kept apart, and the class moves."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from test_stargan import same_terms
from tiny import faces, trainer_of

from mien.lab.faces import Faces
from mien.lab.method import Optimizer
from mien.lab.methods.fagan import FAGAN, FAGANConfig

SMALL = {"size": 32, "width": 8, "blocks": 1, "attributes": 16}


def pieces(drawn: Path, **config: object) -> tuple[FAGAN, Faces, Faces]:
    torch.manual_seed(0)
    table = faces(drawn)
    return FAGAN(FAGANConfig(**SMALL, **config)), table.take(torch.arange(4)), table.take(torch.arange(4) + 6)


def test_the_generators_terms_against_the_formulas(drawn: Path) -> None:
    weights = {"classify": 2.0, "reconstruct": 3.0, "identity": 5.0, "attribute": 7.0, "confuse": 11.0}
    method, source, target = pieces(drawn, **weights)
    person, own, way = method.person(source.image), method.look(source.image), method.labels.weight
    asked = own + way[target.emotion] - way[source.emotion]
    fake = method.decoder(person, asked)
    score, label = method.critic(fake)
    back = method.decoder(method.person(fake), method.look(fake) - way[target.emotion] + way[source.emotion])
    guess = method.guesser(person).softmax(1)
    wanted = {
        "fool": -score.mean(),
        "classify": 2 * (F.cross_entropy(label, target.emotion) + F.cross_entropy(own @ way.T, source.emotion)),
        "own": 3 * (method.decoder(person, own) - source.image).abs().mean(),
        "cycle": 3 * (back - source.image).abs().mean(),
        "identity": 5 * (method.person(fake) - person).abs().mean(),
        "attribute": 7 * (method.look(fake) - asked).abs().mean(),
        "confuse": -11 * guess.log().mean(),
    }
    same_terms(method.generator_loss(source, target), wanted)


def test_the_critics_and_the_guessers_terms(drawn: Path) -> None:
    method, source, target = pieces(drawn, classify=2.0)
    fake = method.decoder(method.person(source.image), method.asked(source, target))
    (real_score, label), (fake_score, _) = method.critic(source.image), method.critic(fake)
    terms = method.critic_loss(source, target)
    assert terms.pop("penalty") > 0
    classify = 2 * F.cross_entropy(label, source.emotion)
    same_terms(terms, {"classify": classify, "wasserstein": fake_score.mean() - real_score.mean()})
    guess = method.guesser(method.person(source.image))
    same_terms(method.guesser_loss(source, target), {"guess": F.cross_entropy(guess, source.emotion)})


def test_attributes_go_in_a_line_and_the_person_stays(drawn: Path) -> None:
    method, source, target = pieces(drawn)
    points = [method.asked(source, target, share) for share in (0.0, 0.25, 1.0)]
    torch.testing.assert_close(points[0], method.look(source.image))
    torch.testing.assert_close(points[1], 0.75 * points[0] + 0.25 * points[2])
    seen = []
    method.decoder.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    method.edit(source, target, torch.full((4,), 0.25))
    torch.testing.assert_close(seen[0], method.person(source.image))


class Quick(FAGAN):
    """At ten times the learning rate."""

    def optimizer(self, network: str) -> Optimizer:
        return Optimizer(lr=2e-3 if network in ("critic", "guesser") else 1e-3, betas=(0.5, 0.99))


def test_attributes_learn_to_tell_the_expression_and_faces_come_back(drawn: Path, tmp_path: Path) -> None:
    """On held-out faces, where chance is one in four."""
    torch.manual_seed(0)
    trainer = trainer_of(Quick(FAGANConfig(**SMALL, classify=5.0, critic_steps=1)), drawn, tmp_path, batch=8)
    method, source = trainer.method, faces(drawn, "val").take(torch.arange(32))

    @torch.no_grad()
    def missed() -> float:
        again = method.decoder(method.person(source.image), method.look(source.image))
        return float((again - source.image).abs().mean())

    before = missed()
    for step in range(80):
        trainer.step(step)
    with torch.no_grad():
        told = method.labels(method.look(source.image)).argmax(1)
    assert (told == source.emotion).float().mean() > 0.5
    assert missed() < 0.85 * before
