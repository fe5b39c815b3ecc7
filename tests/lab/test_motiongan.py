"""MotionGAN on motions made by hand: the contract of all methods, and that it learns which way each label goes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from tiny import QUIET
from torch import nn

from mien.errors import MienError
from mien.expressions import EXPRESSIONS, LANDMARK_MIRROR
from mien.lab import checkpoint, motion
from mien.lab.commands import restore
from mien.lab.export import export
from mien.lab.methods.motiongan import FPS, MotionGAN, MotionGANConfig, Motions, load_motions, motions
from mien.lab.trainer import Trainer
from mien.model import Model

SMALL = {"size": 9, "noise": 4, "width": 16, "critic_steps": 2, "reconstruct": 10.0, "lr": 2e-3}
FACE = torch.rand(68, 2, generator=torch.Generator().manual_seed(0)) * 0.4 + 0.3


def moved(expression: str, amount: float, late: float) -> np.ndarray:
    """(9, 68, 2): happiness widens the mouth, surprise lifts the brows, twice as far."""
    course = torch.linspace(0, 1, 9) ** late
    way = torch.zeros(68, 2)
    if expression == "happiness":
        way[48], way[54] = torch.tensor([-0.1, 0.0]), torch.tensor([0.1, 0.0])
    else:
        way[17:27, 1] = -0.2 / 10**0.5
    return (FACE + amount * course.view(-1, 1, 1) * way).numpy()


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng, rows = np.random.default_rng(0), []
    for i in range(120):
        expression = ("happiness", "surprise")[i % 2]
        path = moved(expression, rng.uniform(0.9, 1.1), rng.uniform(0.7, 1.5))
        rows.append({"name": str(i), "emotion": expression, "split": ("train", "train", "val")[i // 2 % 3]})
        rows[-1]["motion"] = path.astype(np.float32).ravel()
    out = tmp_path_factory.mktemp("motions") / "motions.parquet"
    pq.write_table(pa.Table.from_pylist(rows), out)
    return out


def trainer_of(manifest: Path, out: Path, seed: int = 0, **recipe: object) -> Trainer:
    table, _ = MotionGAN.tables([manifest], SMALL["size"])
    torch.manual_seed(seed)
    small = {"batch": 8, "device": "cpu", "log_every": 1, "steps": 6}
    method = MotionGAN(MotionGANConfig(**SMALL))
    return Trainer("motiongan", method, table, out, replace(method.recipe, **(small | recipe)))


def test_reads_a_manifest_and_mirrors_every_frame(manifest: Path) -> None:
    table = load_motions([manifest], "val", 9)
    assert len(table) == 40
    assert table.faces.landmarks.shape == (40, 68, 9, 2)
    path = table.faces.landmarks[0].transpose(0, 1)
    assert torch.allclose(path[0], FACE)
    flipped = table.faces.flipped().landmarks[0].transpose(0, 1)
    torch.testing.assert_close(flipped[5, :, 0], 1 - path[5][list(LANDMARK_MIRROR), 0])
    label = table.faces.emotion
    weights = Motions(table.faces[label.argsort()[:25]], table.names[:25], "").weights(1.0)  # 20 and 5
    assert weights.unique().tolist() == pytest.approx([1 / 20, 1 / 5])
    assert len(load_motions([manifest], "train", 9, limit=7)) == 7


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"motion": [[0.5] * (136 * 5)]}, "has 5 frames where 9"),
        ({"motion": [[float("nan")] * (136 * 9)]}, "no number"),
        ({"motion": pa.array([None], pa.list_(pa.float32()))}, "has 0 frames"),
        ({"motion": [0.5]}, "no manifest with name, split, emotion and motion"),
        ({"emotion": ["joy"]}, "'joy' is none of"),
        ({"emotion": [None]}, "'None' is none of"),
        ({"split": ["else"]}, "no motion in split 'train'"),
    ],
)
def test_a_wrong_manifest_is_named_in_one_line(tmp_path: Path, change: dict, words: str) -> None:
    good = {"name": ["a"], "split": ["train"], "emotion": ["fear"], "motion": [[0.5] * (136 * 9)]}
    pq.write_table(pa.table(good), tmp_path / "good.parquet")
    assert len(load_motions([tmp_path / "good.parquet"], "train", 9)) == 1
    pq.write_table(pa.table(good | change), tmp_path / "bad.parquet")
    with pytest.raises(MienError, match=words) as error:
        load_motions([tmp_path / "bad.parquet"], "train", 9)
    assert "\n" not in str(error.value)
    with pytest.raises(MienError, match="no manifest"):
        load_motions([tmp_path / "absent.parquet"], "train", 9)


def test_each_turn_moves_its_own_network(manifest: Path, tmp_path: Path) -> None:
    trainer = trainer_of(manifest, tmp_path)
    assert set(trainer.networks) == {"generator", "critic"}
    for turn in trainer.method.turns(0):
        before = {k: v.detach().clone() for k, v in trainer.method.named_parameters()}
        trainer.method.zero_grad()
        trainer.method.turns = lambda step, turn=turn: [replace(turn, every=1)]
        assert all(term.isfinite() for term in trainer.step(0).values())
        same = {k for k, v in trainer.method.named_parameters() if torch.equal(v, before[k]) and v.dim() > 1}
        assert same == {k for k in before if k.split(".")[0] not in turn.moves and before[k].dim() > 1}


def test_an_interrupted_run_goes_on_to_the_same_bits(manifest: Path, tmp_path: Path) -> None:
    trainer_of(manifest, tmp_path / "whole").run(console=QUIET)
    trainer_of(manifest, tmp_path / "parts", steps=3, decay=0.0).run(console=QUIET)
    trainer_of(manifest, tmp_path / "parts", seed=1, decay=0.0).run(console=QUIET)
    trainer_of(manifest, tmp_path / "again", decay=0.0).run(console=QUIET)
    again, parts = (checkpoint.load(tmp_path / run / "checkpoint.safetensors")[0] for run in ("again", "parts"))
    assert again.keys() == parts.keys()
    assert [key for key in again if not torch.equal(again[key], parts[key])] == []


class Near(nn.Module):
    """A critic that likes motions near the mean, where the manifest's are and untrained dreams are not."""

    def forward(self, vector: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        return -motion.norm(vector).flatten()


def test_the_critic_is_to_prefer_real_motions_and_the_generator_to_please_it(manifest: Path, tmp_path: Path) -> None:
    method, faces = trainer_of(manifest, tmp_path).method, load_motions([manifest], "val", 9).faces
    method.critic = Near()
    real = motion.distance(method.base.expand(40, 8, 68, 2), motions(faces)).mean().item()
    dreamt = method.generator_loss(faces, faces)["fool"].item()
    assert dreamt > real + 0.3
    assert method.critic_loss(faces, faces)["wasserstein"].item() == pytest.approx(real - dreamt, abs=0.2)


def test_learns_where_each_label_goes_and_how_far(manifest: Path, tmp_path: Path) -> None:
    """A dream lies nearer to real motions of its own label than those of the other label do, by far."""
    trainer = trainer_of(manifest, tmp_path, steps=200, batch=16, decay=0.5, ema=0.98, log_every=100)
    trainer.run(console=QUIET)
    held_out = load_motions([manifest], "val", 9).faces
    labels = [EXPRESSIONS.index(name) for name in ("happiness", "surprise")]
    means = [motion.karcher_mean(motions(held_out[held_out.emotion == label])) for label in labels]
    assert motion.distance(*means) == pytest.approx(torch.pi / 2, abs=0.05), "made at right angles"
    with trainer.averaged() as method, torch.no_grad():
        for label, own, other in zip(labels, means, reversed(means), strict=True):
            emotion = torch.full((20,), label)
            dreams = method.dream(emotion, torch.randn(20, 4))
            assert motion.distance(dreams, own.expand_as(dreams)).max() < 0.5
            assert motion.distance(dreams, other.expand_as(dreams)).min() > 1.2
            path = method.perform(FACE.expand(20, 68, 2), emotion, torch.randn(20, 4), torch.full((20,), 0.5))
            torch.testing.assert_close(path[:, 0], FACE.expand(20, 68, 2))
            expected = 0.5 * motion.length(held_out.landmarks[held_out.emotion == label].transpose(1, 2)).mean()
            torch.testing.assert_close(motion.length(path), expected.expand(20), rtol=0.05, atol=0)
            away = (path[:, -1] - path[:, 0]).mean(0)
            assert away[54, 0] > 0.03 if label == labels[0] else away[17:27, 1].mean() < -0.02


def test_intensity_0_stands_still(manifest: Path, tmp_path: Path) -> None:
    method = trainer_of(manifest, tmp_path).method
    emotion = torch.tensor([1, 2])
    with torch.no_grad():
        path = method.perform(FACE.expand(2, 68, 2), emotion, torch.randn(2, 4), torch.zeros(2))
    assert torch.equal(path, FACE.expand(2, 9, 68, 2))


def test_onnx_says_what_torch_says(manifest: Path, tmp_path: Path) -> None:
    trainer_of(manifest, tmp_path / "run").run(console=QUIET)
    method, progress = restore(tmp_path / "run")
    for half in (False, True):
        export(method, progress, tmp_path / "m.onnx", half=half)
        model = Model(tmp_path / "m.onnx")
        for count in (1, 3):
            inputs = {
                "neutral": torch.rand(count, 68, 2),
                "emotion": torch.arange(count) % 2 + 1,
                "noise": torch.randn(count, 4),
                "intensity": torch.linspace(1, 0.3, count),
            }
            with torch.no_grad():
                expected = method.perform(*inputs.values()).numpy()
            said = model.run({key: value.numpy() for key, value in inputs.items()})["landmarks"]
            assert said.shape == (count, 9, 68, 2)
            np.testing.assert_allclose(said, expected, atol=2e-4 if half else 1e-6)
    about = model.about
    assert (about["mien"], about["name"], about["fps"], about["noise"]) == ("motion", "motiongan", FPS, 4)
    assert about["knows"] == ["happiness", "surprise"]
    assert not any(t.external_data for t in onnx.load(tmp_path / "m.onnx", load_external_data=False).graph.initializer)
