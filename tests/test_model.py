"""Models say what they are, and files that are none are refused in one line."""

from pathlib import Path

import numpy as np
import pytest

from mien.errors import MienError
from mien.expressions import BLENDSHAPES, EXPRESSIONS, TEMPLATE
from mien.model import DEFAULT, Model, edit_models, find_model, shipped


def test_the_default_model_describes_itself() -> None:
    about = find_model(DEFAULT).about
    assert about["licence"] == "Apache-2.0"
    assert [tuple(p) for p in about["template"]] == list(TEMPLATE)
    assert about["blendshapes"] == list(BLENDSHAPES)
    assert about["expressions"] == list(EXPRESSIONS)
    assert "blendshapes" in about["target"]
    assert DEFAULT in edit_models()


def test_shipped_weights_stay_small() -> None:
    sizes = [path.stat().st_size for path in shipped("render").path.parent.glob("*.onnx")]
    assert sum(sizes) < 25e6


def test_an_unknown_model_names_the_choices() -> None:
    with pytest.raises(MienError, match=DEFAULT):
        find_model("nosuch")


def test_a_reader_is_not_taken_for_an_edit_model() -> None:
    with pytest.raises(MienError, match="not an edit model"):
        find_model("muscles")


@pytest.mark.parametrize("content", [b"", b"not onnx at all", None])
def test_a_file_that_is_no_model_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "bad.onnx"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(MienError, match=r"bad\.onnx") as error:
        find_model(str(path))
    assert "\n" not in str(error.value)


def test_a_truncated_model_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "cut.onnx"
    path.write_bytes(shipped("render").path.read_bytes()[:5000])
    with pytest.raises(MienError, match=r"cut\.onnx"):
        find_model(str(path))


def test_an_input_that_is_missing_is_named() -> None:
    with pytest.raises(MienError, match="image"):
        Model(shipped("muscles").path).run({"other": np.zeros(1, np.float32)})
