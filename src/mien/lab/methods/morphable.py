"""morphable: a 3D face model fitted to the landmarks, and the photograph warped by what its expression moves.

The trained-nothing baseline (Blanz & Vetter 1999; model: ICT-FaceKit, Li et al. 2020): the bar that every network must
beat to justify itself. Identity, expression and a scaled-orthographic camera are fitted to the 68 landmarks by
regularised least squares; then the expression's coefficients change by as much as the wanted blendshapes differ from
those that the face wears, and the projected motion of the surface is the flow. It is sharp and keeps the person, and it
cannot invent teeth.

The fit is a fixed number of steps, so that it stands in the exported graph: no solver is needed where photographs are
edited. A step is Gauss-Newton's with the normal matrix of a face seen in three dimensions in place of the exact one.
Turning the head does not change that matrix, so its inverse is worked out once; and it is never smaller than the exact
one, which lacks depth, so that no step goes too far (an MM algorithm, Hunter & Lange 2004; with momentum).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import ClassVar
from zipfile import BadZipFile

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mien.errors import MienError
from mien.expressions import BLENDSHAPES
from mien.lab.blocks import warp
from mien.lab.export import edit_graph
from mien.lab.faces import Faces
from mien.lab.method import Edit, Graph, Method, Recipe, Turn
from mien.lab.methods.flowfill import MOVABLE
from mien.photo.align import five_points, similarity

IDENTITIES, VERTICES = 20, 680
"""Size of the model that comes with mien: modes of identity, and points of the surface, the landmarks first."""

CENTRE = (0.5, 0.55)
NOISE = 0.008
"""How far a landmark lies from where the model has it, in fractions of the crop (one standard deviation)."""

SPREAD = 0.25
"""How far an expression's coefficient lies from the blendshape measured (one standard deviation)."""

OUTLINE = 0.1
"""What a landmark of the jaw counts: as the head turns, an outline slides over the surface."""

STEPS, MOMENTUM, DEPTH = 25, 0.7, 0.3
FARTHEST = 0.2
"""The largest turn of the head in one step of the fit, in radians."""

REACH = 0.03
"""Width of the Gaussian by which a point of the surface moves the pixels around it, in fractions of the crop."""

CROSS = torch.linalg.cross(torch.eye(3)[:, None].expand(3, 3, 3), torch.eye(3)[None].expand(3, 3, 3)).permute(2, 0, 1)
"""(3, 3, 3): a x b is the sum of CROSS[:, j, k] a_j b_k."""


@dataclass(frozen=True)
class MorphableConfig:
    """size: side of the crop. face_model: an .npz of the whole ICT model, in place of the cut that comes with mien."""

    size: int = 128
    face_model: str = ""


class Morphable(Method):
    """Edits by blendshapes with nothing to learn; see the module's docstring."""

    Config = MorphableConfig
    reads: ClassVar[frozenset[str]] = frozenset({"image", "blendshapes", "landmarks"})
    source_fields: ClassVar[tuple[str, ...]] = ("image", "blendshapes", "landmarks")
    condition: ClassVar[tuple[str, ...]] = ("blendshapes",)
    average: ClassVar[tuple[str, ...]] = ("face",)
    recipe: ClassVar[Recipe] = Recipe(steps=0)
    config: MorphableConfig

    def __init__(self, config: MorphableConfig) -> None:
        super().__init__(config)
        self.face = FaceModel(shipped())

    def prepare(self, faces: Faces) -> None:
        if self.config.face_model:
            self.face.load_state_dict(FaceModel(cut(Path(self.config.face_model))).state_dict())

    def turns(self, step: int) -> list[Turn]:
        return []

    def edit(self, source: Faces, target: Faces, intensity: Tensor) -> Edit:
        movable = torch.zeros(len(BLENDSHAPES), device=source.image.device)
        movable[MOVABLE] = 1
        difference = (target.blendshapes - source.blendshapes) * movable * intensity.view(-1, 1)
        flow = self.face(source.landmarks, source.blendshapes, difference, source.image.shape[-1])
        return Edit(warp(source.image, flow), flow, torch.zeros_like(source.image))

    def graph(self) -> Graph:
        graph = edit_graph(self)
        return replace(graph, about=graph.about | {"notice": notice()})


class FaceModel(nn.Module):
    """(landmarks, blendshapes, difference, size) -> flow (B, 2, size, size), in fractions of the crop.

    A face is a sum of shapes (n, V, 3): the average face, whose coefficient is the size, then identity, then
    expression in the order of ``BLENDSHAPES``. Axes are the picture's, x right, y down, z away from the viewer; the
    unit is the side of the crop. The first 68 points are the landmarks.

    weight: (68, 1), what each landmark counts. stiffness: (n,), what holds each coefficient to where it is expected.
    solve: (6 + n, 6 + n), the inverse of the normal matrix, by which ``fit`` steps.
    """

    shapes: Tensor
    normals: Tensor
    solve: Tensor
    weight: Tensor
    stiffness: Tensor
    cross: Tensor
    centre: Tensor

    def __init__(self, arrays: dict[str, np.ndarray]) -> None:
        super().__init__()
        parts = (arrays["average"][None], arrays["identity"], arrays["expression"])
        loose = torch.tensor([torch.inf, *[1.0] * len(parts[1]), *[SPREAD] * len(parts[2])])
        self.register_buffer("shapes", torch.from_numpy(np.concatenate(parts)).float())
        self.register_buffer("normals", torch.from_numpy(arrays["normals"]).float())
        self.register_buffer("weight", torch.cat([torch.full((17, 1), OUTLINE), torch.ones(51, 1)]), persistent=False)
        self.register_buffer("stiffness", (NOISE / loose) ** 2, persistent=False)
        self.register_buffer("cross", CROSS, persistent=False)
        self.register_buffer("centre", torch.tensor([CENTRE]), persistent=False)
        self.register_buffer("solve", torch.linalg.inv(self.normal_matrix().double()).float())

    def normal_matrix(self) -> Tensor:
        """(6 + n, 6 + n): of turn, shift and coefficients, for the average face; depth counts ``DEPTH``."""
        points = self.shapes[:, :68]
        turns = torch.einsum("abc,lc->bla", self.cross, points[0])
        shifts = torch.eye(3)[:, None].expand(3, 68, 3)
        columns = torch.cat([turns, shifts, points])
        matrix = torch.einsum("pla,qla->pq", columns * self.weight * torch.tensor([1, 1, DEPTH]), columns)
        return matrix + torch.diag(F.pad(self.stiffness, (6, 0)))

    def fit(self, landmarks: Tensor, blendshapes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Coefficients (B, n), camera (B, 2, 3) with orthonormal rows and shift (B, 1, 2), from (B, 68, 2), (B, 52).

        They minimise the sum of weight |landmark - camera shape - shift|^2 and stiffness (coefficient - expected)^2;
        of expression the blendshapes are what is expected.
        """
        nothing = torch.zeros_like(blendshapes[:, :1])
        identities = self.shapes.shape[0] - 1 - len(BLENDSHAPES)
        expected = torch.cat([nothing + 1, nothing.expand(-1, identities), blendshapes], 1)
        coefficients, step = expected, torch.zeros_like(nothing)
        camera = torch.eye(2, 3, device=nothing.device) + nothing[..., None]
        shift = self.centre + nothing[..., None]
        for _ in range(STEPS):
            step = MOMENTUM * step + self.downhill(landmarks, expected, coefficients, camera, shift) @ self.solve
            step = step * (FARTHEST / step[:, :3].norm(dim=1, keepdim=True).clamp(min=FARTHEST))
            shift = shift + (camera @ step[:, 3:6, None]).transpose(1, 2)
            camera = self.turned(camera, step[:, :3])
            coefficients = coefficients + step[:, 6:]
        return coefficients, camera, shift

    def downhill(
        self, landmarks: Tensor, expected: Tensor, coefficients: Tensor, camera: Tensor, shift: Tensor
    ) -> Tensor:
        """(B, 6 + n): minus half the gradient of what ``fit`` minimises, by turn, shift and coefficients.

        Turns and shifts are the head's own: they come before the camera.
        """
        shapes = self.shapes[:, :68]
        points = torch.einsum("nk,kla->nla", coefficients, shapes)
        pull = self.weight * (landmarks - points @ camera.transpose(1, 2) - shift) @ camera
        turn = torch.einsum("abc,nlb,nlc->na", self.cross, points, pull)
        shape = torch.einsum("kla,nla->nk", shapes, pull) - self.stiffness * (coefficients - expected)
        return torch.cat([turn, pull.sum(1), shape], 1)

    def turned(self, camera: Tensor, turn: Tensor) -> Tensor:
        """``camera`` (B, 2, 3) once the head is turned by the small rotation vector ``turn`` (B, 3)."""
        rows = camera + torch.einsum("nrc,cba,nb->nra", camera, self.cross, turn)
        x = F.normalize(rows[:, 0], dim=1)
        y = rows[:, 1] - (rows[:, 1] * x).sum(1, keepdim=True) * x
        return torch.stack([x, F.normalize(y, dim=1)], 1)

    def motion(self, difference: Tensor, camera: Tensor, points: int = VERTICES) -> Tensor:
        """(B, points, 2): how far the first ``points`` move in the picture as expression changes by (B, 52)."""
        change = F.pad(difference, (self.shapes.shape[0] - len(BLENDSHAPES), 0))
        return torch.einsum("nk,kva->nva", change, self.shapes[:, :points]) @ camera.transpose(1, 2)

    def forward(self, landmarks: Tensor, blendshapes: Tensor, difference: Tensor, size: int) -> Tensor:
        coefficients, camera, shift = self.fit(landmarks, blendshapes)
        points = torch.einsum("nk,kva->nva", coefficients, self.shapes) @ camera.transpose(1, 2) + shift
        motion = self.motion(difference, camera)
        away = torch.einsum("abc,nb,nc->na", self.cross, camera[:, 0], camera[:, 1])
        facing = F.relu(-self.normals @ away[..., None])
        return spread(points + motion, motion, facing, size)


def spread(ends: Tensor, move: Tensor, weight: Tensor, size: int) -> Tensor:
    """Motion of points -> flow (B, 2, size, size): how far away each pixel is fetched from, in fractions of the crop.

    ends, move: (B, V, 2), where the points end up and how far they came. weight: (B, V, 1). Each pixel takes the mean
    motion of the points, weighed by Gaussians around their ends; it fades where no point is near.
    """
    centre = (torch.arange(size, device=ends.device) + 0.5) / size
    near = torch.exp(-((ends[..., None] - centre) ** 2) / (2 * REACH**2))  # (B, V, 2, size)
    column, row = near[:, :, 0] * weight, near[:, :, 1]
    total = torch.einsum("bvh,bvw->bhw", row, column) + 0.3
    sums = [torch.einsum("bvh,bvw->bhw", row, column * move[..., i : i + 1]) for i in range(2)]
    return -torch.stack(sums, 1) / total[:, None]


def shipped() -> dict[str, np.ndarray]:
    """The cut of the ICT model that comes with mien."""
    with resources.files(__package__).joinpath("ict-face.npz").open("rb") as file, np.load(file) as arrays:
        return dict(arrays)


def notice() -> str:
    """The licence of the ICT model, which every copy of it carries."""
    return resources.files(__package__).joinpath("ict-face.txt").read_text()


def cut(path: Path) -> dict[str, np.ndarray]:
    """The part of the ICT model in ``path`` that ``FaceModel`` needs, in half precision; ``ict-face.npz`` is one.

    Raises MienError where the file is none of it.
    """
    try:
        with np.load(path) as arrays:
            neutral, triangles, identity = arrays["neutral"], arrays["triangles"], arrays["identity"]
            expression = dict(zip(arrays["expression_names"].tolist(), arrays["expression"], strict=True))
            landmarks = arrays["landmark_vertices"]
            moves = np.stack([_expression(name, expression, neutral) for name in BLENDSHAPES])
    except (OSError, ValueError, KeyError, TypeError, EOFError, BadZipFile) as error:
        raise MienError(f"--face-model {path}: not the ICT face model as docs/methods/morphable.md has it") from error
    corners = neutral[triangles]
    across = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals = np.stack([np.bincount(triangles.ravel(), np.repeat(across[:, i], 3), len(neutral)) for i in range(3)], 1)
    normals = normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-9)
    picture = np.array([1, -1, -1])  # the model's y points up, its z towards the viewer
    to_crop = similarity(five_points(neutral[landmarks, :2] * picture[:2]))
    scale = np.hypot(*to_crop[:, 0]) * picture
    average = neutral * scale + (*(to_crop[:, 2] - CENTRE), -(neutral[landmarks] * scale)[:, 2].mean())
    points = _evenly(average, landmarks, (np.abs(average[:, :2]).max(1) < 0.6) & (normals[:, 2] > 0.2))
    parts = {"average": average, "identity": identity[:IDENTITIES] * scale, "expression": moves * scale}
    chosen = {name: part[..., points, :] for name, part in parts.items()} | {"normals": normals[points] * picture}
    return {name: part.astype(np.float16) for name, part in chosen.items()}


def _expression(name: str, known: dict[str, np.ndarray], neutral: np.ndarray) -> np.ndarray:
    """(V, 3): the model's shape for an ARKit name; where it has a left and a right of it, both."""
    if name == "_neutral":
        return np.zeros_like(neutral)
    side = name.replace("Left", "_L").replace("Right", "_R")
    found = next((known[n] for n in (name, side) if n in known), None)
    return known[f"{name}_L"].astype(np.float32) + known[f"{name}_R"] if found is None else found.astype(np.float32)


def _evenly(places: np.ndarray, first: np.ndarray, allowed: np.ndarray) -> np.ndarray:
    """(VERTICES,) rows: ``first``, then again and again the allowed one that is farthest from all that are taken."""
    taken = list(first)
    away = np.linalg.norm(places[:, None] - places[first], axis=2).min(1)
    away[~allowed] = 0
    while len(taken) < VERTICES:
        taken.append(int(away.argmax()))
        away = np.minimum(away, np.linalg.norm(places - places[taken[-1]], axis=1))
    return np.array(taken)
