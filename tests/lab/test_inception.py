"""The network that FID is named after, beside the libraries that define it; its weights are drawn by chance."""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from mien.errors import MienError
from mien.lab.inception import Inception, features, resized

random = np.random.default_rng(3)


def blocks() -> dict[str, tuple[int, int, int, int]]:
    """Every convolution: features in, features out, height, width; Szegedy et al. 2015 in torchvision's names."""
    found = {
        "Conv2d_1a_3x3": (3, 32, 3, 3),
        "Conv2d_2a_3x3": (32, 32, 3, 3),
        "Conv2d_2b_3x3": (32, 64, 3, 3),
        "Conv2d_3b_1x1": (64, 80, 1, 1),
        "Conv2d_4a_3x3": (80, 192, 3, 3),
    }

    def add(block: str, **branches: tuple[int, int, int, int]) -> None:
        found.update({f"{block}.branch{name}": shape for name, shape in branches.items()})

    for block, into, pool in (("Mixed_5b", 192, 32), ("Mixed_5c", 256, 64), ("Mixed_5d", 288, 64)):
        add(block, **{"1x1": (into, 64, 1, 1), "5x5_1": (into, 48, 1, 1), "5x5_2": (48, 64, 5, 5)})
        add(block, **{"3x3dbl_1": (into, 64, 1, 1), "3x3dbl_2": (64, 96, 3, 3), "3x3dbl_3": (96, 96, 3, 3)})
        add(block, _pool=(into, pool, 1, 1))
    add("Mixed_6a", **{"3x3": (288, 384, 3, 3), "3x3dbl_1": (288, 64, 1, 1), "3x3dbl_2": (64, 96, 3, 3)})
    add("Mixed_6a", **{"3x3dbl_3": (96, 96, 3, 3)})
    for block, c in (("Mixed_6b", 128), ("Mixed_6c", 160), ("Mixed_6d", 160), ("Mixed_6e", 192)):
        add(block, **{"1x1": (768, 192, 1, 1), "_pool": (768, 192, 1, 1)})
        add(block, **{"7x7_1": (768, c, 1, 1), "7x7_2": (c, c, 1, 7), "7x7_3": (c, 192, 7, 1)})
        add(block, **{"7x7dbl_1": (768, c, 1, 1), "7x7dbl_2": (c, c, 7, 1), "7x7dbl_3": (c, c, 1, 7)})
        add(block, **{"7x7dbl_4": (c, c, 7, 1), "7x7dbl_5": (c, 192, 1, 7)})
    add("Mixed_7a", **{"3x3_1": (768, 192, 1, 1), "3x3_2": (192, 320, 3, 3), "7x7x3_1": (768, 192, 1, 1)})
    add("Mixed_7a", **{"7x7x3_2": (192, 192, 1, 7), "7x7x3_3": (192, 192, 7, 1), "7x7x3_4": (192, 192, 3, 3)})
    for block, into in (("Mixed_7b", 1280), ("Mixed_7c", 2048)):
        add(block, **{"1x1": (into, 320, 1, 1), "_pool": (into, 192, 1, 1), "3x3_1": (into, 384, 1, 1)})
        add(block, **{"3x3_2a": (384, 384, 1, 3), "3x3_2b": (384, 384, 3, 1), "3x3dbl_1": (into, 448, 1, 1)})
        add(block, **{"3x3dbl_2": (448, 384, 3, 3), "3x3dbl_3a": (384, 384, 1, 3), "3x3dbl_3b": (384, 384, 3, 1)})
    return found


def drawn_weights(classes: int = 1008) -> dict[str, Tensor]:
    torch.manual_seed(0)
    found = {"fc.weight": torch.randn(classes, 2048), "fc.bias": torch.randn(classes)}
    for name, (into, out, height, width) in blocks().items():
        found[f"{name}.conv.weight"] = torch.randn(out, into, height, width) * (2 / (into * height * width)) ** 0.5
        found[f"{name}.bn.weight"], found[f"{name}.bn.bias"] = torch.rand(out) + 0.5, torch.randn(out) * 0.2
        found[f"{name}.bn.running_mean"], found[f"{name}.bn.running_var"] = torch.randn(out) * 0.2, torch.rand(out) + 1
    return found


@pytest.fixture(scope="module")
def weights() -> dict[str, Tensor]:
    return drawn_weights()


def test_crops_are_resized_as_clean_fid_does() -> None:
    resize = pytest.importorskip("cleanfid.resize", reason="needs `pip install clean-fid --no-deps`")
    for side in (64, 128, 400):
        image = random.integers(0, 256, (side, side, 3)).astype(np.uint8)
        expected = (resize.build_resizer("clean")(image).transpose(2, 0, 1) - 128) / 128
        np.testing.assert_array_equal(resized(image[None])[0], expected)


def test_resizing_keeps_the_mean_and_the_range() -> None:
    """Without antialiasing a fine checkerboard turns into coarse stripes; with it, into gray."""
    board = np.indices((600, 600)).sum(0) % 2 * 255
    small = resized(np.repeat(board[None, :, :, None], 3, 3).astype(np.uint8))
    assert small.shape == (1, 3, 299, 299)
    assert np.abs(small[:, :, 5:-5, 5:-5]).max() < 0.05
    edges = resized(np.repeat(np.indices((8, 8)).sum(0)[None, :, :, None] % 2 * 255, 3, 3).astype(np.uint8))
    assert (edges.min(), edges.max()) == (-1, 127 / 128)


def test_the_network_is_that_of_torch_fidelity(weights: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch) -> None:
    package = find_spec("torch_fidelity")
    if package is None:
        pytest.skip("needs `pip install torch-fidelity --no-deps`")
    bare = ModuleType("torch_fidelity")  # without what the package itself imports, torchvision
    bare.__path__ = list(package.submodule_search_locations or ())
    monkeypatch.setitem(sys.modules, "torch_fidelity", bare)
    oracle = import_module("torch_fidelity.feature_extractor_inceptionv3")
    monkeypatch.setattr(oracle, "load_state_dict_from_url", lambda *_, **__: weights)
    load = torch.nn.Module.load_state_dict
    monkeypatch.setattr(torch.nn.Module, "load_state_dict", lambda self, state: load(self, state, strict=False))
    network = oracle.FeatureExtractorInceptionV3("inception", ["2048"])
    assert {k for k in network.state_dict() if not k.endswith("num_batches_tracked")} == set(weights)
    images = torch.tensor(random.integers(0, 256, (2, 3, 299, 299)), dtype=torch.uint8)
    (expected,) = network(images)
    found = features((images.float() - 128) / 128, weights)
    assert expected.std() > 1e-3
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_the_judge_reads_crops_of_any_size(weights: dict[str, Tensor], tmp_path: Path) -> None:
    save_file(weights, tmp_path / "inception.safetensors")
    judge = Inception.open(tmp_path / "inception.safetensors")
    images = random.integers(0, 256, (2, 48, 48, 3)).astype(np.uint8)
    read = judge.read(images)
    assert read.shape == (2, 2048)
    expected = features(torch.tensor(resized(images[1:])), weights)
    np.testing.assert_allclose(read[1:], expected, rtol=1e-3, atol=1e-4)
    assert np.abs(read[0] - read[1]).max() > 1e-3


def test_another_network_is_not_taken_for_it(weights: dict[str, Tensor], tmp_path: Path) -> None:
    """Its distance would be called FID, and be another."""
    (tmp_path / "text.safetensors").write_text("weights")
    save_file({**weights, "fc.bias": torch.zeros(1000)}, tmp_path / "torchvision.safetensors")
    save_file({"fc.bias": torch.zeros(1008)}, tmp_path / "part.safetensors")
    for name, words in (
        ("absent", "not a safetensors file"),
        ("text", "not a safetensors file"),
        ("torchvision", "not the Inception of 2015-12-05"),
        ("part", "not the Inception of 2015-12-05"),
    ):
        with pytest.raises(MienError, match=words) as error:
            Inception.open(tmp_path / f"{name}.safetensors")
        assert "\n" not in str(error.value)
