"""The walk-through of CONTRIBUTING.md, followed to the letter: one file, one line, and everything else is there."""

from __future__ import annotations

import importlib.util
import re
import textwrap
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mien.cli import main
from mien.lab.methods import METHODS

ROOT = Path(__file__).parents[2]


def run(words: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        raise SystemExit(main(words))
    assert not ended.value.code


def test_a_method_is_one_file_and_one_line(drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (block,) = re.findall(r"```python\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text(), re.DOTALL)
    file = tmp_path / "tint.py"
    file.write_text(textwrap.dedent(block))
    spec = importlib.util.spec_from_file_location("tint", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setitem(METHODS, "tint", module.Tint)

    small = ["--data", str(drawn), "--size", "32", "--batch", "8", "--device", "cpu", "--no-bf16"]
    for steps in ("20", "40"):
        run(["train", "tint", *small, "--out", str(tmp_path / "run"), "--steps", steps])
    assert len(list((tmp_path / "run" / "samples").iterdir())) == 2
    run(["export", str(tmp_path / "run"), "-o", str(tmp_path / "tint.onnx")])
    photo, out = ROOT / "examples" / "astronaut.png", tmp_path / "out.png"
    run(["edit", str(photo), "--to", "surprise", "--model", str(tmp_path / "tint.onnx"), "-o", str(out)])
    before, after = (np.asarray(Image.open(path).convert("RGB")).astype(int) for path in (photo, out))
    assert before.shape == after.shape
    assert 0.01 < (before != after).any(-1).mean() < 0.5, "the face, and nothing but the face"
