"""Finder: photograph -> boxes and five points of every face, in one pass of a small fully convolutional network.

Anchor-free, after FCOS (Tian et al. 2019) and YuNet (Wu et al. 2023): every cell of three grids (strides 8, 16 and 32)
says whether a face's centre is near, where its box lies and where its eyes, nose tip and mouth corners are. The score
learns the overlap that the box really has (varifocal loss, Zhang et al. 2021), so that it also ranks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mien.lab.faces import Faces
from mien.lab.method import Graph, Method, Optimizer, Recipe, Terms, Turn
from mien.lab.readers.scenes import Pictures, compose, load_pictures
from mien.lab.readers.trunk import Residual

STRIDES = (8, 16, 32)
REACH = ((0.0, 48.0), (36.0, 110.0), (84.0, float("inf")))
"""Sizes of face, in pixels, that each grid is to find; those between two grids are found by both."""
SMALLEST = 20.0
"""Faces below this size (longer side of the box around the 68 landmarks) are neither asked for nor held against it."""
OUTPUTS = 15
"""score, box x0 y0 x1 y1, five points x y."""


@dataclass(frozen=True)
class FinderConfig:
    """size: side of the training scenes, a multiple of 32. width: channels of the first layer. box, points: weights."""

    size: int = 256
    width: int = 16
    box: float = 2.0
    points: float = 4.0
    lr: float = 1e-3


class Finder(Method):
    """A reader with one turn: source and target are pictures of ``scenes.Pictures``, from which scenes are composed."""

    Config = FinderConfig
    reads: ClassVar[frozenset[str]] = frozenset({"image", "landmarks"})
    condition: ClassVar[tuple[str, ...]] = ()
    average: ClassVar[tuple[str, ...]] = ("net",)
    recipe: ClassVar[Recipe] = Recipe(steps=5500, batch=16, decay=0.4, ema=0.998, save_every=500)
    config: FinderConfig

    def __init__(self, config: FinderConfig) -> None:
        super().__init__(config)
        self.net = FinderNet(config.width)

    @classmethod
    def tables(cls, paths: Sequence[Path], size: int, limit: int | None = None) -> tuple[Pictures, Pictures]:
        """Pictures to learn from and pictures to watch; ``size`` is that of the scenes, not of the pictures."""
        return load_pictures(paths, "train", limit), load_pictures(paths, "val", limit)

    def optimizer(self, network: str) -> Optimizer:
        return Optimizer(lr=self.config.lr, betas=(0.9, 0.99))

    def turns(self, step: int) -> list[Turn]:
        return [Turn("finder", ("net",), self.loss)]

    def graph(self) -> Graph:
        """ONNX: "image" (B, 3, H, W) in [-1, 1] -> "faces" (B, N, 15), scores as probabilities.

        B, H and W are free, H and W multiples of 32.
        """
        dynamic = {"image": {0: "batch", 2: "height", 3: "width"}, "faces": {0: "batch", 1: "cells"}}
        tensors = [torch.zeros(1, 3, 64, 96)]
        return Graph(_Probable(self.net).eval(), tensors, ["image"], ["faces"], dynamic, {"smallest": SMALLEST})

    def loss(self, source: Faces, target: Faces) -> Terms:
        """As many scenes as there are sources, from the pictures of both."""
        pictures = Faces(
            image=torch.cat([source.image, target.image]),
            landmarks=torch.cat([source.landmarks, target.landmarks]),
        )
        with torch.autocast(pictures.image.device.type, enabled=False):
            scenes = compose(pictures, len(source), self.config.size)
        found = self.net(scenes.image.to(memory_format=torch.channels_last))
        with torch.autocast(found.device.type, enabled=False):
            terms = finder_loss(found.float(), scenes.landmarks, scenes.visible, self.config.size)
        return {
            "score": terms["score"],
            "box": self.config.box * terms["box"],
            "points": self.config.points * terms["points"],
        }


class FinderNet(nn.Module):
    """(B, 3, H, W) RGB in [-1, 1], sides multiples of 32 -> (B, N, 15): score logit, box and points in input pixels."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        w = width
        self.stem = nn.Sequential(_conv(3, w, 2), _conv(w, 2 * w, 2))
        self.stage8 = nn.Sequential(_conv(2 * w, 3 * w, 2), Residual(3 * w), Residual(3 * w))
        self.stage16 = nn.Sequential(_conv(3 * w, 5 * w, 2), Residual(5 * w), Residual(5 * w))
        self.stage32 = nn.Sequential(_conv(5 * w, 6 * w, 2), Residual(6 * w))
        self.across = nn.ModuleList(nn.Conv2d(c * w, 3 * w, 1) for c in (3, 5, 6))
        self.heads = nn.ModuleList(Head(3 * w) for _ in STRIDES)

    def forward(self, image: Tensor) -> Tensor:
        x8 = self.stage8(self.stem(image))
        x16 = self.stage16(x8)
        x32 = self.stage32(x16)
        y32 = self.across[2](x32)
        y16 = self.across[1](x16) + F.interpolate(y32, scale_factor=2.0)
        y8 = self.across[0](x8) + F.interpolate(y16, scale_factor=2.0)
        maps = [head(F.relu(y)) for head, y in zip(self.heads, (y8, y16, y32), strict=True)]
        return torch.cat([decoded(m.float(), stride) for m, stride in zip(maps, STRIDES, strict=True)], 1)


class Head(nn.Module):
    """Depthwise-separable layer, then the fifteen numbers of each cell."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.mix = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False),
            nn.Conv2d(channels, channels, 1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
        )
        self.out = nn.Conv2d(channels, OUTPUTS, 1)
        assert self.out.bias is not None
        with torch.no_grad():
            self.out.weight.mul_(0.1)
            self.out.bias.zero_()
            self.out.bias[0] = -4.6  # a face at one cell in a hundred, as focal losses start (Lin et al. 2017)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.mix(x))


def _conv(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()
    )


def decoded(maps: Tensor, stride: int) -> Tensor:
    """A grid's raw outputs (B, 15, h, w) -> (B, h * w, 15) in pixels of the input.

    Centre and points are offsets from the middle of the cell, the box's sides exponentials, all in units of 4 strides.
    Coordinates come from running sums, which any height and width export to ONNX.
    """
    ones = torch.ones_like(maps[:, :1])
    cell = (torch.cat([ones.cumsum(3), ones.cumsum(2)], 1) - 0.5) * stride
    unit = 4.0 * stride
    centre = cell + unit * maps[:, 1:3]
    half = unit * torch.exp(maps[:, 3:5].clamp(-4, 4)) / 2
    points = unit * maps[:, 5:] + torch.cat([cell] * 5, 1)
    return torch.cat([maps[:, :1], centre - half, centre + half, points], 1).flatten(2).transpose(1, 2)


def five_points(landmarks: Tensor) -> Tensor:
    """(..., 68, 2) iBUG -> (..., 5, 2) in the order of ``mien.expressions.TEMPLATE``."""
    eyes = [landmarks[..., 36:42, :].mean(-2), landmarks[..., 42:48, :].mean(-2)]
    return torch.stack([*eyes, landmarks[..., 30, :], landmarks[..., 48, :], landmarks[..., 54, :]], -2)


@dataclass(frozen=True)
class _Aims:
    """What each of N cells is to say. face: (B, N) index among the scene's faces; positive, counted: (B, N) bool."""

    face: Tensor
    positive: Tensor
    counted: Tensor


def finder_loss(found: Tensor, landmarks: Tensor, visible: Tensor, side: int) -> Terms:
    """Loss terms of found (B, N, 15) against landmarks (B, M, 68, 2; pixels, NaN where none) and visible (B, M).

    score: varifocal, a mean over the positive cells. box: 1 - GIoU (Rezatofighi et al. 2019). points: smooth L1
    of the five points as shares of the face's size.
    """
    boxes = torch.cat([landmarks.amin(2), landmarks.amax(2)], -1)  # NaN stays NaN
    aims = _aims(boxes, visible, side)
    pick = aims.face[..., None]
    box = boxes.nan_to_num(0).gather(1, pick.expand(-1, -1, 4))
    wanted = five_points(landmarks).nan_to_num(0).flatten(2).gather(1, pick.expand(-1, -1, 10))
    size = (box[..., 2:] - box[..., :2]).amax(-1).clamp(min=1)
    iou, giou = overlaps(found[..., 1:5], box)
    aim = torch.where(aims.positive, iou.detach().clamp(min=0.2), 0.0)
    chance = found[..., 0].detach().sigmoid()
    weight = torch.where(aims.positive, aim, 0.75 * chance**2) * aims.counted
    total = aims.positive.sum().clamp(min=1)
    score = F.binary_cross_entropy_with_logits(found[..., 0], aim, reduction="none") * weight
    away = F.smooth_l1_loss(found[..., 5:] / size[..., None], wanted / size[..., None], beta=0.05, reduction="none")
    return {
        "score": score.sum() / total,
        "box": ((1 - giou) * aims.positive).sum() / total,
        "points": (away.mean(-1) * aims.positive).sum() / total,
    }


def _aims(boxes: Tensor, visible: Tensor, side: int) -> _Aims:
    """Cells near the centre of a face that their grid is for are positive; cells in doubt do not count.

    In doubt: a ring around the positive cells, faces half hidden or too small, and the grids next to the right one.
    """
    size = (boxes[..., 2:] - boxes[..., :2]).amax(-1)[:, None]  # (B, 1, M)
    middle = (boxes[..., 2:] + boxes[..., :2]) / 2
    seen = visible[:, None]
    whole = (seen >= 0.85) & (size >= SMALLEST)
    doubtful = ((seen > 0.3) & ~whole) | ((seen > 0.3) & (size < SMALLEST))
    near, positive, doubt = [], [], []
    for stride, (low, high) in zip(STRIDES, REACH, strict=True):
        line = (torch.arange(side // stride, device=boxes.device) + 0.5) * stride
        cell = torch.stack(torch.meshgrid(line, line, indexing="ij")[::-1], -1).view(1, -1, 1, 2)
        away = (cell - middle[:, None]).abs().amax(-1)  # (B, n, M), NaN where no face
        radius = (0.14 * size).clamp(min=0.6 * stride)
        fits = (size >= low) & (size < high)
        nearly = (size >= low / 1.4) & (size < high * 1.4)
        hit = whole & fits & (away <= radius)
        around = whole & nearly & (away <= 1.8 * radius)
        over = doubtful & (away <= 0.6 * size)
        near.append(torch.where(hit, away / size, torch.inf))
        positive.append(hit.any(-1))
        doubt.append((around | over).any(-1))
    hits = torch.cat(positive, 1)
    return _Aims(torch.cat(near, 1).argmin(-1), hits, hits | ~torch.cat(doubt, 1))


def overlaps(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """IoU and generalised IoU of boxes (..., 4) as x0, y0, x1, y1."""
    inner = (torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])).clamp(min=0).prod(-1)
    union = (a[..., 2:] - a[..., :2]).prod(-1) + (b[..., 2:] - b[..., :2]).prod(-1) - inner
    hull = (torch.maximum(a[..., 2:], b[..., 2:]) - torch.minimum(a[..., :2], b[..., :2])).prod(-1)
    iou = inner / union.clamp(min=1e-6)
    return iou, iou - (hull - union) / hull.clamp(min=1e-6)


class _Probable(nn.Module):
    def __init__(self, net: FinderNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, image: Tensor) -> Tensor:
        found = self.net(image)
        return torch.cat([found[..., :1].sigmoid(), found[..., 1:]], -1)
