"""occlusion: an aligned crop -> where something lies between the camera and the face: a hand, a microphone, a cup.

A small U-Net (Ronneberger et al. 2015) that learns from faces with things drawn before them, whose outlines are known,
and from as many untouched ones. What people wear or grow (beards, glasses, hair) is in the untouched pictures, and so
belongs to the face; so do shadows, which are drawn without a cover.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mien.lab.augment import degraded, relit, wobbled
from mien.lab.faces import Faces
from mien.lab.method import Method, Optimizer, Recipe, Terms, Turn
from mien.lab.readers.covers import covered, shaded
from mien.lab.readers.trunk import Residual

BEYOND = 0.1
"""What a pixel outside the face weighs: things there cover nothing, and untouched pictures show some too."""


@dataclass(frozen=True)
class OcclusionConfig:
    """size: side of the crop, a multiple of 2^(len(widths) - 1). widths: channels of the U-Net's levels."""

    size: int = 64
    widths: tuple[int, ...] = (20, 40, 64, 96)


class Occlusion(Method):
    """Cross entropy at every pixel, on wobbled, relit and degraded crops; targets are covered, sources are not.

    Rare muscles count among the untouched: the dark of a wide-open mouth is easily taken for a cover.
    """

    Config = OcclusionConfig
    reads: ClassVar[frozenset[str]] = frozenset({"image", "blendshapes"})
    condition: ClassVar[tuple[str, ...]] = ()
    average: ClassVar[tuple[str, ...]] = ("network",)
    recipe: ClassVar[Recipe] = Recipe(batch=16, steps=2800, balance=(0.5, 0.0), ema=0.995, decay=0.4)
    config: OcclusionConfig

    def __init__(self, config: OcclusionConfig) -> None:
        super().__init__(config)
        self.network = UNet(config.widths)

    def turns(self, step: int) -> list[Turn]:
        return [Turn("network", ("network",), self.loss)]

    def optimizer(self, network: str) -> Optimizer:
        return Optimizer(lr=1.5e-3, betas=(0.9, 0.99), weight_decay=1e-5)

    def loss(self, source: Faces, target: Faces) -> Terms:
        image, cover = covered(wobbled(target.image))
        image = shaded(torch.cat([wobbled(source.image), image]))
        cover = torch.cat([torch.zeros_like(cover), cover])
        image = relit(degraded(image), 0.25)
        read = self.network(image.to(memory_format=torch.channels_last)).float()
        weight = on_face(image).expand_as(read)
        return {"entropy": F.binary_cross_entropy_with_logits(read, cover, weight, reduction="sum") / weight.sum()}

    def forward(self, image: Tensor) -> Tensor:
        """(B, 3, S, S) in [-1, 1] -> (B, 1, S, S), the chance that something covers the face there."""
        return self.network(image).sigmoid()


class UNet(nn.Module):
    """(B, 3, S, S) -> logits (B, 1, S, S)."""

    def __init__(self, widths: tuple[int, ...]) -> None:
        super().__init__()
        first, *rest = widths
        self.stem = _unit(3, first)
        self.down = nn.ModuleList()
        self.up = nn.ModuleList()
        for above, width in zip(widths, rest, strict=False):
            self.down.append(nn.Sequential(_unit(above, width, 2), Residual(width)))
            self.up.append(nn.Sequential(_unit(above + width, above), _unit(above, above)))
        self.deepest = Residual(widths[-1])
        self.out = nn.Conv2d(first, 1, 1)

    def forward(self, image: Tensor) -> Tensor:
        levels = [self.stem(image)]
        for down in self.down:
            levels.append(down(levels[-1]))
        h = self.deepest(levels.pop())
        for up, skip in zip(reversed(self.up), reversed(levels), strict=True):
            h = up(torch.cat([F.interpolate(h, scale_factor=2.0), skip], 1))
        return self.out(h)


def _unit(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU())


def on_face(image: Tensor) -> Tensor:
    """(1, 1, S, S): 1 in the ellipse that a face fills in an aligned crop, ``BEYOND`` around it."""
    line = (torch.arange(image.shape[-1], device=image.device) + 0.5) / image.shape[-1]
    far = ((line - 0.5) / 0.42)[None] ** 2 + ((line - 0.58) / 0.46)[:, None] ** 2
    return torch.where(far < 1, 1.0, BEYOND)[None, None]
