"""The judges, mien's own and those from outside, and what their distances may be called."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from panel import Fake

from mien.errors import MienError
from mien.expressions import BLENDSHAPES, EXPRESSIONS
from mien.lab import judges
from mien.lab.chosen import Wish, choose
from mien.lab.inception import Inception
from mien.lab.judges import find_judges
from mien.lab.measures import Case, measures_of
from mien.lab.metrics import kernel_distance


def test_only_inceptions_distances_are_called_fid_and_kid() -> None:
    random = np.random.default_rng(0)
    inception = Inception(Path("inception.safetensors"), {})
    kid, fid = measures_of([inception], "happiness", 25)[-2:]
    assert (kid.key, kid.title, fid.key, fid.title) == ("kid", "KID", "fid", "FID")
    said = [m.title for m in measures_of([Fake("Inception", "features")], "happiness", 25)]
    assert said[-2:] == ["kernel distance, Inception", "Frechet distance, Inception"]
    a, b = random.normal(size=(30, 2048)), random.normal(size=(25, 2048)) + 0.1
    read, images = {"Inception": a}, np.zeros((30, 32, 32, 3), np.uint8)
    case = Case("mine", "model", np.arange(30), images, read, read, images, reference={"Inception": b})
    assert kid.figure(case).value == pytest.approx(kernel_distance(a, b))
    assert fid.figure(case) == "30 faces and 25 real ones, 2049 of each are needed"


def test_judges_are_found_by_their_files(tmp_path: Path) -> None:
    found, absent = find_judges(None)
    assert [judge.name for judge in found] == ["mien emotion", "mien muscles"]
    assert not any(judge.independent for judge in found)
    assert len(absent) == 4
    with pytest.raises(MienError, match="no judge in there"):
        find_judges(tmp_path)
    (tmp_path / "MobileFaceNet.onnx").write_text("not a network")
    found, absent = find_judges(tmp_path)
    assert found[0].name == "MobileFaceNet"
    assert len(absent) == 3
    with pytest.raises(MienError, match="not a network"):
        found[0].read(np.zeros((1, 32, 32, 3), np.uint8))


def test_own_readers_read_any_size_of_crop() -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 48, 48, 3)).astype(np.uint8)
    chances = judges.Own("emotion").read(images)
    np.testing.assert_allclose(chances.sum(1), 1, atol=1e-5)
    assert judges.Own("muscles").read(images).shape == (3, len(BLENDSHAPES))


def test_the_square_around_the_face_is_where_it_should_be() -> None:
    """A bright column and a bright row, found again at their places in the square."""
    image = np.zeros((1, 100, 100, 3), np.uint8)
    image[0, :, 48:52] = 255
    image[0, 56:60] = 255
    cut = judges.faces(image, 91, "L")[0].astype(int)
    assert abs(cut[5].argmax() - 45) <= 2
    assert abs(cut[:, 5].argmax() - 45) <= 2


def test_outside_judges_know_real_faces(shared: Path, tmp_path: Path) -> None:
    """Each adaptor on real photographs: chances that sum to 1, people told apart, expressions mostly right."""
    data = shared / "data" / "lfw-expressions-128.parquet"
    if not (shared / "weights" / "MobileFaceNet.onnx").is_file():
        pytest.skip("needs the judges' weights beside the data")
    chosen, _ = choose(Wish(data, "happiness", split="val", count=20))
    found, _ = find_judges(shared / "weights")
    panel = {judge.name: judge for judge in found}
    smiles = panel["face-api"].read(chosen.real)
    np.testing.assert_allclose(smiles.sum(1), 1, atol=1e-4)
    happy = EXPRESSIONS.index("happiness")
    assert (smiles.argmax(1) == happy).mean() > 0.75
    assert (panel["mini-Xception"].read(chosen.real).argmax(1) == happy).mean() > 0.5
    before, after = (panel["MobileFaceNet"].read(images) for images in (chosen.images, chosen.real))
    before, after = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (before[chosen.pair], after))
    assert (before * after).sum(1).mean() > 0.45
    assert abs((before * np.roll(after, 1, 0)).sum(1).mean()) < 0.15
