"""The finder's lab side: scenes that keep their labels, losses with the right sign, graphs that equal torch."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pa = pytest.importorskip("pyarrow")

import onnxruntime  # noqa: E402
import pyarrow.parquet as pq  # noqa: E402
from PIL import Image, ImageDraw  # noqa: E402

from mien.errors import MienError  # noqa: E402
from mien.expressions import TEMPLATE  # noqa: E402
from mien.lab.checkpoint import Progress  # noqa: E402
from mien.lab.export import export  # noqa: E402
from mien.lab.faces import Faces  # noqa: E402
from mien.lab.readers import landmarks, scenes  # noqa: E402
from mien.lab.readers.finder import (  # noqa: E402
    STRIDES,
    Finder,
    FinderConfig,
    decoded,
    finder_loss,
    five_points,
    overlaps,
)
from mien.lab.readers.landmarks import Landmarks, LandmarksConfig, crop_faces  # noqa: E402
from mien.lab.readers.scenes import MOST, SIDE, Pictures, compose, compressed, load_pictures  # noqa: E402
from mien.lab.trainer import Trainer  # noqa: E402

PROGRESS = Progress("test", {}, "none", "0")


def doll() -> np.ndarray:
    """68 landmarks of a drawn face, in fractions of its box: jaw, brows, nose, eyes, mouth."""
    angle = np.linspace(np.pi, 0, 17)
    jaw = np.stack([0.5 + 0.5 * np.cos(angle), 0.3 + 0.7 * np.sin(angle)], 1)
    brows = np.stack([np.r_[np.linspace(0.12, 0.4, 5), np.linspace(0.6, 0.88, 5)], np.full(10, 0.08)], 1)
    nose = np.r_[
        np.stack([np.full(4, 0.5), np.linspace(0.25, 0.5, 4)], 1),
        np.stack([np.linspace(0.4, 0.6, 5), np.full(5, 0.56)], 1),
    ]
    ring = np.linspace(np.pi, -np.pi, 6, endpoint=False)
    eyes = [np.stack([x + 0.1 * np.cos(ring), 0.25 - 0.04 * np.sin(ring)], 1) for x in (0.27, 0.73)]
    lips = [np.linspace(np.pi, -np.pi, n, endpoint=False) for n in (12, 8)]
    mouth = [
        np.stack([0.5 + w * np.cos(a), 0.75 - 0.06 * np.sin(a)], 1) for a, w in zip(lips, (0.2, 0.17), strict=True)
    ]
    return np.concatenate([jaw, brows, nose, *eyes, *mouth]).astype(np.float32)


def dolls(count: int) -> Pictures:
    """Pictures of drawn faces of several sizes, places and colours on plain grounds."""
    rng = np.random.default_rng(0)
    images, points = [], []
    for _ in range(count):
        size, skin, ground = rng.uniform(45, 70), rng.integers(150, 256, 3), rng.integers(0, 120, 3)
        shape = doll() * size + rng.uniform(4, SIDE - size - 4, 2)
        picture = Image.new("RGB", (SIDE, SIDE), tuple(ground.tolist()))
        pen = ImageDraw.Draw(picture)
        low, high = shape.min(0), shape.max(0)
        pen.ellipse([*(low - 2), *(high + 2)], fill=tuple(skin.tolist()))
        for part in (shape[36:42], shape[42:48], shape[48:60]):
            pen.ellipse([*part.min(0), *part.max(0)], fill=(60, 20, 20))
        images.append(np.asarray(picture).transpose(2, 0, 1))
        points.append(shape / SIDE)
    padded = np.full((count, 68, MOST, 2), np.nan, np.float32)
    padded[:, :, 0] = points
    faces = Faces(image=torch.from_numpy(np.stack(images)), landmarks=torch.from_numpy(padded))
    return Pictures(faces, [str(i) for i in range(count)], "dolls")


def test_landmarks_stay_on_the_face_through_zoom_and_roll(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scenes, "degraded", lambda image: image)
    image = torch.zeros(8, 3, SIDE, SIDE)  # red rises to the right, green downwards: colour tells the place
    line = (torch.arange(SIDE) + 0.5) / SIDE
    image[:, 0], image[:, 1], image[:, 2] = line, line[:, None], -1
    points = torch.full((8, 68, MOST, 2), torch.nan)
    points[:, :, 0] = torch.from_numpy(doll()) * 0.4 + 0.3
    torch.manual_seed(0)
    made = compose(Faces(image=image, landmarks=points), 24, 128)
    checked = 0
    for scene, faces, visible in zip(made.image, made.landmarks, made.visible, strict=True):
        for face in faces[visible == 1]:
            own = scene[:, face[:, 1].long(), face[:, 0].long()]
            away = (own[:2].T - points[0, :, 0]).abs().amax(1)
            assert (away < 0.06).float().mean() > 0.9  # at a cell's very edge a pixel may be the neighbour's
            checked += 1
    assert checked > 20


def test_every_visible_label_shows_its_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scenes, "degraded", lambda image: image)
    image = torch.full((4, 3, SIDE, SIDE), -1.0)
    image[:, 1] = 1
    points = torch.full((4, 68, MOST, 2), torch.nan)
    points[:, :, 0] = torch.from_numpy(doll()) * 0.4 + 0.3
    torch.manual_seed(1)
    made = compose(Faces(image=image, landmarks=points), 24, 128)
    shown = []
    for scene, faces, visible in zip(made.image, made.landmarks, made.visible, strict=True):
        for face in faces[visible == 1]:
            pixels = scene[:, face[:, 1].long(), face[:, 0].long()]
            shown.append((pixels == torch.tensor([[-1.0], [1], [-1]])).all(0).float().mean().item())
    assert np.mean(shown) > 0.97  # at a cell's very edge a pixel may be the neighbour's


def test_scenes_repeat_with_the_seed() -> None:
    faces = dolls(6).take(torch.arange(6))
    made = []
    for _ in range(2):
        torch.manual_seed(7)
        made.append(compose(faces, 4, 96))
    assert torch.equal(made[0].image, made[1].image)
    assert torch.equal(made[0].landmarks.nan_to_num(-1), made[1].landmarks.nan_to_num(-1))


def test_flipping_mirrors_every_face_of_a_picture() -> None:
    faces = dolls(3).take(torch.arange(3))
    twice = faces.flipped().flipped()
    assert torch.allclose(twice.landmarks.nan_to_num(9), faces.landmarks.nan_to_num(9), atol=1e-6)
    left = five_points(faces.flipped().landmarks[:, :, 0])[:, 0, 0]
    assert torch.allclose(left, 1 - five_points(faces.landmarks[:, :, 0])[:, 1, 0], atol=1e-6)


def test_compression_spares_what_is_flat_and_coarsens_detail() -> None:
    torch.manual_seed(0)
    flat, noise = torch.zeros(1, 3, 32, 32), 0.05 * torch.randn(1, 3, 32, 32)
    assert torch.allclose(compressed(flat), flat, atol=1e-6)
    assert 0 < (compressed(noise) - noise).abs().mean() < 0.2


def test_manifest_with_several_faces_is_read_and_bad_ones_are_named(tmp_path: Path) -> None:
    blob = io.BytesIO()
    Image.new("RGB", (125, 125), (9, 9, 9)).save(blob, "PNG")
    flat = doll().ravel().tolist()
    table = pa.table(
        {"name": ["a", "b"], "split": ["train", "val"], "image": [blob.getvalue()] * 2, "landmarks": [flat * 2, flat]}
    )
    pq.write_table(table, tmp_path / "photos.parquet")
    pictures = load_pictures([tmp_path / "photos.parquet"], "train")
    assert pictures.names == ["a"]
    assert (~pictures.faces.landmarks[0, 0, :, 0].isnan()).tolist() == [True, True, False, False]
    with pytest.raises(MienError, match="test"):
        load_pictures([tmp_path / "photos.parquet"], "test")
    with pytest.raises(MienError, match="absent"):
        load_pictures([tmp_path / "absent.parquet"], "train")


def test_overlap_of_boxes_by_hand() -> None:
    a = torch.tensor([[0.0, 0, 2, 2], [0, 0, 1, 1]])
    b = torch.tensor([[1.0, 0, 3, 2], [2, 0, 3, 1]])
    iou, giou = overlaps(a, b)
    assert iou.tolist() == pytest.approx([1 / 3, 0])
    assert giou.tolist() == pytest.approx([1 / 3, -1 / 3])


def perfect(boxes: torch.Tensor, points: torch.Tensor, side: int) -> torch.Tensor:
    """What a network that knows the only face would say: sure near its centre, silent elsewhere."""
    middle = (boxes[:2] + boxes[2:]) / 2
    size = (boxes[2:] - boxes[:2]).max()
    rows = []
    for stride in STRIDES:
        cell = decoded(torch.zeros(1, 15, side // stride, side // stride), stride)[0, :, 5:7]
        near = (cell - middle).abs().amax(1) < max(0.14 * size, 0.6 * stride)
        sure = (near & (stride < 32)).float() * 20 - 10  # a face of 40 pixels is no business of the coarsest grid
        rows.append(torch.cat([sure[:, None], boxes.expand(len(cell), 4), points.flatten().expand(len(cell), 10)], 1))
    return torch.cat(rows)[None]


def test_the_right_answer_costs_least() -> None:
    face = torch.from_numpy(doll()) * 40 + 30
    box = torch.cat([face.amin(0), face.amax(0)])
    truth, seen = face[None, None], torch.ones(1, 1)

    def cost(found: torch.Tensor) -> float:
        return sum(term.item() for term in finder_loss(found, truth, seen, 128).values())

    right = perfect(box, five_points(face), 128)
    assert cost(right) < 0.05
    assert cost(perfect(box + 6, five_points(face), 128)) > cost(right) + 0.1
    assert cost(perfect(box, five_points(face) + 6, 128)) > cost(right) + 0.1
    assert cost(perfect(box + 50, five_points(face) + 50, 128)) > 1


def test_finder_learns_to_find_drawn_faces(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    table = dolls(48)
    finder = Finder(FinderConfig(size=128, width=8, lr=4e-3))
    recipe = replace(Finder.recipe, steps=60, batch=8, ema=0.9, decay=0.3, log_every=1000, device="cpu")
    trainer = Trainer("finder", finder, table, tmp_path, recipe)
    first = sum(term.item() for term in trainer.step(0).values())
    trainer.run()
    with trainer.averaged(), torch.no_grad():
        torch.manual_seed(99)
        made = compose(table.take(torch.arange(48)), 16, 128)
        found = finder.net(made.image)
        last = sum(term.item() for term in finder_loss(found, made.landmarks, made.visible, 128).values())
    best = found[torch.arange(16), found[..., 0].argmax(1), 1:5]
    boxes = torch.cat([made.landmarks.amin(2), made.landmarks.amax(2)], -1)
    hit = overlaps(best[:, None], boxes)[0].nan_to_num(0).amax(1) > 0.5
    some = (made.visible == 1).any(1)
    assert last < 0.6 * first
    assert hit[some].float().mean() > 0.7


def test_how_far_lips_are_apart_is_paid_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A face read beside its place costs nothing there; the inner lower lip read too low does, by its share."""
    faces = dolls(4).take(torch.arange(4))
    crops = crop_faces(faces, 64, 0.0)
    monkeypatch.setattr(landmarks, "crop_faces", lambda *_: crops)
    config, _ = Landmarks.settings("lips")
    assert config.apart > 0
    reader = Landmarks(replace(config, size=64, widths=(8, 8, 16, 16)))
    beside, low = crops.landmarks + 0.01, crops.landmarks.clone()
    low[:, [65, 66, 67], 1] += 0.01
    terms = {}
    for name, points in (("beside", beside), ("low", low)):
        monkeypatch.setattr(reader.net, "forward", lambda image, points=points: (points, torch.zeros(len(points))))
        terms[name] = reader.loss(faces[:2], faces[2:])
    assert terms["beside"]["apart"].item() == pytest.approx(0, abs=1e-5)
    assert terms["beside"]["away"].item() == pytest.approx(0.01 * reader.config.away, rel=1e-3)
    assert terms["low"]["apart"].item() == pytest.approx(0.01 * 3 / 14 * reader.config.apart, rel=1e-3)


def test_landmarks_learn_a_drawn_face(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    table = dolls(48)
    reader = Landmarks(LandmarksConfig(size=64, widths=(8, 16, 32, 32), lr=4e-3, faceless=0.1))
    recipe = replace(Landmarks.recipe, steps=110, batch=12, ema=0.9, decay=0.3, log_every=1000, device="cpu")
    trainer = Trainer("landmarks", reader, table, tmp_path, recipe)
    torch.manual_seed(5)
    crops = crop_faces(table.take(torch.arange(48)), 64, 0.0)
    before = (reader.net.mean - crops.landmarks).norm(dim=-1).mean()
    trainer.run()
    with trainer.averaged(), torch.no_grad():
        after = (reader.net(crops.image)[0] - crops.landmarks).norm(dim=-1).mean()
    assert after < 0.75 * before


def test_crops_bring_the_five_points_near_the_template() -> None:
    torch.manual_seed(0)
    crops = crop_faces(dolls(40).take(torch.arange(40)), 64, 0.5)
    wanted = torch.tensor(landmarks.LANDMARK_TEMPLATE)
    away = (five_points(crops.landmarks) - wanted).norm(dim=-1).mean(1)
    assert away[crops.face == 1].median() < 0.15
    assert {0.0, 1.0} <= set(crops.face.tolist())
    assert np.ptp(np.array(TEMPLATE)) > np.ptp(wanted.numpy())  # the margin around the edit's own crop


def test_resuming_changes_nothing(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    table, recipe = dolls(8), replace(Finder.recipe, batch=2, bf16=False, device="cpu", decay=0.0)
    weights = []
    for stops in ((4,), (2, 4)):
        out = tmp_path / str(len(stops))
        for stop in stops:
            torch.manual_seed(0)
            trainer = Trainer("finder", Finder(FinderConfig(size=64, width=4)), table, out, replace(recipe, steps=stop))
            trainer.run()
        weights.append(torch.cat([p.detach().flatten() for p in trainer.method.parameters()]))
    assert torch.equal(weights[0], weights[1])


def test_finder_graph_says_what_torch_says_at_any_size(tmp_path: Path) -> None:
    torch.manual_seed(0)
    finder = Finder(FinderConfig(width=4)).eval()
    export(finder, PROGRESS, tmp_path / "f.onnx")
    session = onnxruntime.InferenceSession(str(tmp_path / "f.onnx"))
    for height, width in ((64, 96), (160, 32)):
        image = torch.rand(2, 3, height, width) * 2 - 1
        (got,) = session.run(None, {"image": image.numpy()})
        with torch.no_grad():
            want = finder.net(image)
        assert got.shape == want.shape
        assert np.allclose(got[..., 0], want[..., 0].sigmoid(), atol=1e-3)
        assert np.allclose(got[..., 1:], want[..., 1:], atol=0.1)
    assert session.get_modelmeta().custom_metadata_map["licence"] == "Apache-2.0"


def test_landmark_graph_says_what_torch_says(tmp_path: Path) -> None:
    torch.manual_seed(0)
    reader = Landmarks(LandmarksConfig(widths=(8, 8, 16, 16))).eval()
    export(reader, PROGRESS, tmp_path / "l.onnx")
    session = onnxruntime.InferenceSession(str(tmp_path / "l.onnx"))
    image = torch.rand(3, 3, 112, 112) * 2 - 1
    points, chance = session.run(None, {"image": image.numpy()})
    with torch.no_grad():
        want, sure = reader.net(image)
    assert np.allclose(points, want, atol=2e-3)
    assert np.allclose(chance, sure.sigmoid(), atol=2e-3)
