"""landmarkcgan: the drawing, the fusion's aim, the ablations, and a mouth that opens."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from drawn import DISPLACEMENT, openness
from tiny import faces, tiny, trainer_of
from torch import Tensor

from mien.errors import MienError
from mien.expressions import BLENDSHAPES, EXPRESSIONS
from mien.lab.faces import Faces
from mien.lab.method import Optimizer, Recipe
from mien.lab.methods.landmarkcgan import PARTS, LandmarkCGAN, LandmarkCGANConfig
from mien.lab.methods.landmarkcgan import drawn as drawing

NEUTRAL, SURPRISED = EXPRESSIONS.index("neutral"), EXPRESSIONS.index("surprise")


def pieces(path: Path, **config: object) -> tuple[LandmarkCGAN, Faces, Faces]:
    """A method that has seen its faces, and photographs of four people, two of each."""
    torch.manual_seed(0)
    method = LandmarkCGAN(LandmarkCGANConfig(**({"size": 32, "width": 8} | config)))
    table = faces(path)
    method.prepare(table.faces)
    return method, table.take(torch.arange(0, 16, 4)), table.take(torch.arange(2, 16, 4))


def test_each_landmark_is_a_dot_in_its_parts_channel() -> None:
    landmarks = torch.full((1, 68, 2), 0.1)
    for part, (first, _) in enumerate(PARTS):
        landmarks[0, first] = torch.tensor([0.3 + 0.1 * part, 0.8 - 0.1 * part])
    picture = drawing(landmarks, 100)
    assert picture.shape == (1, len(PARTS), 100, 100)
    for part in range(len(PARTS)):
        away = picture[0, part].clone()
        away[:20, :20] = 0  # the others of the part
        row, column = divmod(int(away.argmax()), 100)
        assert abs(column - (30 + 10 * part)) <= 1
        assert abs(row - (80 - 10 * part)) <= 1
        assert away.max() > 0.9
    assert picture.max() <= 1


def test_pairs_are_two_photographs_of_one_person(drawn: Path) -> None:
    table = faces(drawn)
    for step in range(5):
        source, target = LandmarkCGAN(LandmarkCGANConfig(size=32)).sampler(table, Recipe(batch=8))(step)
        assert torch.equal(table.faces.identity[source], table.faces.identity[target])
        assert not (source == target).any()


def test_the_driver_is_the_average_face_wearing_the_blendshapes(drawn: Path) -> None:
    method, _, _ = pieces(drawn)
    opened = torch.zeros(1, len(BLENDSHAPES))
    opened[0, [BLENDSHAPES.index(name) for name in ("jawOpen", "browInnerUp")]] = 1
    move = method.driver(opened)[0] - method.driver(torch.zeros(1, len(BLENDSHAPES)))[0]
    wanted = torch.tensor(DISPLACEMENT[BLENDSHAPES.index("jawOpen")]).float()
    assert torch.corrcoef(torch.stack([move[48:, 1], wanted[48:, 1]]))[0, 1] > 0.95


def test_the_aim_of_fusion_is_the_own_face_with_the_others_expression(drawn: Path) -> None:
    method, source, target = pieces(drawn)
    torch.testing.assert_close(method.worn(source, source), source.landmarks, atol=1e-6, rtol=0)
    elsewhere = target.having(landmarks=target.landmarks + 0.05)
    torch.testing.assert_close(method.worn(source, elsewhere), method.worn(source, target), atol=2e-3, rtol=0)


@pytest.mark.parametrize("fusion", [True, False])
def test_without_fusion_the_driving_landmarks_are_drawn(fusion: bool, drawn: Path) -> None:
    method, source, target = pieces(drawn, fusion=fusion)
    with torch.no_grad():
        aimed = method.aimed(source.landmarks, target.blendshapes)
    assert torch.equal(aimed, method.driver(target.blendshapes)) != fusion
    assert [turn.name for turn in method.turns(0)][: int(fusion)] == ["fusion"][: int(fusion)]


@pytest.mark.parametrize("spectral", [True, False])
def test_spectral_norm_holds_the_critics_layers(spectral: bool) -> None:
    critic = LandmarkCGAN(LandmarkCGANConfig(size=32, width=8, spectral=spectral)).critic
    assert any("parametrizations" in key for key in critic.state_dict()) == spectral
    assert critic(torch.zeros(2, 3, 64, 64), torch.zeros(2, 6, 64, 64)).shape == (2, 1, 8, 8)


def test_terms_against_the_formulas(drawn: Path) -> None:
    method, source, target = pieces(drawn, reconstruct=7.0)
    method.eval()  # so that spectral norm rests
    fake, dots = method.painted(source.image, target.landmarks), drawing(target.landmarks, 32)
    real, made = method.critic(target.image, dots), method.critic(fake, dots)
    terms = method.generator_loss(source, target)
    torch.testing.assert_close(terms["fool"], -made.sigmoid().log().mean())
    torch.testing.assert_close(terms["reconstruct"], 7 * (fake - target.image).abs().mean())
    wanted = -real.sigmoid().log().mean() - (1 - made.sigmoid()).log().mean()
    torch.testing.assert_close(method.critic_loss(source, target)["log"], wanted)
    away = method.aimed(source.landmarks, target.blendshapes) - method.worn(source, target)
    torch.testing.assert_close(method.fusion_loss(source, target)["landmarks"], away.abs().mean())


def test_with_an_identity_term_it_is_texturegan(drawn: Path) -> None:
    method, source, target = pieces(drawn, identity=2.0)
    method.eval()
    fake = method.painted(source.image, target.landmarks)
    cosine = (method.identity(fake) * method.identity(source.image)).sum(1)
    torch.testing.assert_close(method.generator_loss(source, target)["identity"], 2 * (1 - cosine).mean())
    method.painted = lambda image, landmarks: image  # type: ignore[method-assign]
    assert method.generator_loss(source, target)["identity"].item() == pytest.approx(0, abs=1e-5)
    assert set(method.readers) == {"identity"}
    assert not pieces(drawn)[0].readers


def test_halfway_the_landmarks_are_halfway() -> None:
    method, seen = tiny("landmarkcgan").eval(), []
    method.generator.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    own, shapes = torch.rand(1, 68, 2), torch.rand(1, len(BLENDSHAPES))
    with torch.no_grad():
        method.edit(Faces(torch.zeros(1, 3, 32, 32), landmarks=own), Faces(blendshapes=shapes), torch.tensor([0.5]))
        halfway = (own + method.aimed(own, shapes)) / 2
    torch.testing.assert_close(seen[0][:, 3:], drawing(halfway, 32))


@pytest.mark.parametrize("size", [16, 40])
def test_a_size_that_cannot_be_halved_is_refused(size: int) -> None:
    with pytest.raises(MienError, match="multiple of 16"):
        LandmarkCGAN(LandmarkCGANConfig(size=size))


class Quick(LandmarkCGAN):
    """At five times the learning rate."""

    def optimizer(self, network: str) -> Optimizer:
        return replace(super().optimizer(network), lr=5 * super().optimizer(network).lr)


def test_a_mouth_opens_and_fusion_comes_nearer(drawn: Path, tmp_path: Path) -> None:
    """Surprise opens mouths; real surprise differs by about 1.2. Fused landmarks near their aim."""
    torch.manual_seed(0)
    method = Quick(LandmarkCGANConfig(size=32, width=8))
    trainer = trainer_of(method, drawn, tmp_path, batch=8, steps=80)
    table = faces(drawn, "val")
    source, target = table.take(torch.arange(0, 32, 4)), table.take(torch.arange(2, 34, 4))

    def off() -> Tensor:
        return (method.aimed(source.landmarks, target.blendshapes) - method.worn(source, target)).abs().mean()

    with torch.no_grad():
        before = off()
    for step in range(80):
        trainer.step(step)
    method.eval()
    shapes = [table.faces.blendshapes[table.faces.emotion == label][:1].expand(8, -1) for label in (SURPRISED, NEUTRAL)]
    with torch.no_grad():
        wide, shut = (method.edit(source, Faces(blendshapes=wish), torch.ones(8)).image for wish in shapes)
        assert (openness(wide) - openness(shut)).mean() > 0.3
        assert off() < 0.5 * before
