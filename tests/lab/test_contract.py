"""What every method promises to the trainer, the exporter and the editor: a new one is held to it by being listed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from tiny import CONFIGS, EDITS, EVERY, QUIET, faces, kind_of, tiny, trainer_of
from torch import Tensor

from mien.errors import MienError
from mien.expressions import BLENDSHAPES, EXPRESSIONS
from mien.lab import checkpoint, commands
from mien.lab.data import FaceTable
from mien.lab.export import export
from mien.lab.faces import Faces
from mien.lab.method import Edit, Method
from mien.lab.methods import METHODS, READERS
from mien.model import Model, find_model

MEASURED = ("images/s", "seconds")


def trained(name: str, drawn: Path, out: Path, steps: int = 3) -> tuple[Method, checkpoint.Progress]:
    """The method after a few steps, as ``mien export`` and ``compare`` see it: averaged weights, evaluation mode."""
    trainer_of(tiny(name), drawn, out, name, steps=steps).run(console=QUIET)
    return commands.restore(out)


def sources(drawn: Path, count: int = 3) -> tuple[Faces, Faces]:
    """Held-out faces, and faces with other expressions to aim at."""
    table = faces(drawn, "val")
    return table.take(torch.arange(count)), table.take(torch.arange(count) + 5)


@torch.no_grad()
def edit(method: Method, source: Faces, target: Faces, intensity: Tensor | list[float] | float) -> Edit:
    if isinstance(intensity, float):
        intensity = [intensity] * len(source)
    return method.edit(source, target, torch.as_tensor(intensity))


@pytest.mark.parametrize("name", METHODS | READERS)
def test_declares_what_it_is(name: str) -> None:
    kind = (METHODS | READERS)[name]
    fields = {"image", "emotion", "blendshapes", "landmarks", "identity", "regions"}
    assert kind.reads <= fields
    assert "image" in kind.reads or not kind.condition, "an edit is of a picture"
    assert set(kind.source_fields) <= fields
    assert set(kind.condition) <= fields
    assert kind.Config.__dataclass_params__.frozen
    assert kind.Config().size > 0
    assert kind.average


@pytest.mark.parametrize("name", EVERY)
def test_each_turn_moves_its_own_networks_and_no_others(name: str, drawn: Path, tmp_path: Path) -> None:
    trainer = trainer_of(tiny(name), drawn, tmp_path)
    turns = trainer.method.turns(0)
    assert {network for turn in turns for network in turn.moves} == set(trainer.networks)
    for turn in turns:
        trainer.method.zero_grad()
        before = {key: value.detach().clone() for key, value in trainer.method.named_parameters()}
        trainer.method.turns = lambda step, turn=turn: [replace(turn, every=1)]
        trainer.step(0)
        for key, parameter in trainer.method.named_parameters():
            moves = key.split(".")[0] in turn.moves
            assert (parameter.grad is not None) == moves, f"{turn.name}: {key}"
            if not moves:
                assert torch.equal(parameter, before[key]), f"{turn.name} moved {key}"


@pytest.mark.parametrize("name", EVERY)
def test_no_weight_is_idle(name: str, drawn: Path, tmp_path: Path) -> None:
    trainer = trainer_of(tiny(name), drawn, tmp_path)
    before = {key: value.detach().clone() for key, value in trainer.method.named_parameters()}
    for step in range(3):
        terms = trainer.step(step)
        assert all(value.isfinite() for value in terms.values()), terms
    parameters = {k: v for k, v in trainer.method.named_parameters() if k.split(".")[0] in trainer.networks}
    # biases may rest: a hinge's terms can cancel exactly
    assert [key for key, value in parameters.items() if value.dim() > 1 and torch.equal(value, before[key])] == []


@pytest.mark.parametrize("name", EVERY)
def test_trains_on_the_fields_it_reads_alone(name: str, drawn: Path, tmp_path: Path) -> None:
    trainer = trainer_of(tiny(name), drawn, tmp_path)
    assert set(trainer.table.faces.present()) == set(trainer.method.reads)
    assert all(value.isfinite() for value in trainer.step(0).values())


@pytest.mark.parametrize("name", EDITS)
def test_edits_with_the_fields_it_declares_alone(name: str, drawn: Path, tmp_path: Path) -> None:
    method, _ = trained(name, drawn, tmp_path)
    source, target = sources(drawn)
    full = edit(method, source, target, 1.0)
    bare = edit(method, source.only(*method.source_fields), target.only(*method.condition), 1.0)
    assert torch.equal(full.image, bare.image)


@pytest.mark.parametrize("name", EDITS)
def test_intensity_0_gives_the_photograph(name: str, drawn: Path, tmp_path: Path) -> None:
    """To the bit in what the editor applies; the crop itself to the rounding of one bilinear look-up."""
    method, _ = trained(name, drawn, tmp_path)
    source, target = sources(drawn)
    result = edit(method, source, target, 0.0)
    torch.testing.assert_close(result.image, source.image, atol=2e-5, rtol=0)
    if result.flow is not None and result.delta is not None:
        assert not result.flow.any()
        assert not result.delta.any()
    else:
        assert torch.equal(result.image, source.image)
    assert (edit(method, source, target, 1.0).image - source.image).abs().mean() > 1e-3, "the full edit changes nothing"


@pytest.mark.parametrize("name", EDITS)
def test_the_edit_is_continuous_in_intensity(name: str, drawn: Path, tmp_path: Path) -> None:
    method, _ = trained(name, drawn, tmp_path)
    source, target = sources(drawn)
    for start in (0.0, 0.05, 0.25, 0.5, 0.9):
        near, far = (edit(method, source, target, start + step).image for step in (0.0, 1e-4))
        assert (far - near).abs().max() < 0.01, f"a jump just after intensity {start}"


@pytest.mark.parametrize("name", EDITS)
def test_each_face_of_a_batch_has_its_own_intensity(name: str, drawn: Path, tmp_path: Path) -> None:
    method, _ = trained(name, drawn, tmp_path)
    source, target = sources(drawn)
    strengths = torch.tensor([0.0, 0.4, 1.0])
    together = edit(method, source, target, strengths).image
    alone = [edit(method, source[i : i + 1], target[i : i + 1], strengths[i : i + 1]).image for i in range(3)]
    torch.testing.assert_close(together, torch.cat(alone), atol=1e-5, rtol=0)


def test_flowfill_leaves_a_face_that_is_as_wanted_already(drawn: Path, tmp_path: Path) -> None:
    method, _ = trained("flowfill", drawn, tmp_path)
    source, _ = sources(drawn)
    result = edit(method, source, source, 1.0)
    assert not result.flow.any()
    assert not result.delta.any()


@pytest.mark.parametrize("name", EVERY)
def test_an_interrupted_run_goes_on_to_the_same_bits(name: str, drawn: Path, tmp_path: Path) -> None:
    """Interrupted in its fifth step, last saved after the third: weights, averages, optimisers and log end up equal."""
    recipe = {"steps": 7, "save_every": 3, "decay": 0.5}
    trainer_of(tiny(name), drawn, tmp_path / "whole", **recipe).run(console=QUIET)
    first = trainer_of(tiny(name), drawn, tmp_path / "parts", **recipe)
    step_of = first.step

    def interrupted(step: int) -> dict[str, Tensor]:
        if step == 4:
            raise KeyboardInterrupt
        return step_of(step)

    first.step = interrupted
    with pytest.raises(KeyboardInterrupt):
        first.run(console=QUIET)
    second = trainer_of(tiny(name, seed=1), drawn, tmp_path / "parts", **recipe)
    assert second.progress.step == 3
    second.run(console=QUIET)

    whole, parts = (checkpoint.load(tmp_path / run / "checkpoint.safetensors")[0] for run in ("whole", "parts"))
    assert whole.keys() == parts.keys()
    learned = {"optimizer"} if second.networks else set()
    assert {key.split("/")[0] for key in whole} == {"method", "average"} | learned
    assert [key for key in whole if not torch.equal(whole[key], parts[key])] == []
    assert log_of(tmp_path / "whole") == log_of(tmp_path / "parts")


def log_of(run: Path) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key not in MEASURED} for line in lines]


@pytest.mark.parametrize("name", EVERY)
def test_the_method_does_not_see_where_it_runs(name: str, drawn: Path, tmp_path: Path) -> None:
    """Same seed, same weights, whatever random numbers were drawn before."""
    runs = []
    for noise in (1, 2):
        trainer = trainer_of(tiny(name), drawn, tmp_path / str(noise))
        torch.manual_seed(noise)
        trainer.step(0)
        runs.append(trainer.method.state_dict())
    assert [key for key, value in runs[0].items() if not torch.equal(value, runs[1][key])] == []


@pytest.mark.parametrize("half", [True, False])
@pytest.mark.parametrize("name", EVERY)
def test_onnx_says_what_torch_says(name: str, half: bool, drawn: Path, tmp_path: Path) -> None:
    method, progress = trained(name, drawn, tmp_path / "run")
    path = tmp_path / "model" / "m.onnx"
    export(method, progress, path, half=half)
    assert [file.name for file in path.parent.iterdir()] == ["m.onnx"], "weights or leftovers beside the model"
    model = Model(path)
    for count in (1, 3):
        source, target = sources(drawn, count)
        inputs, expected = said_by_torch(method, source, target)
        said = model.run({key: value.numpy() for key, value in inputs.items()})
        assert said.keys() == expected.keys()
        for key, value in expected.items():
            away = np.abs(said[key] - value.numpy())
            assert away.mean() < (1e-3 if half else 1e-5), f"{key} of {count}"
            assert away.max() < (4e-3 if half else 1e-4), f"{key} of {count}"  # half a level of 255 is 4e-3


@torch.no_grad()
def said_by_torch(method: Method, source: Faces, target: Faces) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    if not method.condition:
        return {"image": source.image}, {"read": method(source.image)}
    strength = torch.linspace(1, 0.3, len(source))
    result = method.edit(source, target, strength)
    inputs = {f"source_{field}": source.present()[field] for field in method.source_fields}
    inputs |= {f"target_{field}": target.present()[field] for field in method.condition}
    shown = {"image": result.image}
    if result.flow is not None and result.delta is not None:
        shown = {"flow": result.flow, "delta": result.delta}
    return inputs | {"intensity": strength}, shown


@pytest.mark.parametrize("name", EVERY)
def test_the_file_says_what_it_is_and_reads(name: str, drawn: Path, tmp_path: Path) -> None:
    method, progress = trained(name, drawn, tmp_path / "run")
    path = tmp_path / "m.onnx"
    export(method, progress, path)
    about = Model(path).about
    assert about["mien"] == ("edit" if method.condition else "reader")
    assert about["name"] == kind_of(name)
    assert about["size"] == 32
    assert about["images_seen"] == 12
    assert about["config"] == json.loads(json.dumps(progress.config))
    assert about["licence"] == "Apache-2.0"
    assert not any(tensor.external_data for tensor in onnx.load(path, load_external_data=False).graph.initializer)
    inputs = {node.name for node in Model(path).session.get_inputs()}
    if method.condition:
        assert tuple(about["expressions"]) == tuple(EXPRESSIONS)
        assert tuple(about["blendshapes"]) == tuple(BLENDSHAPES)
        named = [f"source_{f}" for f in about["source"]] + [f"target_{f}" for f in about["target"]]
        assert inputs == {*named, "intensity"}
        assert find_model(str(path)).size == 32
    else:
        assert inputs == {"image"}


@pytest.mark.parametrize("name", EVERY)
def test_a_failed_export_leaves_the_old_model_alone(
    name: str, drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(b"the model of yesterday")

    def full(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(OSError, match="no space"):
        export(tiny(name), checkpoint.Progress(name, {}, "none", "0"), path)
    assert path.read_bytes() == b"the model of yesterday"
    assert [file.name for file in tmp_path.iterdir()] == ["m.onnx"]


def test_every_method_has_a_tiny_config() -> None:
    assert set(EVERY) <= set(CONFIGS), "add the missing ones to CONFIGS in tests/lab/tiny.py"


def test_the_suite_notices_a_method_that_jumps_and_one_that_reads_more_than_it_says(drawn: Path) -> None:
    """The checks above, held against a method with both faults."""
    method = tiny("stargan").eval()
    own = method.edit

    def jumps(source: Faces, target: Faces, intensity: Tensor) -> Edit:
        return own(source, target, (intensity > 0).float() * (0 * target.landmarks.sum() + 1))

    source, target = sources(drawn)
    method.edit = jumps
    near, far = (edit(method, source, target, step).image for step in (0.0, 1e-4))
    assert (far - near).abs().max() > 0.01
    with pytest.raises(AttributeError):
        edit(method, source, target.only(*method.condition), 1.0)


def test_a_table_without_a_needed_field_fails_at_once(drawn: Path, tmp_path: Path) -> None:
    table = faces(drawn)
    trainer = trainer_of(tiny("stargan"), drawn, tmp_path)
    trainer.table = FaceTable(table.faces.only("image"), table.names, table.digest)
    with pytest.raises((AssertionError, TypeError, AttributeError)):
        trainer.step(0)


@pytest.mark.parametrize(("name", "recipe"), [(name, recipe) for name in METHODS for recipe in METHODS[name].recipes])
def test_a_recipe_sets_what_it_names(name: str, recipe: str) -> None:
    """Every setting of a recipe by name is one of the method's or of the trainer's, and differs from the default."""
    config, plan = METHODS[name].settings(recipe)
    usual, usual_plan = METHODS[name].settings()
    for key, value in METHODS[name].recipes[recipe].items():
        changed, default = (config, usual) if hasattr(config, key) else (plan, usual_plan)
        assert getattr(changed, key) == value != getattr(default, key), key


def test_an_unknown_recipe_is_refused_with_the_choices() -> None:
    with pytest.raises(MienError, match="no recipe 'smil': choose one of default, smile"):
        METHODS["cyclegan"].settings("smil")
