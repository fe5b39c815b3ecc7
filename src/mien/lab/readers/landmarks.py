"""Landmarks: a roughly aligned face -> its 68 landmarks, and whether it is a face at all.

A residual trunk, then one linear layer that sees every place of the last grid: coordinates by regression on the mean
absolute error, as wing-type losses do it (Feng et al. 2018) without their constants. The crop is made from the finder's
five points, whose errors training imitates; reading twice, the second time from the first answer, takes them out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mien.expressions import TEMPLATE
from mien.lab.faces import Faces
from mien.lab.method import Graph, Method, Optimizer, Recipe, Terms, Turn
from mien.lab.readers.finder import five_points
from mien.lab.readers.scenes import Pictures, degraded, faceless_pictures, load_pictures
from mien.lab.readers.trunk import trunk

MARGIN = 0.72
"""Share of the crop's side that the aligned crop of ``TEMPLATE`` fills, so that chin and brows stay inside."""
LANDMARK_TEMPLATE = tuple((0.5 + MARGIN * (x - 0.5), 0.5 + MARGIN * (y - 0.5)) for x, y in TEMPLATE)
LIDS_AND_LIPS = ((37, 38, 43, 44, 61, 62, 63), (41, 40, 47, 46, 67, 66, 65))
"""Upper and lower edges, point by point: how far they are apart is what an expression is."""


@dataclass(frozen=True)
class LandmarksConfig:
    """size: side of the crop, a multiple of 16. widths: channels of the trunk's stages. The rest: weights and rate."""

    size: int = 112
    widths: tuple[int, ...] = (24, 32, 64, 128)
    away: float = 20.0
    apart: float = 0.0
    """On how far lids and lips are apart: without it every mouth stays half open, from nothing it can keep all points
    at their mean (--recipe lips --from RUN)."""
    face: float = 0.5
    faceless: float = 0.35
    """Share of the crops that show something else than a face, or a face badly out of place."""
    lr: float = 1.5e-3


class Landmarks(Method):
    """A reader with one turn; source and target are pictures of ``scenes.Pictures`` and learned from alike."""

    Config = LandmarksConfig
    reads: ClassVar[frozenset[str]] = frozenset({"image", "landmarks"})
    condition: ClassVar[tuple[str, ...]] = ()
    average: ClassVar[tuple[str, ...]] = ("net",)
    recipe: ClassVar[Recipe] = Recipe(steps=2400, batch=32, decay=0.5, ema=0.998, save_every=500)
    recipes: ClassVar[dict[str, dict[str, Any]]] = {"lips": {"apart": 40.0, "lr": 1e-3, "steps": 3000, "decay": 0.7}}
    config: LandmarksConfig

    def __init__(self, config: LandmarksConfig) -> None:
        super().__init__(config)
        self.net = LandmarkNet(config.size, config.widths)

    def prepare(self, faces: Faces) -> None:
        """The average face, from which the network's answer departs."""
        points = faces.landmarks[:4096, :, 0]
        points = points[~points.isnan().flatten(1).any(1)]
        self.net.mean.copy_(_moved(_similarity(five_points(points)), points).mean(0))

    @classmethod
    def tables(cls, paths: Sequence[Path], size: int, limit: int | None = None) -> tuple[Pictures, Pictures]:
        """Pictures to learn from and pictures to watch; ``size`` is that of the crops, not of the pictures."""
        return load_pictures(paths, "train", limit), load_pictures(paths, "val", limit)

    def optimizer(self, network: str) -> Optimizer:
        return Optimizer(lr=self.config.lr, betas=(0.9, 0.99))

    def turns(self, step: int) -> list[Turn]:
        return [Turn("landmarks", ("net",), self.loss)]

    def graph(self) -> Graph:
        """ONNX: "image" (B, 3, S, S) in [-1, 1] -> "landmarks" (B, 68, 2), "face" (B,) in [0, 1].

        The metadata's "template" says where in the crop the five points belong.
        """
        size = self.config.size
        about = {"template": LANDMARK_TEMPLATE}
        return Graph(
            _Probable(self.net).eval(), [torch.zeros(2, 3, size, size)], ["image"], ["landmarks", "face"], about=about
        )

    def loss(self, source: Faces, target: Faces) -> Terms:
        pictures = Faces(
            image=torch.cat([source.image, target.image]),
            landmarks=torch.cat([source.landmarks, target.landmarks]),
        )
        with torch.autocast(pictures.image.device.type, enabled=False):
            crops = crop_faces(pictures, self.config.size, self.config.faceless)
        points, chance = self.net(crops.image.to(memory_format=torch.channels_last))
        aligned = crops.face == 1
        away = (points - crops.landmarks).abs().mean((1, 2)) * aligned
        apart = (_apart(points) - _apart(crops.landmarks)).abs().mean((1, 2)) * aligned
        known = crops.face >= 0
        judged = F.binary_cross_entropy_with_logits(chance, crops.face.clamp(min=0), reduction="none") * known
        return {
            "away": self.config.away * away.sum() / aligned.sum().clamp(min=1),
            "apart": self.config.apart * apart.sum() / aligned.sum().clamp(min=1),
            "face": self.config.face * judged.sum() / known.sum().clamp(min=1),
        }


def _apart(points: Tensor) -> Tensor:
    """(B, 7, 2): from upper to lower lids and lips."""
    upper, lower = LIDS_AND_LIPS
    return points[:, lower] - points[:, upper]


class LandmarkNet(nn.Module):
    """(B, 3, S, S) in [-1, 1] -> landmarks (B, 68, 2) in fractions of the crop, logit of its being a face (B,)."""

    mean: Tensor

    def __init__(self, size: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        first, *rest = widths
        self.stem = nn.Sequential(nn.Conv2d(3, first, 3, 2, 1, bias=False), nn.BatchNorm2d(first), nn.ReLU())
        self.trunk = trunk(first, tuple(rest))
        self.narrow = nn.Sequential(nn.Conv2d(widths[-1], 32, 1), nn.ReLU())
        self.points = nn.Linear(32 * (size // 2 ** len(widths)) ** 2, 68 * 2)
        self.face = nn.Linear(widths[-1], 1)
        self.register_buffer("mean", torch.full((68, 2), 0.5))
        with torch.no_grad():
            self.points.weight.mul_(0.1)
            self.points.bias.zero_()

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        deep = self.trunk(self.stem(image))
        offset = self.points(self.narrow(deep).flatten(1)).float().view(-1, 68, 2)
        return self.mean + offset, self.face(deep.mean((2, 3))).float()[:, 0]


@dataclass(frozen=True)
class Crops:
    """image: (B, 3, S, S). landmarks: (B, 68, 2) in fractions. face: (B,) 1 a face in place, 0 none, -1 in doubt."""

    image: Tensor
    landmarks: Tensor
    face: Tensor


@torch.no_grad()
def crop_faces(pictures: Faces, size: int, faceless: float) -> Crops:
    """One crop of each picture: a face as an imprecise finder would hand it over, or a place without one.

    pictures: image (B, 3, 128, 128), landmarks (B, 68, F, 2) with NaN where there are fewer than F faces.
    """
    image, points = pictures.image, pictures.landmarks
    count, device = len(image), image.device
    first = (torch.rand(count, points.shape[2], device=device) * ~points[:, 0, :, 0].isnan()).argmax(1)
    face = points.gather(2, first.view(-1, 1, 1, 1).expand(-1, 68, 1, 2))[:, :, 0]
    blank = torch.rand(count, device=device) < faceless
    broken = blank & (torch.rand(count, device=device) < 0.5)
    which = broken.nonzero()[:, 0]
    image = image.float().index_copy(0, which, faceless_pictures(image[which].float()))
    matrix = _jittered(_similarity(five_points(face)))
    elsewhere = blank & ~(broken & (torch.rand(count, device=device) < 0.3))
    matrix = torch.where(elsewhere[:, None, None], _anywhere(count, device), matrix)
    shown = _moved(matrix, face)
    inverse = torch.linalg.inv(
        torch.cat([matrix, torch.tensor([[[0.0, 0, 1]]], device=device).expand(count, -1, -1)], 1)
    )
    line = (torch.arange(size, device=device) + 0.5) / size
    grid = torch.stack(torch.meshgrid(line, line, indexing="ij")[::-1], -1).view(1, -1, 2).expand(count, -1, -1)
    where = (_moved(inverse[:, :2], grid) * 2 - 1).view(count, size, size, 2)
    # Beyond the picture: black for half of the batches, the repeated edge (what the photo wing does) for the others.
    padding = "border" if torch.rand(()) < 0.6 else "zeros"
    crops = F.grid_sample(image, where, padding_mode=padding, align_corners=False)
    return Crops(degraded(crops), shown, torch.where(broken, 0.0, _label(matrix, points, blank)))


def _similarity(points: Tensor) -> Tensor:
    """(B, 2, 3) least-squares similarity from (B, 5, 2) to ``LANDMARK_TEMPLATE`` (Umeyama 1991)."""
    target = torch.tensor(LANDMARK_TEMPLATE, device=points.device)
    middle, goal = points.mean(1), target.mean(0)
    a, b = points - middle[:, None], (target - goal)[None]
    spread = (a**2).sum((1, 2))
    cos = (a * b).sum((1, 2)) / spread
    sin = (a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]).sum(1) / spread
    turn = torch.stack([torch.stack([cos, -sin], 1), torch.stack([sin, cos], 1)], 1)
    return torch.cat([turn, (goal - (turn @ middle[..., None])[..., 0])[..., None]], 2)


def _moved(matrix: Tensor, points: Tensor) -> Tensor:
    """Apply (B, 2, 3) to (B, N, 2)."""
    return points @ matrix[:, :, :2].transpose(1, 2) + matrix[:, None, :, 2]


def _jittered(matrix: Tensor) -> Tensor:
    """Follow ``matrix`` by a random turn (mostly within 20 degrees), zoom and shift about the middle of the crop."""
    count, device = len(matrix), matrix.device
    slight, wide = 9 * torch.randn(count, device=device), 70 * (torch.rand(count, device=device) - 0.5)
    angle = torch.deg2rad(torch.where(torch.rand(count, device=device) < 0.8, slight, wide))
    zoom = torch.exp(0.12 * torch.randn(count, device=device))
    cos, sin = zoom * angle.cos(), zoom * angle.sin()
    turn = torch.stack([torch.stack([cos, -sin], 1), torch.stack([sin, cos], 1)], 1)
    middle = matrix.new_full((2, 1), 0.5)
    shift = middle - turn @ middle + 0.05 * torch.randn(count, 2, 1, device=device)
    return torch.cat([turn @ matrix[:, :, :2], turn @ matrix[:, :, 2:] + shift], 2)


def _anywhere(count: int, device: torch.device) -> Tensor:
    """Similarities that show a random square, a sixth to two thirds of the picture, turned by up to 45 degrees."""
    zoom = 1.5 * 4 ** torch.rand(count, device=device)
    angle = torch.deg2rad(90 * (torch.rand(count, device=device) - 0.5))
    cos, sin = zoom * angle.cos(), zoom * angle.sin()
    turn = torch.stack([torch.stack([cos, -sin], 1), torch.stack([sin, cos], 1)], 1)
    at = torch.rand(count, 2, 1, device=device)
    return torch.cat([turn, 0.5 - turn @ at], 2)


def _label(matrix: Tensor, points: Tensor, blank: Tensor) -> Tensor:
    """1 for crops of a face; for the others 0 where no face is near its place in the template, else -1."""
    faces = points.transpose(1, 2)  # (B, F, 68, 2)
    count, most = faces.shape[:2]
    five = five_points(_moved(matrix, faces.flatten(1, 2)).view(count, most, 68, 2))
    template = torch.tensor(LANDMARK_TEMPLATE, device=points.device)
    away = (five - template).norm(dim=-1).mean(-1).nan_to_num(9).amin(1)
    return torch.where(blank, torch.where(away > 0.25, 0.0, -1.0), 1.0)


class _Probable(nn.Module):
    def __init__(self, net: LandmarkNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        points, chance = self.net(image)
        return points, chance.sigmoid()
