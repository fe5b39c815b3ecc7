"""Finding faces in photographs: what is found, what is not, and which face the user means."""

from __future__ import annotations

import math
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mien.errors import MienError
from mien.expressions import TEMPLATE
from mien.photo.align import move, similarity
from mien.photo.find import Face, MediaPipeFinder, ShippedFinder, choose, face_of, keep_best, views

HERE = Path(__file__).resolve().parents[2]
SHARED = Path(os.environ.get("MIEN_SHARED", HERE.parent / "shared"))
PORTRAIT = (181.0, 87.0, 270.0, 177.0)
"""The box around the 68 landmarks of the portrait, as MediaPipe measures it."""


@pytest.fixture(scope="module")
def finder() -> ShippedFinder:
    return ShippedFinder()


@pytest.fixture(scope="module")
def portrait() -> np.ndarray:
    file = HERE / "examples" / "astronaut.png"
    if not file.exists():
        pytest.skip("examples/astronaut.png is not there")
    return np.asarray(Image.open(file).convert("RGB"))


def iou(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    low, high = np.maximum(a[:2], b[:2]), np.minimum(a[2:], b[2:])
    shared = np.prod((high - low).clip(min=0))
    return float(shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared))


def resized(rgb: np.ndarray, width: int, height: int) -> np.ndarray:
    return np.asarray(Image.fromarray(rgb).resize((width, height), Image.Resampling.BICUBIC))


def test_portrait_has_one_face_with_its_parts_in_order(finder: ShippedFinder, portrait: np.ndarray) -> None:
    (face,) = finder.find(portrait)
    assert iou(face.box, PORTRAIT) > 0.6
    left, right, nose, corner, other = face.points
    assert left[0] < nose[0] < right[0]
    assert corner[0] < other[0]
    assert max(left[1], right[1]) < nose[1] < min(corner[1], other[1])
    assert face.landmarks.shape == (68, 2)
    aligned = move(similarity(face.points), face.points)
    assert np.abs(aligned - np.array(TEMPLATE)).max() < 0.1


def test_two_people_side_by_side(finder: ShippedFinder, portrait: np.ndarray) -> None:
    small = resized(portrait, 400, 400)
    page = np.zeros((512, 912, 3), np.uint8)
    page[:, :512], page[56:456, 512:] = portrait, small
    faces = finder.find(page)
    assert len(faces) == 2
    assert faces[0].size > faces[1].size
    assert iou(faces[0].box, PORTRAIT) > 0.6
    assert iou(faces[1].box, tuple(np.array(PORTRAIT) * 400 / 512 + (512, 56, 512, 56))) > 0.6


@pytest.mark.parametrize("degrees", [-40, -20, 20, 40])
def test_landmarks_turn_with_the_photograph(finder: ShippedFinder, portrait: np.ndarray, degrees: int) -> None:
    (upright,) = finder.find(portrait)
    turned = np.asarray(Image.fromarray(portrait).rotate(degrees, Image.Resampling.BICUBIC))
    face = finder.find(turned)[0]
    a = -math.radians(degrees)
    turn = np.array([[math.cos(a), -math.sin(a)], [math.sin(a), math.cos(a)]])
    expected = (upright.landmarks - 256) @ turn.T + 256
    assert np.linalg.norm(face.landmarks - expected, axis=1).mean() < 0.05 * upright.size


def test_faceless_pictures_hold_no_face(finder: ShippedFinder) -> None:
    rng = np.random.default_rng(0)
    line = np.linspace(0, 255, 400)
    noise = rng.integers(0, 256, (300, 400, 3))
    clouds = np.asarray(
        Image.fromarray(rng.integers(0, 256, (12, 16, 3)).astype(np.uint8)).resize((400, 300), Image.Resampling.BICUBIC)
    )
    checks = np.kron(np.indices((15, 20)).sum(0) % 2, np.ones((20, 20)))[..., None] * [255, 255, 255]
    gradient = np.broadcast_to(line[None, :, None], (300, 400, 3))
    for picture in (noise, clouds, checks, gradient, np.zeros((300, 400, 3)), np.full((300, 400, 3), 255)):
        assert finder.find(picture.astype(np.uint8)) == []


def test_photograph_of_100_pixels_with_a_face_of_32(finder: ShippedFinder, portrait: np.ndarray) -> None:
    small = resized(portrait[0:280, 85:365], 100, 100)
    (face,) = finder.find(small)
    wanted = (np.array(PORTRAIT) - (85, 0, 85, 0)) * 100 / 280
    assert 28 < face.size < 37
    assert iou(face.box, tuple(wanted)) > 0.6


def test_12_megapixels_large_face_and_small_face(finder: ShippedFinder, portrait: np.ndarray) -> None:
    page = np.full((3000, 4000, 3), 90, np.uint8)
    page[:, 1000:] = resized(portrait, 3000, 3000)
    page[100:612, 100:612] = portrait
    faces = finder.find(page)
    assert len(faces) == 2
    assert iou(faces[0].box, tuple(np.array(PORTRAIT) * 3000 / 512 + (1000, 0, 1000, 0))) > 0.6
    assert iou(faces[1].box, tuple(np.array(PORTRAIT) + 100)) > 0.6


@pytest.mark.parametrize("side", [128, 500, 2000])
def test_face_that_fills_the_frame(finder: ShippedFinder, portrait: np.ndarray, side: int) -> None:
    x0, y0, x1, _ = (round(v) for v in PORTRAIT)
    close = resized(portrait[y0 - 20 : y0 + x1 - x0 + 30, x0 - 25 : x1 + 25], side, side)
    (face,) = finder.find(close)
    assert face.size > 0.6 * side


@pytest.mark.parametrize("shape", [(1, 1), (1, 700), (40, 5), (33, 3000)])
def test_odd_shapes_do_no_harm(finder: ShippedFinder, shape: tuple[int, int]) -> None:
    assert finder.find(np.zeros((*shape, 3), np.uint8)) == []


def test_views_cover_small_and_large_faces() -> None:
    for width, height in ((100, 80), (640, 480), (4000, 3000)):
        found = views(np.zeros((height, width, 3), np.uint8))
        for view, scale in found:
            assert np.allclose(np.array(view.size) * scale, (width, height))
        assert max(found[0][0].size) >= min(2 * max(width, height), 640)
        assert max(found[-1][0].size) < 400  # where a face that fills the frame has a size the network knows


def test_missing_weights_are_named(tmp_path: Path) -> None:
    with pytest.raises(MienError, match=r"finder\.onnx"):
        ShippedFinder(folder=tmp_path).find(np.zeros((50, 50, 3), np.uint8))


def test_keep_best_drops_doubles_only() -> None:
    boxes = np.array([[0, 0, 10, 10], [1, 0, 11, 10], [20, 0, 30, 10]], float)
    assert keep_best(boxes, np.array([0.5, 0.9, 0.7])) == [1, 2]
    assert keep_best(np.zeros((0, 4)), np.zeros(0)) == []


def faces_at(*boxes: tuple[float, float, float]) -> list[Face]:
    square = np.array([[0, 0], [1, 0], [1, 1], [0, 1]] * 17, float)
    return [face_of(square * side + (x, y), 0.9) for x, y, side in boxes]


def test_choosing_faces() -> None:
    faces = faces_at((10, 10, 80), (200, 20, 40), (30, 30, 20))
    assert choose(faces, "all") == [0, 1, 2]
    assert choose(faces, "largest") == [0]
    assert choose(faces, "2") == [1]
    assert choose(faces, "220,40") == [1]
    assert choose(faces, "35, 40") == [2]  # a face inside another's box: the smaller is meant


@pytest.mark.parametrize("which", ["0", "4", "1.5", "-1", "everyone", "5,5", "1,2,3", "", "nan"])
def test_choosing_what_is_not_there_says_what_is(which: str) -> None:
    with pytest.raises(MienError, match="1 at 50,50"):
        choose(faces_at((10, 10, 80), (200, 20, 40), (30, 30, 20)), which)


def test_choosing_among_no_faces() -> None:
    with pytest.raises(MienError, match="no face"):
        choose([], "all")


def test_mediapipe_without_its_model_says_what_to_give(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("MIEN_MEDIAPIPE_MODEL", raising=False)
    with pytest.raises(MienError, match=r"face_landmarker\.task"):
        MediaPipeFinder()
    monkeypatch.setenv("MIEN_MEDIAPIPE_MODEL", str(tmp_path / "gone.task"))
    with pytest.raises(MienError, match=r"gone\.task"):
        MediaPipeFinder()


def test_mediapipe_and_the_shipped_finder_agree(finder: ShippedFinder, portrait: np.ndarray) -> None:
    pytest.importorskip("mediapipe")
    model = SHARED / "weights" / "face_landmarker.task"
    if not model.exists():
        pytest.skip("MediaPipe's model file is not there (MIEN_SHARED)")
    (theirs,), (ours,) = MediaPipeFinder(model).find(portrait), finder.find(portrait)
    eyes = np.linalg.norm(theirs.landmarks[36] - theirs.landmarks[45])
    assert np.linalg.norm(theirs.landmarks - ours.landmarks, axis=1).mean() < 0.1 * eyes


def test_unseen_people_are_found(finder: ShippedFinder) -> None:
    pq = pytest.importorskip("pyarrow.parquet")
    file = SHARED / "data" / "lfw-photos-125.parquet"
    if not file.exists():
        pytest.skip("lfw-photos-125.parquet is not there (MIEN_SHARED)")
    import io

    rows = [row for row in pq.read_table(file).to_pylist() if row["split"] == "test"][::20]
    hits, errors = [], []
    for row in rows:
        rgb = np.asarray(Image.open(io.BytesIO(row["image"])).convert("RGB"))
        faces = finder.find(rgb)
        for truth in np.array(row["landmarks"], float).reshape(-1, 68, 2) * 125:
            wanted = face_of(truth, 1.0)
            if wanted.size < 48:
                continue
            best = max(faces, key=lambda face: iou(face.box, wanted.box), default=None)
            hits.append(best is not None and iou(best.box, wanted.box) >= 0.5)
            if best is not None and hits[-1]:
                error = np.linalg.norm(best.landmarks - truth, axis=1).mean()
                errors.append(error / np.linalg.norm(truth[36] - truth[45]))
    assert len(hits) > 40
    assert np.mean(hits) >= 0.97
    assert np.mean(errors) < 0.08
