"""morphable: the fit against faces made of the model, finite differences and SciPy; motion that goes the right way."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.optimize import least_squares
from scipy.spatial.transform import Rotation
from torch import Tensor

from mien.errors import MienError
from mien.expressions import BLENDSHAPES, LANDMARK_MIRROR, MIRROR
from mien.lab.checkpoint import Progress
from mien.lab.data import load
from mien.lab.export import export
from mien.lab.faces import Faces
from mien.lab.methods.flowfill import MOVABLE
from mien.lab.methods.morphable import (
    CENTRE,
    IDENTITIES,
    REACH,
    FaceModel,
    Morphable,
    MorphableConfig,
    cut,
    shipped,
    spread,
)
from mien.model import Model

TURNS = ((0, 0, 0), (0.1, 0.3, -0.1), (-0.2, -0.7, 0.05))


@pytest.fixture(scope="module")
def face() -> FaceModel:
    return FaceModel(shipped())


def made_of_the_model(face: FaceModel, count: int = 6) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Landmarks, blendshapes, coefficients and cameras of people who differ in all that the model knows."""
    torch.manual_seed(0)
    shapes = torch.zeros(count, len(BLENDSHAPES))
    shapes[:, MOVABLE] = 0.3 * torch.rand(count, len(MOVABLE)) ** 3
    size = 1 + 0.05 * torch.randn(count, 1)
    coefficients = torch.cat([size, torch.randn(count, IDENTITIES), shapes], 1)
    turns = [TURNS[i % len(TURNS)] for i in range(count)]
    camera = torch.tensor(Rotation.from_rotvec(turns).as_matrix()[:, :2]).float()
    points = torch.einsum("nk,kla->nla", coefficients, face.shapes[:, :68]) @ camera.transpose(1, 2)
    return points + torch.tensor(CENTRE) + 0.02, shapes, coefficients, camera


def at(face: FaceModel, landmarks: Tensor, shapes: Tensor, fitted: tuple[Tensor, ...]) -> Tensor:
    """(B,): what the fit minimises."""
    coefficients, camera, shift = fitted
    expected = torch.cat([torch.ones(len(shapes), 1), torch.zeros(len(shapes), IDENTITIES), shapes], 1)
    points = torch.einsum("nk,kla->nla", coefficients, face.shapes[:, :68].to(coefficients))
    away = landmarks - points @ camera.transpose(1, 2) - shift
    held = face.stiffness * (coefficients - expected) ** 2
    return (face.weight * away**2).sum((1, 2)) + held.sum(1)


def test_faces_made_of_the_model_are_found_again(face: FaceModel) -> None:
    landmarks, shapes, coefficients, camera = made_of_the_model(face)
    found, seen, shift = face.fit(landmarks, shapes)
    again = torch.einsum("nk,kla->nla", found, face.shapes[:, :68]) @ seen.transpose(1, 2) + shift
    assert (again - landmarks)[:, 17:].norm(dim=2).mean() < 0.002
    assert (seen - camera).abs().max() < 0.03
    shown = slice(2, 8)  # the first mode is nearly size; of the weaker ones the prior leaves little
    assert torch.corrcoef(torch.stack([found[:, shown].flatten(), coefficients[:, shown].flatten()]))[0, 1] > 0.8
    torch.testing.assert_close(seen @ seen.transpose(1, 2), torch.eye(2).expand(len(seen), 2, 2), atol=1e-5, rtol=0)


def test_downhill_is_the_gradient_by_finite_differences() -> None:
    face = FaceModel(shipped()).double()
    landmarks, shapes, coefficients, camera = (x.double() for x in made_of_the_model(face.float(), 3))
    face = face.double()
    coefficients, shift = coefficients + 0.1, torch.tensor([[CENTRE]]).double().expand(3, 1, 2)
    expected = torch.cat([torch.ones(3, 1), torch.zeros(3, IDENTITIES), shapes], 1)
    slope = face.downhill(landmarks, expected, coefficients, camera, shift)
    tiny = 1e-6
    for i in [*range(6), 6, 7, 20, 40, 70]:
        ends = []
        for sign in (-tiny, tiny):
            step = torch.zeros(3, 6 + len(face.shapes)).double()
            step[:, i] = sign
            moved = shift + (camera @ step[:, 3:6, None]).transpose(1, 2)
            ends.append((coefficients + step[:, 6:], face.turned(camera, step[:, :3]), moved))
        low, high = (at(face, landmarks, shapes, end) for end in ends)
        torch.testing.assert_close(slope[:, i], (low - high) / (4 * tiny), atol=1e-7, rtol=1e-4)


@pytest.mark.parametrize("number", range(len(TURNS)))
def test_the_fit_ends_where_scipys_least_squares_ends(face: FaceModel, number: int) -> None:
    landmarks, shapes, _, _ = (x[number : number + 1] for x in made_of_the_model(face, 3))
    torch.manual_seed(1)
    landmarks = landmarks + 0.008 * torch.randn(1, 68, 2)
    basis, weight, held = (x.double().numpy() for x in (face.shapes[:, :68], face.weight, face.stiffness))
    seen, expected = landmarks[0].double().numpy(), np.r_[1, np.zeros(IDENTITIES), shapes[0].double().numpy()]

    def residuals(x: np.ndarray) -> np.ndarray:
        camera = Rotation.from_rotvec(x[:3]).as_matrix()[:2]
        away = seen - np.einsum("k,kla->la", x[5:], basis) @ camera.T - x[3:5]
        return np.r_[(np.sqrt(weight) * away).ravel(), np.sqrt(held) * (x[5:] - expected)]

    best = least_squares(residuals, np.r_[0, 0, 0, CENTRE, expected], method="lm")
    ours = at(face, landmarks, shapes, face.fit(landmarks, shapes))[0]
    assert 2 * best.cost <= ours * (1 + 1e-4)
    assert ours < 2 * best.cost * 1.02
    camera = torch.tensor(Rotation.from_rotvec(best.x[:3]).as_matrix()[:2]).float()
    assert (face.fit(landmarks, shapes)[1][0] - camera).abs().max() < 0.02


@pytest.mark.parametrize(
    ("name", "landmark", "right", "down"),
    [
        ("mouthSmileLeft", 54, 1, -1),
        ("mouthSmileRight", 48, -1, -1),
        ("mouthFrownLeft", 54, 0, 1),
        ("jawOpen", 57, 0, 1),
        ("browInnerUp", 21, 0, -1),
        ("browDownLeft", 24, 0, 1),
        ("eyeBlinkLeft", 44, 0, 1),
    ],
)
def test_muscles_move_the_face_the_right_way(face: FaceModel, name: str, landmark: int, right: int, down: int) -> None:
    difference = torch.zeros(1, len(BLENDSHAPES))
    difference[0, BLENDSHAPES.index(name)] = 1
    move = face.motion(difference, torch.eye(2, 3)[None], 68)[0]
    for axis, sign in enumerate((right, down)):
        if sign:
            assert move[landmark, axis] * sign > 0.005
    landmarks = face.shapes[0, None, :68, :2] + torch.tensor(CENTRE)
    flow = face(landmarks, torch.zeros(1, len(BLENDSHAPES)), difference, 64)[0]
    column, row = ((landmarks[0, landmark] + move[landmark]) * 64).long().tolist()
    fetched = flow[:, row, column]
    for axis, sign in enumerate((right, down)):
        if sign:
            assert fetched[axis] * sign < -0.002, "what moved right is fetched from the left"


def test_both_sides_of_the_model_are_alike(face: FaceModel) -> None:
    points = face.shapes[0, :68] * torch.tensor([-1.0, 1, 1])
    torch.testing.assert_close(points[list(LANDMARK_MIRROR)], face.shapes[0, :68], atol=5e-3, rtol=0)
    moves = face.shapes[-len(BLENDSHAPES) :, :68]
    flipped = moves[list(MIRROR)][:, list(LANDMARK_MIRROR)] * torch.tensor([-1.0, 1, 1])
    assert (flipped - moves).norm() < 0.1 * moves.norm()


def test_a_head_seen_from_the_side_moves_by_its_depth(face: FaceModel) -> None:
    """Turned by 90 degrees, what came forward goes sideways, and the far half of the face pulls at no pixel."""
    difference = torch.zeros(1, len(BLENDSHAPES))
    difference[0, BLENDSHAPES.index("jawForward")] = 1
    profile = torch.tensor(Rotation.from_rotvec([0, np.pi / 2, 0]).as_matrix()[None, :2]).float()
    depth = face.shapes[-len(BLENDSHAPES) + BLENDSHAPES.index("jawForward"), :68, 2]
    torch.testing.assert_close(face.motion(difference, profile, 68)[0, :, 0], depth, atol=1e-6, rtol=0)
    assert depth[8] < -0.02


def test_a_point_pulls_its_surroundings_along_and_nothing_far_away() -> None:
    ends, move = torch.tensor([[[0.5, 0.5]]]), torch.tensor([[[0.1, -0.05]]])
    flow = spread(ends, move, torch.ones(1, 1, 1), 101)[0]
    torch.testing.assert_close(flow[:, 50, 50], -move[0, 0] / 1.3, atol=1e-5, rtol=0)
    assert flow[:, 50, 50 + int(5 * REACH * 101)].abs().max() < 1e-4
    assert not spread(ends, move, torch.zeros(1, 1, 1), 101).any(), "a point that faces away"


def test_the_file_that_comes_with_mien_is_cut_from_the_ict_model(shared: Path) -> None:
    again, here = cut(shared / "data" / "ict-face-model.npz"), shipped()
    assert again.keys() == here.keys()
    for name in here:
        np.testing.assert_array_equal(again[name], here[name])


def test_a_face_model_of_ones_own_takes_its_place(shared: Path, tmp_path: Path) -> None:
    with np.load(shared / "data" / "ict-face-model.npz") as stored:
        arrays = dict(stored)
    np.savez(tmp_path / "own.npz", **arrays | {"identity": 2 * arrays["identity"]})
    method = Morphable(MorphableConfig(size=32, face_model=str(tmp_path / "own.npz")))
    before = method.face.shapes.clone()
    method.prepare(Faces())
    torch.testing.assert_close(method.face.shapes[1 : 1 + IDENTITIES], 2 * before[1 : 1 + IDENTITIES])
    torch.testing.assert_close(method.face.shapes[0], before[0])


@pytest.mark.parametrize("content", [None, b"", b"PK\x03\x04 broken", b"\x93NUMPY", "other arrays", "one array"])
def test_a_file_that_is_no_face_model_is_named_in_one_line(content: bytes | str | None, tmp_path: Path) -> None:
    path = tmp_path / "face.npz"
    if content == "other arrays":
        np.savez(path, neutral=np.zeros((3, 3)))
    elif content == "one array":
        with path.open("wb") as file:
            np.save(file, np.zeros(3))
    elif isinstance(content, bytes):
        path.write_bytes(content)
    with pytest.raises(MienError, match=r"face\.npz: not the ICT face model"):
        Morphable(MorphableConfig(face_model=str(path))).prepare(Faces())


def test_real_faces_are_met_within_a_hundredth_of_the_crop(face: FaceModel, shared: Path) -> None:
    path = shared / "data" / "lfw-expressions-128.parquet"
    faces = load(path, "val", frozenset({"image", "landmarks", "blendshapes"}), 16, limit=100).faces
    found, camera, shift = face.fit(faces.landmarks, faces.blendshapes)
    points = torch.einsum("nk,kla->nla", found, face.shapes[:, :68]) @ camera.transpose(1, 2) + shift
    away = (points - faces.landmarks).norm(dim=2)
    assert away[:, 36:].mean() < 0.01
    assert away.isfinite().all()


def test_the_exported_model_carries_the_licence_of_the_face_model(tmp_path: Path) -> None:
    export(Morphable(MorphableConfig(size=32)), Progress("morphable", {}, "none", "0"), tmp_path / "m.onnx")
    assert "Copyright (c) 2020 USC Institute for Creative Technologies" in Model(tmp_path / "m.onnx").about["notice"]
