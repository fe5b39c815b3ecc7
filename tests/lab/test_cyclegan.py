"""CycleGAN: each domain from its own faces, terms with the right sign, and faces that cross over."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from drawn import average_face, draw_face, openness
from tiny import CONFIGS, QUIET, faces, tiny, trainer_of

from mien.editor import Editor, Seen
from mien.errors import MienError
from mien.expressions import BLENDSHAPES, EXPRESSIONS
from mien.lab import checkpoint
from mien.lab.data import FaceTable
from mien.lab.export import export
from mien.lab.faces import Faces
from mien.lab.method import Recipe, Terms
from mien.lab.methods.cyclegan import Critic, CycleGAN, CycleGANConfig, Pool
from mien.photo import align
from mien.photo.find import face_of

NEUTRAL, HAPPY, SURPRISED = (EXPRESSIONS.index(name) for name in ("neutral", "happiness", "surprise"))
SMILE = CycleGANConfig(
    size=64, width=32, blocks=9, adversarial="wasserstein", upsampling="bilinear", critic_norm="layer", noise=0.1,
    critic_steps=5, lr=1e-4, beta2=0.99,
)  # fmt: skip
SMALL = {"size": 32, "width": 8, "critic_width": 8, "blocks": 1}


def test_the_published_sizes() -> None:
    """11.4 M and 2.8 M parameters in the original at 256 px; about 3 M each in the smile paper."""
    with torch.device("meta"):
        first, second = CycleGAN(CycleGANConfig(size=256)), CycleGAN(SMILE)
        small = CycleGAN(CycleGANConfig(size=128))
    counts = [
        sum(p.numel() for p in network.parameters())
        for method in (first, second)
        for network in (method.to_target, method.target_critic)
    ]
    assert counts == pytest.approx([11.37e6, 2.76e6, 3e6, 3e6], rel=0.1)
    assert counts[:2] == pytest.approx([11.37e6, 2.76e6], rel=0.01)
    assert sum("body.0" in name for name, _ in small.to_target.named_parameters()) == 6


@pytest.mark.parametrize("norm", ["instance", "layer"])
def test_a_score_is_of_70_pixels(norm: str) -> None:
    """Without norms, which look at the whole picture: the score in the middle sees 70 x 70 pixels and no more."""
    critic = Critic(2, norm)
    critic.norms = torch.nn.ModuleList(torch.nn.Identity() for _ in critic.norms)
    image = torch.rand(1, 3, 128, 128, requires_grad=True)
    critic(image)[0, 0, 7, 7].backward()
    seen = image.grad.abs().sum((0, 1))
    assert [int((seen.sum(k) > 0).sum()) for k in (0, 1)] == [70, 70]


# -- who meets whom --


def test_sources_are_of_one_domain_and_targets_of_the_other(drawn: Path) -> None:
    table = faces(drawn)
    sample = CycleGAN(CycleGANConfig(**SMALL, target="surprise")).sampler(table, Recipe(batch=12, seed=3))
    drawn_before = set()
    for step in range(4):
        source, target = sample(step)
        assert set(table.faces.emotion[source].tolist()) == {NEUTRAL}
        assert set(table.faces.emotion[target].tolist()) == {SURPRISED}
        assert len(set(source.tolist())) == 12, "the same face twice in one batch"
        assert all(map(torch.equal, (source, target), sample(step)))
        drawn_before |= set(source.tolist())
    assert len(drawn_before) > 20


def test_a_batch_may_be_larger_than_a_domain(drawn: Path) -> None:
    table = faces(drawn)
    few = table.faces.emotion.clone()
    few[(few == HAPPY).nonzero()[2:, 0]] = SURPRISED
    table = FaceTable(table.faces.having(emotion=few), table.names, table.digest)
    _, target = CycleGAN(CycleGANConfig(**SMALL)).sampler(table, Recipe(batch=16))(0)
    assert len(target) == 16
    assert len(set(target.tolist())) == 2


def test_an_expression_of_which_there_is_no_face_is_refused_with_the_choices(drawn: Path, tmp_path: Path) -> None:
    with pytest.raises(MienError, match=r"no face of fear .*neutral, happiness, surprise, sadness") as error:
        trainer_of(CycleGAN(CycleGANConfig(**SMALL, target="fear")), drawn, tmp_path)
    assert "\n" not in str(error.value)
    with pytest.raises(MienError, match="no face of anger"):
        trainer_of(CycleGAN(CycleGANConfig(**SMALL, source="anger")), drawn, tmp_path)


def test_one_expression_twice_is_refused() -> None:
    with pytest.raises(MienError, match="two different expressions"):
        CycleGAN(CycleGANConfig(source="anger", target="anger"))


# -- the terms --


def pieces(drawn: Path, **config: object) -> tuple[CycleGAN, Faces, Faces]:
    torch.manual_seed(0)
    method = CycleGAN(CycleGANConfig(**(SMALL | config)))
    table = faces(drawn)
    source, target = ((table.faces.emotion == label).nonzero()[:4, 0] for label in (NEUTRAL, HAPPY))
    return method, table.take(source), table.take(target)


def same_terms(terms: Terms, wanted: Terms) -> None:
    assert terms.keys() == wanted.keys()
    for name, value in wanted.items():
        torch.testing.assert_close(terms[name], value, atol=1e-4, rtol=1e-4, msg=name)


@pytest.mark.parametrize("adversarial", ["least_squares", "wasserstein"])
def test_terms_against_the_papers_formulas(drawn: Path, adversarial: str) -> None:
    method, a, b = pieces(drawn, adversarial=adversarial, cycle=7.0, identity=3.0, pool=0)
    to_b, to_a, is_b, is_a = method.to_target, method.to_source, method.target_critic, method.source_critic
    fake_b, fake_a = to_b(a.image), to_a(b.image)
    fooled = [is_b(fake_b), is_a(fake_a)]
    squares = adversarial == "least_squares"
    wanted = {
        "fool": sum(((s - 1) ** 2).mean() if squares else -s.mean() for s in fooled),
        "cycle": 7 * ((to_a(fake_b) - a.image).abs().mean() + (to_b(fake_a) - b.image).abs().mean()),
        "identity": 3 * ((to_b(b.image) - b.image).abs().mean() + (to_a(a.image) - a.image).abs().mean()),
    }
    same_terms(method.generator_loss(a, b), wanted)

    pairs = [(is_b(b.image), fooled[0]), (is_a(a.image), fooled[1])]
    terms = method.critic_loss(a, b)
    if not squares:
        assert terms.pop("penalty") > 0
    each = [0.5 * (((r - 1) ** 2).mean() + (f**2).mean()) if squares else f.mean() - r.mean() for r, f in pairs]
    same_terms(terms, {adversarial: sum(each)})


def test_the_critics_do_not_teach_the_generators(drawn: Path) -> None:
    method, a, b = pieces(drawn, adversarial="wasserstein")
    sum(method.critic_loss(a, b).values()).backward()
    assert all(p.grad is None for name in ("to_target", "to_source") for p in getattr(method, name).parameters())


def crossed(drawn: Path, out: Path, sign: float = 1.0, **config: object) -> tuple[float, float]:
    """After 30 steps: by how much mouths open on the way to surprise and close on the way back, held-out faces."""
    torch.manual_seed(0)
    method = CycleGAN(CycleGANConfig(**SMALL, target="surprise", lr=2e-3, **config))
    own = method.generator_loss

    def loss(source: Faces, target: Faces, noise: float) -> Terms:
        terms = own(source, target, noise)
        return terms | {"fool": sign * terms["fool"]}

    method.generator_loss = loss
    trainer = trainer_of(method, drawn, out, batch=8, steps=30)
    for step in range(30):
        trainer.step(step)
    method.eval()
    known = faces(drawn, "val").take(torch.arange(32))
    shut, wide = (known[known.emotion == label] for label in (NEUTRAL, SURPRISED))
    with torch.no_grad():
        forth, back = (
            method.edit(source, target, torch.ones(len(source))).image
            for source, target in ((shut, wide), (wide, shut))
        )
    return (
        float((openness(forth) - openness(shut.image)).mean()),
        float((openness(wide.image) - openness(back)).mean()),
    )


def test_faces_cross_over_both_ways(drawn: Path, tmp_path: Path) -> None:
    """Measured on the pixels; real surprise differs from neutral by about 1.1."""
    assert min(crossed(drawn, tmp_path / "right")) > 0.6
    assert min(crossed(drawn, tmp_path / "wrong", sign=-1.0)) < 0.4, "the check itself: a wrong sign must not pass"


def test_faces_cross_over_by_the_smile_papers_settings(drawn: Path, tmp_path: Path) -> None:
    smile = {name: getattr(SMILE, name) for name in ("adversarial", "upsampling", "critic_norm", "noise", "beta2")}
    assert min(crossed(drawn, tmp_path, noise_decay=0.05, critic_steps=2, **smile)) > 0.6


# -- pool and noise --


def test_a_pool_fills_and_then_gives_half_of_what_it_held() -> None:
    torch.manual_seed(0)
    pool = Pool(20, 4)
    first = torch.arange(20.0)[:, None, None, None].expand(-1, 3, 4, 4)
    assert torch.equal(pool(first), first)
    given, held = pool(100 + first)[:, 0, 0, 0], pool.images[:, 0, 0, 0]
    assert 4 <= int((held >= 100).sum()) <= 16, "half of the new ones stay"
    assert 4 <= int((given < 100).sum()) <= 16, "half of those given are old"
    assert sorted([*given.tolist(), *held.tolist()]) == sorted(torch.cat([first, 100 + first])[:, 0, 0, 0].tolist())


def test_without_a_pool_critics_meet_the_newest_fakes() -> None:
    images = torch.rand(3, 3, 4, 4)
    pool = Pool(0, 4)
    assert all(torch.equal(pool(images + k), images + k) for k in range(3))


def test_noise_fades_step_by_step_and_reaches_every_convolution(drawn: Path) -> None:
    method, a, _ = pieces(drawn, noise=0.1, noise_decay=0.01, critic_steps=5)
    noises = {}
    for step in (0, 1, 100):
        critics, generators = method.turns(step)
        assert critics.loss.keywords == generators.loss.keywords
        noises[step] = critics.loss.keywords["noise"]
    assert noises == pytest.approx({0: 0.1, 1: 0.099, 100: 0.1 * 0.99**100})
    assert generators.every == 5

    critic = method.target_critic
    for layer in range(5):
        got = []
        hook = critic.convs[layer].register_forward_pre_hook(lambda module, inputs, got=got: got.append(inputs[0]))
        silent = [conv.register_forward_pre_hook(lambda _, inputs: (inputs[0] * 0,)) for conv in critic.convs[:layer]]
        critic(a.image, 0.0)
        critic(a.image, 0.1)
        assert float((got[1] - got[0]).std()) == pytest.approx(0.1, rel=0.2), layer
        for each in (hook, *silent):
            each.remove()


def test_pool_and_noise_survive_a_resume(drawn: Path, tmp_path: Path) -> None:
    """The smile paper's settings, cut in two: every tensor of the checkpoint is equal, pools among them."""
    config = replace(SMILE, **SMALL, pool=6, noise_decay=0.2, critic_steps=2)
    recipe = {"steps": 5, "decay": 0.0}

    def build() -> CycleGAN:
        torch.manual_seed(0)
        return CycleGAN(config)

    trainer_of(build(), drawn, tmp_path / "whole", **recipe).run(console=QUIET)
    trainer_of(build(), drawn, tmp_path / "parts", **(recipe | {"steps": 3})).run(console=QUIET)
    trainer_of(build(), drawn, tmp_path / "parts", **recipe).run(console=QUIET)
    whole, parts = (checkpoint.load(tmp_path / run / "checkpoint.safetensors")[0] for run in ("whole", "parts"))
    assert int(whole["method/target_pool.held"]) == 6
    assert whole["method/target_pool.images"].abs().mean() > 0.01
    assert [key for key in whole if not torch.equal(whole[key], parts[key])] == []


# -- edits --


def test_an_expression_that_it_does_not_know_leaves_the_photograph(drawn: Path) -> None:
    method = tiny("cyclegan").eval()
    source = faces(drawn, "val").take(torch.arange(3))
    aims = torch.tensor([SURPRISED, HAPPY, NEUTRAL])
    with torch.no_grad():
        image = method.edit(source, Faces(emotion=aims), torch.ones(3)).image
        half = method.edit(source, Faces(emotion=aims), torch.full((3,), 0.5)).image
        torch.testing.assert_close(image[1], method.to_target(source.image)[1])
        torch.testing.assert_close(image[2], method.to_source(source.image)[2])
    assert torch.equal(image[0], source.image[0])
    torch.testing.assert_close(half, (image + source.image) / 2)


def test_the_editor_makes_the_two_expressions_and_refuses_the_others(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    export(tiny("cyclegan"), checkpoint.Progress("cyclegan", CONFIGS["cyclegan"], "none", "0"), path)
    points = average_face() * 128
    photo = draw_face(average_face(), (220, 180, 160), np.full((6, 6, 3), 90), 128)
    matrix = align.similarity(align.five_points(points))
    seen = [Seen(face_of(points, 1.0), matrix, np.zeros(len(BLENDSHAPES), np.float32), np.eye(7, dtype=np.float32)[0])]
    editor = Editor(str(path))
    assert editor.model.about["knows"] == ["neutral", "happiness"]
    for name in ("neutral", "happiness"):
        assert (editor.edit(photo, name, seen=seen).rgb != photo).any()
    with pytest.raises(MienError, match="not taught surprise, only neutral and happiness") as error:
        editor.edit(photo, "surprise", seen=seen)
    assert "\n" not in str(error.value)
