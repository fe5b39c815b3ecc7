"""``mien train`` and ``mien export``, from their words to a model that edits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from tiny import Toy, ToyConfig, faces

from mien.errors import MienError
from mien.lab import checkpoint, commands
from mien.lab.commands import main
from mien.lab.export import sample
from mien.lab.methods import METHODS, READERS
from mien.model import Model, find_model, shipped

SMALL = ["--size", "32", "--batch", "2", "--no-bf16", "--device", "cpu"]


def words(name: str, drawn: Path, out: Path, *more: str) -> list[str]:
    return [name, "--data", str(drawn), "--out", str(out), *SMALL, *more]


def test_train_then_more_then_export(drawn: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    assert main("train", words("flowfill", drawn, run, "--width", "8", "--steps", "2")) == 0
    assert checkpoint.load(run / "checkpoint.safetensors")[1].step == 2
    assert "192 faces to learn from" in capsys.readouterr().out
    assert [path.name for path in (run / "samples").iterdir()] == ["0000002.jpg"]

    assert main("train", words("flowfill", drawn, run, "--width", "8", "--steps", "3")) == 0
    assert "going on from step 2" in capsys.readouterr().out
    tensors, progress = checkpoint.load(run / "checkpoint.safetensors")
    assert (progress.step, progress.images) == (3, 6)
    assert tensors["method/generator.displacement"].any(), "the linear motion was fitted before step 0"

    assert main("export", [str(run), "--out", str(tmp_path / "mine.onnx")]) == 0
    model = find_model(str(tmp_path / "mine.onnx"))
    assert (model.about["name"], model.size) == ("flowfill", 32)
    assert main("export", [str(run / "checkpoint.safetensors"), "-o", str(tmp_path / "again.onnx")]) == 0
    assert (tmp_path / "again.onnx").read_bytes() == (tmp_path / "mine.onnx").read_bytes()


def test_what_is_exported_is_the_average(drawn: Path, tmp_path: Path) -> None:
    main("train", words("flowfill", drawn, tmp_path, "--width", "8", "--steps", "3"))
    tensors, _ = checkpoint.load(tmp_path / "checkpoint.safetensors")
    method, _ = commands.restore(tmp_path)
    key = "generator.leave.weight"
    assert torch.equal(method.state_dict()[key], tensors[f"average/{key}"])
    assert not torch.equal(tensors[f"method/{key}"], tensors[f"average/{key}"])
    assert not method.training


def test_several_manifests_and_a_limit(drawn: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    more = ["--steps", "1", "--limit", "10", "--widths", "8", "8", "8"]
    main("train", ["emotion", "--data", str(drawn), str(drawn), "--out", str(tmp_path), *SMALL, *more])
    assert "20 faces to learn from, 20 to watch" in capsys.readouterr().out


def test_unknown_names_come_with_the_choices(tmp_path: Path) -> None:
    with pytest.raises(MienError, match="no method 'flowfil': choose one of") as error:
        main("train", ["flowfil", "--data", "x.parquet"])
    assert all(name in str(error.value) for name in METHODS | READERS)


def test_no_data_is_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(MienError, match=r"--data FILE\.parquet"):
        main("train", ["flowfill", "--out", str(tmp_path / "run")])
    with pytest.raises(MienError, match=r"absent\.parquet"):
        main("train", ["flowfill", "--data", str(tmp_path / "absent.parquet"), "--out", str(tmp_path / "run")])
    assert not (tmp_path / "run").exists()


def test_nothing_to_learn_from_is_said_in_one_line(drawn: Path, tmp_path: Path) -> None:
    """Where every training picture stands in the held-out splits too."""
    table = pq.read_table(drawn).drop_columns("identity")
    held = table.filter([split == "val" for split in table["split"].to_pylist()])
    place = held.column_names.index("split")
    splits = [held.set_column(place, "split", [[name] * len(held)]) for name in ("train", "val", "test")]
    pq.write_table(pa.concat_tables(splits), tmp_path / "twins.parquet")
    with pytest.raises(MienError, match="held out"):
        main("train", words("flowfill", tmp_path / "twins.parquet", tmp_path / "run", "--steps", "1"))


def test_unknown_options_stop_before_the_work(drawn: Path, tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as stop:
        main("train", words("flowfill", drawn, tmp_path / "run", "--widht", "8"))
    assert stop.value.code == 2
    assert not (tmp_path / "run").exists()


def test_help_lists_methods_and_options(capsys: pytest.CaptureFixture[str]) -> None:
    assert main("train", ["--help"]) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in METHODS | READERS)
    assert main("train", []) == 2
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        main("train", ["flowfill", "--help"])
    assert not stop.value.code
    shown = capsys.readouterr().out
    assert all(option in shown for option in ("--data", "--minutes", "--width", "--balance", "--out"))


def test_exporting_what_is_no_run_is_said_in_one_line(tmp_path: Path) -> None:
    for what in (tmp_path, tmp_path / "absent"):
        with pytest.raises(MienError, match="not a checkpoint of mien"):
            main("export", [str(what), "--out", str(tmp_path / "m.onnx")])
    assert not (tmp_path / "m.onnx").exists()


def test_a_new_method_is_one_class_and_one_entry(drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Listed under a name, it trains, resumes, exports and edits; nothing else had to be told."""
    monkeypatch.setitem(METHODS, "toy", Toy)
    main("train", words("toy", drawn, tmp_path / "run", "--steps", "2"))
    main("train", words("toy", drawn, tmp_path / "run", "--steps", "4"))
    main("export", [str(tmp_path / "run"), "--out", str(tmp_path / "toy.onnx")])
    model = find_model(str(tmp_path / "toy.onnx"))
    assert (model.about["source"], model.about["target"]) == (["image"], ["emotion"])
    batch = faces(drawn, "val").take(torch.arange(3))
    said = model.run(
        {
            "source_image": batch.image.numpy(),
            "target_emotion": batch.emotion.numpy(),
            "intensity": np.array([0, 0.5, 1], np.float32),
        }
    )
    np.testing.assert_array_equal(said["image"][0], batch.image[0])
    method, progress = commands.restore(tmp_path / "run")
    assert (method.config, progress.step) == (ToyConfig(), 4)
    with torch.no_grad():
        shown = method.edit(batch, batch, torch.tensor([0, 0.5, 1])).image
    np.testing.assert_allclose(said["image"], shown, atol=1e-3)


def test_a_run_may_begin_from_another(drawn: Path, tmp_path: Path) -> None:
    main("train", words("flowfill", drawn, tmp_path / "one", "--width", "8", "--steps", "2"))
    first, _ = commands.restore(tmp_path / "one")
    main(
        "train",
        words("flowfill", drawn, tmp_path / "two", "--width", "8", "--from", str(tmp_path / "one"), "--steps", "0"),
    )
    second, progress = commands.restore(tmp_path / "two")
    assert progress.step == 0
    for key, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[key]), key


def test_a_run_may_begin_from_the_shipped_model(
    drawn: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is fitted anew: its generator is the model's own, to the last bit that is stored, and exports to it."""
    main("train", ["flowfill", "--data", str(drawn), "--from", "default", "--out", str(tmp_path), "--steps", "0"])
    assert "does not hold critic" in capsys.readouterr().out
    main("export", [str(tmp_path), "-o", str(tmp_path / "again.onnx")])
    faces = sample(128, 2)
    inputs = {f"source_{k}": v.numpy() for k, v in faces.only("image", "blendshapes", "landmarks").present().items()}
    inputs |= {"target_blendshapes": faces.blendshapes.numpy()[::-1].copy(), "intensity": np.ones(2, np.float32)}
    ours, theirs = Model(tmp_path / "again.onnx").run(inputs), shipped("flowfill").run(inputs)
    for name in ("flow", "delta"):
        np.testing.assert_array_equal(ours[name], theirs[name])


def test_a_beginning_that_is_another_method_is_refused(drawn: Path, tmp_path: Path) -> None:
    with pytest.raises(MienError, match="a flowfill, not a stargan"):
        main("train", words("stargan", drawn, tmp_path, "--from", "default"))


def test_a_beginning_of_another_shape_is_refused(drawn: Path, tmp_path: Path) -> None:
    main("train", words("flowfill", drawn, tmp_path / "one", "--width", "8", "--steps", "1"))
    with pytest.raises(MienError, match="other shapes"):
        main("train", words("flowfill", drawn, tmp_path / "two", "--width", "16", "--from", str(tmp_path / "one")))
