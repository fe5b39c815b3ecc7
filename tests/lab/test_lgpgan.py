"""LGP-GAN: stage I changes eyes and mouth, stage II sees what stage I did, and the class moves."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from drawn import openness
from tiny import faces, tiny, trainer_of
from torch import Tensor

from mien.errors import MienError
from mien.expressions import EXPRESSIONS
from mien.lab.faces import Faces
from mien.lab.method import Optimizer
from mien.lab.methods.lgpgan import LGPGAN, LOCAL, PLACES, LGPGANConfig
from mien.lab.methods.stargan import one_hot

NEUTRAL, SURPRISED = EXPRESSIONS.index("neutral"), EXPRESSIONS.index("surprise")


def pieces(drawn: Path, **config: object) -> tuple[LGPGAN, Faces, Faces]:
    torch.manual_seed(0)
    method = LGPGAN(LGPGANConfig(**({"size": 32, "width": 8, "blocks": 1} | config)))
    table = faces(drawn)
    return method, table.take(torch.arange(4)), table.take(torch.arange(4) + 6)


@pytest.mark.parametrize("size", [32, 64, 96, 128])
def test_every_place_has_scores_and_a_label(size: int) -> None:
    method = LGPGAN(LGPGANConfig(size=size, width=4, blocks=1))
    image, label = torch.rand(2, 3, size, size), torch.eye(7)[:2]
    for place, box in PLACES.items():
        changed = method.changed(place, box.cut(image), label)
        assert changed.shape == box.cut(image).shape
        score, read = method.critics[place](changed)
        assert score.shape[:2] == (2, 1)
        assert score.numel()
        assert read.shape == (2, 7)
    with pytest.raises(MienError, match="multiple of 32"):
        LGPGAN(LGPGANConfig(size=48))


def test_brows_eyes_and_mouths_lie_in_their_places(drawn: Path) -> None:
    points = faces(drawn).faces.landmarks
    for place, rows in (("eyes", slice(17, 27)), ("eyes", slice(36, 48)), ("mouth", slice(48, 68))):
        box = LOCAL[place]
        low, high = points[:, rows].amin((0, 1)), points[:, rows].amax((0, 1))
        assert box.left < low[0], place
        assert box.top < low[1], place
        assert box.right > high[0], place
        assert box.bottom > high[1], place


def test_stage_two_sees_the_face_with_stage_ones_results_in_it(drawn: Path) -> None:
    method, source, target = pieces(drawn)
    label, seen = one_hot(target.emotion), []
    method.face_generator.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    with torch.no_grad():
        method.changed("face", source.image, label)
        wanted = source.image.clone()
        for place, box in LOCAL.items():
            left, top, right, bottom = box.pixels(32)
            patch = source.image[..., top:bottom, left:right]
            wanted[..., top:bottom, left:right] = method.generators[place](patch, label)
    torch.testing.assert_close(seen[0], wanted, atol=1e-6, rtol=0)
    assert (wanted - source.image).abs().max() > 1e-3


@pytest.mark.parametrize(("bias", "copies"), [(-30.0, True), (30.0, False)])
def test_where_attention_is_0_the_picture_stays(drawn: Path, bias: float, copies: bool) -> None:
    method, source, target = pieces(drawn)
    generator = method.face_generator
    generator.attention[0].register_forward_hook(lambda module, inputs, output: torch.full_like(output, bias))
    colours: list[Tensor] = []
    generator.colour.register_forward_hook(lambda module, inputs, output: colours.append(output))
    with torch.no_grad():
        changed = generator(source.image, one_hot(target.emotion))
    torch.testing.assert_close(changed, source.image if copies else colours[0], atol=1e-6, rtol=0)


@pytest.mark.parametrize("place", PLACES)
def test_terms_against_the_formulas(drawn: Path, place: str) -> None:
    method, source, target = pieces(drawn, classify=1.5, cycle=7.0, identity=3.0)
    x, rows = PLACES[place].cut(source.image), torch.arange(4)
    new, own = one_hot(target.emotion), one_hot(source.emotion)
    fake = method.changed(place, x, new)
    (real_score, real_label), (fake_score, fake_label) = method.critics[place](x), method.critics[place](fake)
    wanted = {
        "fool": -fake_score.mean(),
        "classify": -1.5 * fake_label.log_softmax(1)[rows, target.emotion].mean(),
        "cycle": 7 * (method.changed(place, fake, own) - x).abs().mean(),
        "identity": 3 * (method.changed(place, x, own) - x).abs().mean(),
    }
    torch.testing.assert_close(method.generator_loss(place, source, target), wanted)
    terms = method.critic_loss(place, source, target)
    assert terms.pop("penalty") > 0
    wanted = {
        "wasserstein": fake_score.mean() - real_score.mean(),
        "classify": -1.5 * real_label.log_softmax(1)[rows, source.emotion].mean(),
    }
    torch.testing.assert_close(terms, wanted)


class Quick(LGPGAN):
    """At ten times the learning rate."""

    def optimizer(self, network: str) -> Optimizer:
        return Optimizer(lr=2e-3 if network.endswith("critic") else 1e-3, betas=(0.5, 0.99))


def test_the_class_moves_in_both_stages(drawn: Path, tmp_path: Path) -> None:
    """Surprise opens mouths: in what stage I places, and in the end. Real surprise differs by about 1.2."""
    torch.manual_seed(0)
    method = Quick(LGPGANConfig(size=32, width=8, blocks=1, critic_steps=2, cycle=2.0, identity=1.0, classify=2.0))
    trainer = trainer_of(method, drawn, tmp_path, batch=8, steps=100)
    for step in range(100):
        trainer.step(step)
    method.eval()
    source = faces(drawn, "val").take(torch.arange(32))
    stages = []
    with torch.no_grad():
        for change in (method.assembled, lambda image, label: method.changed("face", image, label)):
            wide, shut = (change(source.image, one_hot(torch.full((32,), label))) for label in (SURPRISED, NEUTRAL))
            stages.append(float((openness(wide) - openness(shut)).mean()))
    assert min(stages) > 0.3


def test_halfway_the_label_is_half_of_each() -> None:
    method = tiny("lgpgan").eval()
    seen: list[Tensor] = []
    for generator in method.generators.values():
        generator.register_forward_hook(lambda module, inputs, output: seen.append(inputs[1]))
    source = Faces(torch.zeros(1, 3, 32, 32), torch.tensor([NEUTRAL]))
    with torch.no_grad():
        method.edit(source, Faces(emotion=torch.tensor([SURPRISED])), torch.tensor([0.25]))
    expected = torch.zeros(1, 7)
    expected[0, NEUTRAL], expected[0, SURPRISED] = 0.75, 0.25
    assert len(seen) == 3
    for label in seen:
        torch.testing.assert_close(label, expected)
