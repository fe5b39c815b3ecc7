"""The trainer: stops when told, says what it minimised, and loses nothing to a crash."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tiny import QUIET, Toy, ToyConfig, faces, tiny, trainer_of

import mien
from mien.errors import MienError
from mien.lab import checkpoint
from mien.lab.data import FaceTable
from mien.lab.trainer import Trainer, pick_device


def toy(drawn: Path, out: Path, poison: int = 10**9, **recipe: Any) -> Trainer:
    torch.manual_seed(0)
    return trainer_of(Toy(ToyConfig(poison=poison)), drawn, out, **recipe)


def log_of(out: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


def test_stops_after_the_steps(drawn: Path, tmp_path: Path) -> None:
    done = toy(drawn, tmp_path, steps=5).run(console=QUIET)
    assert (done.step, done.images) == (5, 20)
    assert checkpoint.load(tmp_path / "checkpoint.safetensors")[1] == done


@pytest.mark.parametrize("left", ['{"step": 1}\n{"step": 2}\n{"st', "\0\0\0\n[]\n{}\n", "\xff"])
def test_a_run_killed_before_its_first_checkpoint_begins_its_log_anew(drawn: Path, tmp_path: Path, left: str) -> None:
    (tmp_path / "log.jsonl").write_text(left, encoding="latin-1")
    toy(drawn, tmp_path, steps=3).run(console=QUIET)
    assert [line["step"] for line in log_of(tmp_path)] == [1, 2, 3]


def test_stops_after_the_minutes(drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock that a step moves on by a second: six steps in a tenth of a minute, and six more when called again."""
    clock = SimpleNamespace(now=0.0, monotonic=lambda: clock.now)
    monkeypatch.setattr("mien.lab.trainer.time", clock)

    def run() -> checkpoint.Progress:
        trainer = toy(drawn, tmp_path, steps=1000, minutes=0.1)
        step_of = trainer.step

        def step(number: int) -> dict[str, torch.Tensor]:
            clock.now += 1
            return step_of(number)

        trainer.step = step
        return trainer.run(console=QUIET)

    assert run().step == 6
    done = run()
    assert (done.step, done.seconds) == (12, 12)
    assert checkpoint.load(tmp_path / "checkpoint.safetensors")[1] == done


@pytest.mark.parametrize(("log_every", "save_every"), [(1, 2), (50, 2), (50, 1000)])
def test_a_loss_that_is_no_number_ends_the_run_and_spoils_nothing(
    drawn: Path, tmp_path: Path, log_every: int, save_every: int
) -> None:
    trainer = toy(drawn, tmp_path, poison=5, steps=10, log_every=log_every, save_every=save_every)
    with pytest.raises(MienError, match="paint/boom is no longer a number at step") as error:
        trainer.run(console=QUIET)
    assert "\n" not in str(error.value)
    file = tmp_path / "checkpoint.safetensors"
    if save_every == 2:
        tensors, progress = checkpoint.load(file)
        assert progress.step == 4
        assert all(tensor.isfinite().all() for tensor in tensors.values())
    else:
        assert not file.exists()


@pytest.mark.parametrize("what", ["config", "data", "method"])
def test_another_run_in_the_same_folder_is_refused(drawn: Path, tmp_path: Path, what: str) -> None:
    toy(drawn, tmp_path, steps=1).run(console=QUIET)
    before = (tmp_path / "checkpoint.safetensors").read_bytes()
    table = faces(drawn)
    if what == "data":
        table = FaceTable(table.faces, table.names, "another")
    method = Toy(ToyConfig(poison=77 if what == "config" else 10**9))
    with pytest.raises(MienError, match=f"holds a run with another {what}.*--out"):
        Trainer("other" if what == "method" else "test", method, table, tmp_path, replace(Toy.recipe, device="cpu"))
    assert (tmp_path / "checkpoint.safetensors").read_bytes() == before


def test_the_average_follows_its_formula(drawn: Path, tmp_path: Path) -> None:
    """EMA with warm-up: what stays is min(ema, (1 + t) / (10 + t)); only ``average`` networks are kept."""
    trainer = toy(drawn, tmp_path, steps=6, ema=0.3)
    step_of, weights = trainer.step, [trainer.method.painter.weight.detach().clone().numpy()]

    def step(number: int) -> dict[str, torch.Tensor]:
        terms = step_of(number)
        weights.append(trainer.method.painter.weight.detach().clone().numpy())
        return terms

    trainer.step = step
    trainer.run(console=QUIET)
    expected = weights[0]
    for t, weight in enumerate(weights[1:]):
        keep = min(0.3, (1 + t) / (10 + t))
        expected = keep * expected + (1 - keep) * weight
    np.testing.assert_allclose(trainer.averages["painter.weight"], expected, atol=1e-6)
    assert set(trainer.averages) == {"painter.weight", "painter.bias"}
    with trainer.averaged() as method:
        np.testing.assert_allclose(method.painter.weight.detach(), expected, atol=1e-6)
        assert not method.training
    np.testing.assert_array_equal(trainer.method.painter.weight.detach(), weights[-1])


@pytest.mark.parametrize("decay", [0.0, 0.5, 1.0])
def test_the_learning_rate_falls_in_a_line_at_the_end(drawn: Path, tmp_path: Path, decay: float) -> None:
    trainer = toy(drawn, tmp_path, steps=8, decay=decay)
    rates = []
    for step in range(8):
        trainer.step(step)
        rates.append(trainer.optimizers["painter"].param_groups[0]["lr"])
    share = [min(1.0, (1 - step / 8) / decay) if decay else 1.0 for step in range(8)]
    np.testing.assert_allclose(rates, 1e-4 * np.array(share), rtol=1e-9)


def test_turns_are_played_when_they_are_due(drawn: Path, tmp_path: Path) -> None:
    trainer = toy(drawn, tmp_path, steps=7)
    trainer.run(console=QUIET)
    assert [step for turn, step, _ in trainer.method.played if turn == "guess"] == [0, 3, 6]
    assert [step for turn, step, _ in trainer.method.played if turn == "paint"] == list(range(7))


def test_the_log_shows_each_term_as_it_was_minimised(drawn: Path, tmp_path: Path) -> None:
    """A mean over the steps in which the turn was played: one of three must not look three times smaller."""
    trainer = toy(drawn, tmp_path, steps=6, log_every=6)
    step_of, seen = trainer.step, []

    def step(number: int) -> dict[str, torch.Tensor]:
        seen.append(step_of(number))
        return seen[-1]

    trainer.step = step
    trainer.run(console=QUIET)
    (line,) = log_of(tmp_path)
    assert (line["step"], line["images"]) == (6, 24)
    for name in ("paint/near", "paint/boom", "guess/level"):
        values = [float(terms[name]) for terms in seen if name in terms]
        assert line[name] == pytest.approx(np.mean(values), abs=6e-5)


@pytest.mark.parametrize("bf16", [True, False])
def test_bf16_is_a_choice(drawn: Path, tmp_path: Path, bf16: bool) -> None:
    trainer = toy(drawn, tmp_path, bf16=bf16)
    trainer.step(0)
    assert trainer.method.played[0][2] == (torch.bfloat16 if bf16 else torch.float32)
    assert trainer.method.painter.weight.dtype == torch.float32


@pytest.mark.parametrize("flip", [True, False])
def test_flip_mirrors_half_of_the_faces(drawn: Path, tmp_path: Path, flip: bool) -> None:
    trainer = toy(drawn, tmp_path, flip=flip, batch=64)
    images = {image.numpy().tobytes() for image in trainer.table.take(torch.arange(len(trainer.table))).image}
    torch.manual_seed(0)
    own = [image.contiguous().numpy().tobytes() in images for image in trainer._batch(trainer.sample(0)[0]).image]
    assert 20 < sum(own) < 44 if flip else all(own)


def test_sample_sheets_show_people_down_and_expressions_across(drawn: Path, tmp_path: Path) -> None:
    trainer = toy(drawn, tmp_path, steps=4, save_every=2)
    weights = trainer.method.state_dict()["painter.weight"]
    trainer.run(faces(drawn, "val"), QUIET)
    assert sorted(path.name for path in (tmp_path / "samples").iterdir()) == ["0000002.jpg", "0000004.jpg"]
    with Image.open(tmp_path / "samples" / "0000004.jpg") as sheet:
        assert sheet.size == (32 * (1 + 4), 32 * (1 + 8))  # neutral, happiness, surprise, sadness are there
    assert weights.isfinite().all()


def test_sample_sheets_do_without_labels(drawn: Path, tmp_path: Path) -> None:
    """As flowfill's do, which reads blendshapes only: a manifest may have a column of empty labels."""
    table = faces(drawn, "val")
    unlabelled = table.faces.having(emotion=torch.full((len(table),), -1))
    trainer = trainer_of(tiny("flowfill"), drawn, tmp_path)
    trainer.save(FaceTable(unlabelled, table.names, table.digest))
    assert (tmp_path / "samples" / "0000000.jpg").exists()


def test_sheets_do_not_change_the_run(drawn: Path, tmp_path: Path) -> None:
    toy(drawn, tmp_path / "a", save_every=1).run(faces(drawn, "val"), QUIET)
    toy(drawn, tmp_path / "b").run(None, QUIET)
    same_weights(tmp_path / "a", tmp_path / "b")


def test_a_missing_device_is_named() -> None:
    assert pick_device("cpu") == torch.device("cpu")
    with pytest.raises(MienError, match=r"no device 'gpu9' here: use --device auto") as error:
        pick_device("gpu9")
    assert "\n" not in str(error.value)


def same_weights(one: Path, other: Path) -> None:
    a, b = (checkpoint.load(run / "checkpoint.safetensors")[0] for run in (one, other))
    assert a.keys() == b.keys()
    assert [key for key in a if not torch.equal(a[key], b[key])] == []


WORDS = "--size 32 --widths 8 8 8 --batch 2 --save-every 1 --log-every 1 --steps 24 --no-bf16 --device cpu"


def test_a_killed_run_goes_on_to_the_same_weights(drawn: Path, tmp_path: Path) -> None:
    """kill -9 at three random moments, each after some steps; what is on the disk is always whole."""
    source = Path(mien.__file__).parents[1]
    environment = os.environ | {"PYTHONPATH": str(source), "OMP_NUM_THREADS": "1"}
    code = (
        "import sys, torch; torch.set_num_threads(1); from mien.lab.commands import main; main('train', sys.argv[1:])"
    )

    def words(out: str) -> list[str]:
        return ["muscles", "--data", str(drawn), "--out", str(tmp_path / out), *WORDS.split()]

    rng, file, reached = random.Random(0), tmp_path / "killed" / "checkpoint.safetensors", 0
    for _ in range(3):
        process = subprocess.Popen(
            [sys.executable, "-c", code, *words("killed")], env=environment, stdout=subprocess.DEVNULL
        )
        try:
            deadline = time.monotonic() + 60
            while process.poll() is None and time.monotonic() < deadline:
                if file.exists() and checkpoint.load(file)[1].step > reached + 2:
                    break
                time.sleep(0.01)
            time.sleep(rng.uniform(0, 0.05))
        finally:
            process.kill()
            process.wait()
        reached = checkpoint.load(file)[1].step
    assert reached >= 3
    from mien.lab.commands import main

    main("train", words("killed"))
    main("train", words("whole"))
    same_weights(tmp_path / "killed", tmp_path / "whole")
    measured = ("images/s", "seconds")
    logs = [
        [{k: v for k, v in line.items() if k not in measured} for line in log_of(tmp_path / n)]
        for n in ("killed", "whole")
    ]
    assert logs[0] == logs[1]
