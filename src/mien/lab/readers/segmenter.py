"""segmenter: an aligned crop -> how likely each of its pixels is background, skin, brow, eye, nose or mouth.

DeepLabV3 (Chen et al. 2017): a trunk that stops halving early and widens its convolutions instead (atrous), then a
pyramid of atrous convolutions beside the average of the whole picture. Its labels are a collection's own masks where a
face has one (CelebAMask-HQ's), else they are drawn from the 68 landmarks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mien.lab.augment import degraded, fetched, motions, relit
from mien.lab.collections.entry import REGIONS
from mien.lab.faces import Faces
from mien.lab.method import Method, Optimizer, Recipe, Terms, Turn

UNKNOWN = 255
"""The regions of a face that has no mask."""

FOREHEAD, BROW = 0.3, 0.07
"""How far skin reaches above the brows, and brows below their landmarks: in distances from chin to bridge."""


@dataclass(frozen=True)
class SegmenterConfig:
    """Size of the network.

    Attributes:
        size: Side of the crop; other sizes are brought to it.
        widths: Channels of the trunk's stages that halve the side.
        atrous: Channels of the stage that keeps it, and of the pyramid.
        rates: How far apart the pyramid's convolutions look, in cells of the trunk's output.
    """

    size: int = 64
    widths: tuple[int, ...] = (32, 64)
    atrous: int = 96
    rates: tuple[int, ...] = (2, 4, 6)


class Segmenter(Method):
    """Learns by cross entropy on moved, relit and degraded crops; masks and landmarks move along."""

    Config = SegmenterConfig
    reads: ClassVar[frozenset[str]] = frozenset({"image", "landmarks", "regions"})
    condition: ClassVar[tuple[str, ...]] = ()
    average: ClassVar[tuple[str, ...]] = ("network",)
    recipe: ClassVar[Recipe] = Recipe(batch=16, steps=4000, ema=0.995, decay=0.5)
    config: SegmenterConfig

    def __init__(self, config: SegmenterConfig) -> None:
        super().__init__(config)
        self.network = DeepLab(config.widths, config.atrous, config.rates)

    def turns(self, step: int) -> list[Turn]:
        return [Turn("network", ("network",), self.loss)]

    def optimizer(self, network: str) -> Optimizer:
        return Optimizer(lr=1e-3, betas=(0.9, 0.99), weight_decay=1e-5)

    def loss(self, source: Faces, target: Faces) -> Terms:
        """Both draws of faces are learned from alike."""
        image, points, masks = moved(
            torch.cat([source.image, target.image]),
            torch.cat([source.landmarks, target.landmarks]),
            torch.cat([source.regions, target.regions]),
        )
        read = self.network(relit(degraded(image), 0.3))
        return {"entropy": F.cross_entropy(read, labels(points, masks))}

    def forward(self, image: Tensor) -> Tensor:
        """(B, 3, S, S) in [-1, 1] -> (B, 6, S, S), the chance of each of ``REGIONS``; they sum to 1."""
        side = image.shape[-1]
        if side != self.config.size:
            image = F.interpolate(image, size=self.config.size, mode="bilinear")  # antialiased, it has no ONNX form
        return self.network(image, side).softmax(1)


class DeepLab(nn.Module):
    """(B, 3, S, S) -> logits (B, 6, side, side); ``side`` is S unless given. Works at S / 2^len(widths)."""

    def __init__(self, widths: tuple[int, ...], atrous: int, rates: tuple[int, ...]) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inputs = 3
        for width in widths:
            layers += [_unit(inputs, width, 3, stride=2), Residual(width, 1)]
            inputs = width
        self.trunk = nn.Sequential(*layers, _unit(inputs, atrous, 1), Residual(atrous, 2), Residual(atrous, 4))
        self.pyramid = nn.ModuleList([_unit(atrous, atrous, 1), *(_unit(atrous, atrous, 3, rate=r) for r in rates)])
        self.whole = _unit(atrous, atrous, 1)
        self.head = nn.Sequential(
            _unit(atrous * (len(rates) + 2), atrous, 1), nn.Dropout(0.1), nn.Conv2d(atrous, len(REGIONS), 1)
        )

    def forward(self, image: Tensor, side: int | None = None) -> Tensor:
        h = self.trunk(image)
        whole = self.whole(h.mean((2, 3), keepdim=True)).expand_as(h)
        logits = self.head(torch.cat([*(level(h) for level in self.pyramid), whole], 1)).float()
        return F.interpolate(logits, size=side or image.shape[-1], mode="bilinear")


class Residual(nn.Module):
    """Two 3x3 convolutions at an atrous rate, with batch norm, around a skip."""

    def __init__(self, width: int, rate: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            _unit(width, width, 3, rate=rate),
            nn.Conv2d(width, width, 3, padding=rate, dilation=rate, bias=False),
            nn.BatchNorm2d(width),
        )

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.body(x))


def _unit(inputs: int, outputs: int, kernel: int, stride: int = 1, rate: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, rate * (kernel // 2), rate, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU())


def labels(landmarks: Tensor, regions: Tensor) -> Tensor:
    """The label of every pixel, (B, S, S) integers: ``regions`` where a face has them, else drawn from landmarks."""
    return torch.where(regions == UNKNOWN, drawn(landmarks, regions.shape[-1]), regions.long())


def drawn(landmarks: Tensor, size: int) -> Tensor:
    """The label of every pixel, (B, S, S) integers into ``REGIONS``, as landmarks (B, 68, 2) in fractions have it.

    Later regions lie over earlier ones. Skin is all within the jaw and a forehead that is guessed from the brows; a
    brow is a band below its five points; lips, teeth and what lies between are mouth.
    """
    up = (landmarks[:, 27] - landmarks[:, 8])[:, None]
    brows = [landmarks[:, 17:22], landmarks[:, 22:27]]
    skin = torch.cat([landmarks[:, :17], torch.cat(brows, 1).flip(1) + FOREHEAD * up], 1)
    outlines = [(1, skin)]
    outlines += [(2, torch.cat([brow, brow.flip(1) - BROW * up], 1)) for brow in brows]
    outlines += [(3, landmarks[:, 36:42]), (3, landmarks[:, 42:48])]
    outlines += [(4, landmarks[:, [27, *range(31, 36)]]), (5, landmarks[:, 48:60])]
    label = torch.zeros(len(landmarks), size, size, dtype=torch.long, device=landmarks.device)
    for region, outline in outlines:
        label = label.masked_fill(within(outline, size), region)
    return label


def within(outline: Tensor, size: int) -> Tensor:
    """Which pixel centres of an S x S picture lie in each polygon: (B, V, 2) in fractions -> (B, S, S) booleans.

    A centre lies inside where an odd number of edges pass it on its right (even-odd rule).
    """
    centre = (torch.arange(size, device=outline.device) + 0.5) / size
    x1, y1 = outline.float().unsqueeze(-1).unbind(2)  # (B, V, 1) each
    x2, y2 = x1.roll(-1, 1), y1.roll(-1, 1)
    spans = (y1 > centre) != (y2 > centre)  # (B, V, S): edges that cross the row; level ones never do
    crossing = x1 + (centre - y1) / torch.where(y1 == y2, torch.ones_like(y1), y2 - y1) * (x2 - x1)
    right = spans[..., None] & (crossing[..., None] > centre)  # (B, V, rows, columns)
    return right.sum(1) % 2 == 1


def moved(
    image: Tensor, landmarks: Tensor, regions: Tensor, roll: float = 12.0, scale: float = 0.12, shift: float = 0.06
) -> tuple[Tensor, Tensor, Tensor]:
    """Turn (degrees), scale and shift pictures (B, 3, S, S), landmarks (B, 68, 2) and regions (B, S, S) alike."""
    motion = motions(image, roll, scale, shift)
    with torch.autocast(image.device.type, enabled=False):
        points = (landmarks * 2 - 1 - motion[:, None, :, 2]) @ motion[:, :, :2].inverse().mT
    return (
        fetched(image, motion),
        (points + 1) / 2,
        fetched(regions[:, None], motion, "nearest")[:, 0].to(regions.dtype),
    )


def iou(read: Tensor, truth: Tensor) -> Tensor:
    """Intersection over union of each region, (6,), over all pixels of two label maps; NaN where neither has it."""
    count = len(REGIONS)
    pairs = torch.bincount(truth.flatten() * count + read.flatten(), minlength=count**2).view(count, count)
    both = pairs.diagonal()
    return both / (pairs.sum(0) + pairs.sum(1) - both)
