"""StarGAN v2: its terms and schedules are the official ones, styles are followed, and the variant keeps the person."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from drawn import openness
from test_stargan import same_terms
from tiny import faces, tiny, trainer_of
from torch import Tensor

from mien.editor import Editor, as_photo, worn
from mien.errors import MienError
from mien.expressions import EXPRESSIONS
from mien.lab.checkpoint import Progress
from mien.lab.data import FaceTable
from mien.lab.export import export
from mien.lab.faces import Faces
from mien.lab.losses import r1_penalty
from mien.lab.method import Optimizer
from mien.lab.methods.starganv2 import Neighbours, StarGANv2, StarGANv2Config
from mien.lab.readers.identity import Identity, IdentityConfig

NEUTRAL, SURPRISED = EXPRESSIONS.index("neutral"), EXPRESSIONS.index("surprise")
SMALL = {"size": 32, "width": 8, "bottom": 16, "hidden": 8, "style": 4}


@pytest.mark.parametrize(
    ("size", "bottom", "generator", "style", "discriminator"),
    [
        (256, 8, 43467395, 21081088, 20854855),
        (256, 16, 33892995, 21081088, 20854855),
        (64, 16, 32634883, 20491968, 20265735),
    ],
)
def test_the_published_sizes(size: int, bottom: int, generator: int, style: int, discriminator: int) -> None:
    """Counted on the official networks, with seven domains; 43.5 M is the published generator."""
    with torch.device("meta"):
        method = StarGANv2(StarGANv2Config(size=size, bottom=bottom))
    count = {name: sum(p.numel() for p in network.parameters()) for name, network in method.named_children()}
    assert count == {"generator": generator, "mapping": 6542272, "style": style, "discriminator": discriminator}


@pytest.mark.parametrize("size", [32, 48, 64, 96])
def test_every_size_is_painted_judged_and_exportable(size: int) -> None:
    method = StarGANv2(StarGANv2Config(**(SMALL | {"size": size, "identity": True}))).eval()
    face = Faces(torch.rand(2, 3, size, size), torch.tensor([0, 1]))
    assert method.edit(face, face, torch.ones(2)).image.shape == face.image.shape
    assert method.discriminator(face.image, face.emotion).shape == (2,)


@pytest.mark.parametrize("wrong", [{"size": 24}, {"size": 100}, {"bottom": 32}])
def test_a_size_that_cannot_be_halved_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(MienError, match="multiple of"):
        StarGANv2(StarGANv2Config(**(SMALL | wrong)))


def test_r1_of_a_linear_critic() -> None:
    """d(w.x)/dx = w at every picture, so the penalty is |w|^2 / 2; the fake half of a critic's job has no say in it."""
    w = torch.randn(3 * 4 * 4)
    found = r1_penalty(lambda x: x.flatten(1) @ w, torch.randn(5, 3, 4, 4))
    assert found.item() == pytest.approx(float(w @ w) / 2, rel=1e-5)


def test_r1_has_the_slope_of_finite_differences() -> None:
    real = torch.randn(2, 1, 2, 2, dtype=torch.double)
    weight = torch.randn(4, 3, dtype=torch.double, requires_grad=True)

    def penalty(w: Tensor) -> Tensor:
        return r1_penalty(lambda x: torch.tanh(x.flatten(1) @ w).sum(1), real)

    assert torch.autograd.gradcheck(penalty, weight)


def pieces(drawn: Path, **config: object) -> tuple[StarGANv2, Faces, Faces]:
    """A method, four sources, and eight targets: four pairs with one label each."""
    torch.manual_seed(0)
    method = StarGANv2(StarGANv2Config(**(SMALL | config)))
    table = faces(drawn)
    return method, table.take(torch.arange(4)), table.take(torch.tensor([6, 7, 8, 9, 14, 15, 16, 17]))


def test_the_generators_terms_against_the_papers_formulas(drawn: Path) -> None:
    weights = {"restyle": 3.0, "diversity": 2.0, "cycle": 5.0, "diversity_steps": 10, "identity_steps": (4, 8)}
    method, source, target = pieces(drawn, identity=True, **weights)
    method.eval()
    label, first, second = target.emotion[:4], target.image[:4], target.image[4:]
    style, other = method.style(first, label), method.style(second, label)
    fake, unlike = method.paint(source.image, style), method.paint(source.image, other)
    back = method.paint(fake, method.style(source.image, source.emotion))
    away = method.person(fake) - method.person(source.image)
    turn = method.turns(5)[3]
    assert turn.name == "reference"
    wanted = {
        "fool": -method.discriminator(fake, label).sigmoid().log().mean(),
        "restyle": 3 * (style - method.style(fake, label)).abs().mean(),
        "diversity": -2 * 0.5 * (fake - unlike).abs().mean(),
        "cycle": 5 * (back - source.image).abs().mean(),
        "identity": (0.1 + 3.9 / 4) * (away**2).sum() / 4,
    }
    same_terms(turn.loss(source, target), wanted)


def test_the_discriminators_terms_against_the_papers_formulas(drawn: Path) -> None:
    method, source, target = pieces(drawn, penalty=3.0)
    label = target.emotion[:4]
    fake = method.paint(source.image, method.style(target.image[:4], label))
    real = source.image.clone().requires_grad_(True)
    real_score, fake_score = method.discriminator(real, source.emotion), method.discriminator(fake, label)
    (slope,) = torch.autograd.grad(real_score.sum(), real, retain_graph=True)
    bce = F.binary_cross_entropy_with_logits
    wanted = {
        "log": bce(real_score, torch.ones(4)) + bce(fake_score, torch.zeros(4)),
        "penalty": 3 * 0.5 * (slope**2).sum() / 4,
    }
    turn = method.turns(0)[1]
    assert turn.name == "critic_reference"
    terms = turn.loss(source, target)
    same_terms(terms, wanted)
    sum(terms.values()).backward()
    assert all(p.grad is None for name in method.average for p in getattr(method, name).parameters())


def test_order_and_settings_are_the_official_ones() -> None:
    method = tiny("starganv2")
    learners = ("generator", "mapping", "style")
    moves = [turn.moves for turn in method.turns(0)]
    assert moves == [("discriminator",), ("discriminator",), learners, ("generator",)]
    settings = {name: method.optimizer(name) for name in ("discriminator", *learners)}
    assert {name: wish.lr for name, wish in settings.items() if wish.lr != 1e-4} == {"mapping": 1e-6}
    assert all((wish.betas, wish.weight_decay) == ((0.0, 0.99), 1e-4) for wish in settings.values())


def test_schedules_are_functions_of_the_step() -> None:
    """Asked for in any order: a resume must not find them changed."""
    method = StarGANv2(StarGANv2Config(**SMALL))
    at = {step: method.turns(step)[2].loss.keywords for step in (100_000, 25_000, 0, 50_000, 200_000, 62_500)}
    assert [at[k]["diversity"] for k in (0, 25_000, 50_000, 100_000, 200_000)] == [1, 0.75, 0.5, 0, 0]
    assert [at[k]["identity"] for k in (0, 25_000, 62_500, 100_000, 200_000)] == pytest.approx([0.1, 0.1, 2.05, 4, 4])


def test_second_references_share_the_first_ones_labels(drawn: Path, tmp_path: Path) -> None:
    trainer = trainer_of(tiny("starganv2"), drawn, tmp_path, batch=8)
    label = trainer.table.faces.emotion
    pairs = [trainer.sample(step)[1] for step in range(20)]
    assert all(torch.equal(label[rows[:8]], label[rows[8:]]) for rows in pairs)
    assert sum(int((rows[:8] != rows[8:]).sum()) for rows in pairs) > 140, "mostly another face"
    assert torch.equal(pairs[3], trainer.sample(3)[1])


def test_one_expression_alone_is_refused(drawn: Path) -> None:
    method, table = tiny("starganv2"), faces(drawn)
    happy = table.faces[table.faces.emotion == NEUTRAL].only("image", "emotion")
    with pytest.raises(MienError, match="one expression alone"):
        method.sampler(FaceTable(happy, table.names[: len(happy)], "x"), method.recipe)


def test_minibatch_discrimination_sees_the_neighbours(drawn: Path) -> None:
    layer = Neighbours(6)
    alike, apart = layer(torch.ones(4, 6))[:, 6:], layer(torch.eye(6)[:4] * 50)[:, 6:]
    torch.testing.assert_close(alike, torch.ones(4, 32))
    assert apart.max() < 0.5
    for minibatch in (False, True):
        method, source, _ = pieces(drawn, minibatch=minibatch)
        together = method.discriminator(source.image, source.emotion)
        alone = torch.cat([method.discriminator(source.image[i : i + 1], source.emotion[i : i + 1]) for i in range(4)])
        assert torch.allclose(together, alone, atol=1e-5) != minibatch


def test_spectral_norm_holds_the_gain_at_1(drawn: Path) -> None:
    for spectral in (False, True):
        method, source, _ = pieces(drawn, spectral=spectral)
        for _ in range(30):  # each look at a batch brings the estimate of the gain nearer
            method.discriminator(source.image, source.emotion)
        convs = [layer for layer in method.discriminator.trunk.modules() if isinstance(layer, torch.nn.Conv2d)]
        gains = [float(torch.linalg.matrix_norm(layer.weight.detach().flatten(1), 2)) for layer in convs]
        assert (max(gains) < 1.1) == spectral


class Quick(StarGANv2):
    """At twenty times the learning rate."""

    def optimizer(self, network: str) -> Optimizer:
        return Optimizer(lr=2e-4 if network == "mapping" else 2e-3, betas=(0.0, 0.99), weight_decay=1e-4)


@pytest.fixture(scope="module")
def learned(drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> StarGANv2:
    """After 60 steps on the drawn faces."""
    torch.manual_seed(0)
    method = Quick(StarGANv2Config(size=32, width=16, bottom=16, hidden=32, style=16, diversity_steps=60))
    trainer = trainer_of(method, drawn, tmp_path_factory.mktemp("learned"))
    for step in range(60):
        trainer.step(step)
    return method.eval()


def held_out(drawn: Path, label: int | None = None) -> Faces:
    """32 faces to edit, or 32 of one expression to be like (the eight there are, in turn)."""
    table = faces(drawn, "val")
    rows = torch.arange(len(table)) if label is None else (table.faces.emotion == label).nonzero()[:, 0]
    return table.take(rows[torch.arange(32) % len(rows)])


@torch.no_grad()
def opened(method: StarGANv2, source: Faces, styles: list[Tensor]) -> float:
    """How much wider mouths stand in the first style than in the second; real surprise and neutral differ by 1.2."""
    wide, shut = (method.restyle(source, style, torch.ones(len(source))).image for style in styles)
    return float((openness(wide) - openness(shut)).mean())


def test_a_labels_and_a_references_style_are_followed(learned: StarGANv2, drawn: Path) -> None:
    source, labels = held_out(drawn), (SURPRISED, NEUTRAL)
    with torch.no_grad():
        by_reference = [learned.style_of(held_out(drawn, k)) for k in labels]
        by_label = [learned.mean_style(torch.full((32,), k)) for k in labels]
    assert opened(learned, source, by_reference) > 0.2
    assert opened(learned, source, by_label) > 0.3
    assert opened(learned, source, by_reference[::-1]) < -0.2, "the check itself: styles the other way round"


def test_an_edit_follows_the_reference_where_there_is_one_and_else_the_label(learned: StarGANv2, drawn: Path) -> None:
    source, reference = held_out(drawn), held_out(drawn, SURPRISED)
    ones, blank = torch.ones(32), torch.zeros_like(reference.image)
    with torch.no_grad():
        by_label = learned.restyle(source, learned.mean_style(reference.emotion), ones).image
        by_reference = learned.restyle(source, learned.style_of(reference), ones).image
        assert torch.equal(learned.edit(source, reference.only("emotion"), ones).image, by_label)
        assert torch.equal(learned.edit(source, reference.having(image=blank), ones).image, by_label)
        assert torch.equal(learned.edit(source, reference, ones).image, by_reference)
        mixed = reference.having(image=torch.cat([blank[:16], reference.image[16:]]))
        torch.testing.assert_close(
            learned.edit(source, mixed, ones).image, torch.cat([by_label[:16], by_reference[16:]]), atol=1e-5, rtol=0
        )
    assert (by_label - by_reference).abs().mean() > 0.01


def test_the_editor_shows_the_reference_to_an_exported_model(learned: StarGANv2, tmp_path: Path) -> None:
    """Two references of one expression, two edits; and neither is the edit by label alone."""
    export(learned, Progress("starganv2", {}, "none", "0"), tmp_path / "v2.onnx")
    editor = Editor(str(tmp_path / "v2.onnx"))
    photo = as_photo(Path(__file__).parents[2] / "examples" / "astronaut.png")
    seen = editor.see(photo)
    target = worn(photo, seen[0])
    assert target.face is not None
    aims = [target, replace(target, face=255 - target.face), replace(target, face=None)]
    edits = [editor.edit(photo, aim, seen=seen).rgb.astype(float) for aim in aims]
    assert np.array_equal(edits[0], editor.edit(photo, like=photo, seen=seen).rgb)
    assert np.array_equal(edits[2], editor.edit(photo, seen[0].expression, seen=seen).rgb)
    for one, other in pairwise([*edits, edits[0]]):
        assert np.abs(one - other).max() > 3


def test_two_latents_give_two_pictures(learned: StarGANv2, drawn: Path) -> None:
    source = held_out(drawn)
    torch.manual_seed(1)
    with torch.no_grad():
        styles = [learned.style_from(torch.randn(32, 16), source.emotion) for _ in range(2)]
        one, two, again = (learned.restyle(source, s, torch.ones(32)).image for s in (*styles, styles[0]))
    assert torch.equal(one, again)
    assert (one - two).abs().mean() > 0.05


def kept(drawn: Path, out: Path, weight: float) -> float:
    """Squared distance between the persons in photographs and edits, after 15 steps."""
    torch.manual_seed(0)
    method = Quick(StarGANv2Config(**SMALL, identity=True, identity_weight=(weight, weight)))
    torch.manual_seed(0)
    method.identity = Identity(IdentityConfig(size=32, widths=(8, 8), middle=0)).requires_grad_(False)
    trainer = trainer_of(method, drawn, out)
    for step in range(15):
        trainer.step(step)
    source = held_out(drawn)
    with torch.no_grad():
        edited = method.eval().edit(source, source.flipped().having(emotion=source.emotion.flip(0)), torch.ones(32))
        return float((method.person(edited.image) - method.person(source.image)).square().sum(1).mean())


def test_the_variant_keeps_the_person(drawn: Path, tmp_path: Path) -> None:
    plain, variant = kept(drawn, tmp_path / "plain", 0.0), kept(drawn, tmp_path / "variant", 20.0)
    assert variant < 0.7 * plain
