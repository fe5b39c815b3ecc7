"""Regions: one method on the whole crop, on the segmented face, or on its parts (Upenieks & Urtans, AIxHMI 2022).

``mode`` image is the method as it is. In face it sees the face alone, gray beyond what a trained ``segmenter`` takes
for face. In parts each of eyes with brows, nose and mouth has networks of its own, and each sees its part alone, gray
around it: crops are aligned, so a part is the same rectangle in every crop. Nothing is resampled.

What a part's networks change is put back in one of three ways, of which none touches a pixel outside the part:

- brightness, the paper's: part and photograph are brought to one mean brightness, then pixels are interpolated in a
  line across each edge. The paper does not say over what it takes the means; here it is the edge, where both are seen.
  Over the whole part a mouth that opens would have to be as bright as one that is shut.
- poisson (Pérez et al. 2003): the part keeps its gradients and meets the photograph at its rim; what is added to it is
  the harmonic function with the rim's mismatch.
- delta, ours: the difference, feathered, and added to the photograph at its own resolution.

The inner methods have the paper's settings: Adam 1e-4 (0.5, 0.99), five critic steps to one of the generator, StarGAN's
reconstruction at 5, CycleGAN as its own file says.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from mien.errors import MienError
from mien.expressions import Expression
from mien.lab.data import Sampler, Table
from mien.lab.faces import Faces
from mien.lab.method import Edit, Method, Optimizer, Recipe, Terms, Turn
from mien.lab.methods.cyclegan import CycleGAN, CycleGANConfig
from mien.lab.methods.stargan import StarGAN, StarGANConfig
from mien.lab.readers.segmenter import REGIONS, Segmenter, SegmenterConfig


@dataclass(frozen=True)
class Box:
    """A rectangle in fractions of the crop."""

    left: float
    top: float
    right: float
    bottom: float

    def pixels(self, size: int) -> tuple[int, int, int, int]:
        """(left, top, right, bottom) in a crop of ``size``, which while a graph is traced is a tensor."""
        left, top, right, bottom = (round(side * int(size)) for side in (self.left, self.top, self.right, self.bottom))
        return left, top, right, bottom

    def cut(self, image: Tensor) -> Tensor:
        """That part of (B, C, S, S)."""
        left, top, right, bottom = self.pixels(image.shape[-1])
        return image[..., top:bottom, left:right]

    def placed(self, patch: Tensor, size: int) -> Tensor:
        """(B, C, h, w) at its place in (B, C, size, size), zeros around it."""
        left, top, right, bottom = self.pixels(size)
        return F.pad(patch, (left, int(size) - right, top, int(size) - bottom))


WHOLE = Box(0.0, 0.0, 1.0, 1.0)

PARTS: dict[str, dict[str, tuple[Box, Box]]] = {
    "image": {"image": (WHOLE, WHOLE)},
    "face": {"face": (WHOLE, WHOLE)},
    "parts": {
        "eyes": (Box(0.125, 0.0, 0.875, 0.75), Box(0.125, 0.1875, 0.875, 0.5)),
        "nose": (Box(0.25, 0.3125, 0.75, 0.8125), Box(0.3125, 0.5, 0.6875, 0.6875)),
        "mouth": (Box(0.25, 0.5, 0.75, 1.0), Box(0.25, 0.6875, 0.75, 0.9375)),
    },
}
"""By mode and part: the square window that the part's networks see, and the rectangle in it that is theirs."""


@dataclass(frozen=True)
class RegionsConfig:
    """What is learned where; parts need a crop whose side is a multiple of 16.

    Attributes:
        method: What each part is learned with.
        mode: The whole crop (image), the segmented face, or eyes with brows, nose and mouth each by itself.
        back: How a part comes back into the photograph; an image mode has no edges, so there only delta differs.
        source: CycleGAN's one expression; StarGAN learns all.
        target: CycleGAN's other expression.
        size: Side of the crop.
        width: Channels of the first layer; CycleGAN's generators have half as many.
        blocks: Residual blocks of a generator; StarGAN's 6 or CycleGAN's 9 where not given.
        critic_steps: Critics' moves to one of the generators.
        lr: Adam's learning rate.
    """

    method: Literal["stargan", "cyclegan"] = "stargan"
    mode: Literal["image", "face", "parts"] = "parts"
    back: Literal["brightness", "poisson", "delta"] = "brightness"
    source: Expression = "neutral"
    target: Expression = "happiness"
    size: int = 64
    width: int = 64
    blocks: int | None = None
    critic_steps: int = 5
    lr: float = 1e-4

    def inner(self, side: int) -> Method:
        """A new method for windows of ``side``. MienError where they are too small for its critics."""
        least = {"stargan": 16, "cyclegan": 32}[self.method]
        if side < least:
            raise MienError(f"a part of {side} px is too small for {self.method}, which needs {least}: raise --size")
        if self.method == "stargan":
            return StarGAN(
                StarGANConfig(side, self.width, self.blocks or 6, reconstruct=5.0, critic_steps=self.critic_steps)
            )
        return CycleGAN(
            CycleGANConfig(
                self.source, self.target, side, self.width // 2, self.blocks or 9, self.width, "wasserstein",
                upsampling="bilinear", critic_norm="layer", noise=0.1, critic_steps=self.critic_steps,
            )
        )  # fmt: skip


class Regions(Method):
    """A method a part; see the module's docstring. MienError for a size that the parts do not divide."""

    Config = RegionsConfig
    reads: ClassVar[frozenset[str]] = frozenset({"image", "emotion"})
    source_fields: ClassVar[tuple[str, ...]] = ("image", "emotion")
    condition: ClassVar[tuple[str, ...]] = ("emotion",)
    channels_last: ClassVar[bool] = False
    average: ClassVar[tuple[str, ...]] = tuple(
        f"{part}_{network}"
        for parts in PARTS.values()
        for part in parts
        for network in StarGAN.average + CycleGAN.average
    )
    recipe: ClassVar[Recipe] = Recipe(steps=200_000, batch=64, ema=0.999)
    config: RegionsConfig

    def __init__(self, config: RegionsConfig) -> None:
        super().__init__(config)
        if config.mode == "parts" and config.size % 16:
            raise MienError(f"--size {config.size} does not divide into parts: give a multiple of 16")
        windows = {part: window.cut(torch.empty(0, config.size, config.size)) for part, (window, _) in self._boxes()}
        # Not children: the trainer knows a method's own children, so their networks are registered under own names.
        self.parts = {part: config.inner(window.shape[-1]) for part, window in windows.items()}
        for part, inner in self.parts.items():
            for name, network in inner.named_children():
                self.add_module(f"{part}_{name}", network)
        self.source_fields = next(iter(self.parts.values())).source_fields  # type: ignore[misc]  # CycleGAN's are fewer
        if config.mode == "face":
            self.segmenter = Segmenter(SegmenterConfig())

    @property
    def knows(self) -> tuple[str, ...]:
        """What the parts' method can aim at."""
        return next(iter(self.parts.values())).knows

    def train(self, mode: bool = True) -> Regions:
        for inner in self.parts.values():
            inner.train(mode)
        super().train(mode)
        return self

    def sampler(self, table: Table, recipe: Recipe) -> Sampler:
        """As the parts' method has it: all parts learn from the same faces."""
        return next(iter(self.parts.values())).sampler(table, recipe)

    def turns(self, step: int) -> list[Turn]:
        return [
            Turn(
                f"{part}/{turn.name}",
                tuple(f"{part}_{name}" for name in turn.moves),
                partial(self.loss, part, turn),
                turn.every,
            )
            for part, inner in self.parts.items()
            for turn in inner.turns(step)
        ]

    def optimizer(self, network: str) -> Optimizer:
        return Optimizer(lr=self.config.lr, betas=(0.5, 0.99))

    def loss(self, part: str, turn: Turn, source: Faces, target: Faces) -> Terms:
        """The inner method's loss on what it sees of both faces."""
        seen = [face.having(image=self.seen(part, face.image)[0]) for face in (source, target)]
        return turn.loss(*seen)

    def edit(self, source: Faces, target: Faces, intensity: Tensor) -> Edit:
        image, delta = source.image, torch.zeros_like(source.image)
        for part, (window, _) in self._boxes():
            face, kept = self.seen(part, image)
            change = self.parts[part].edit(source.having(image=face), target, intensity).image - face
            added = change if self.config.mode == "image" else self.put_back(change, kept)
            delta = delta + window.placed(added, self.config.size)
        flow = torch.zeros_like(image[:, :2]) if self.config.back == "delta" else None
        return Edit(image + delta, flow, None if flow is None else delta)

    def seen(self, part: str, image: Tensor) -> tuple[Tensor, Tensor]:
        """The window of (B, 3, S, S) that a part's networks see, (B, 3, w, w), gray where it is not the part's; and
        how far each pixel is the part's, (B or 1, 1, w, w) in [0, 1]."""
        window, box = PARTS[self.config.mode][part]
        if self.config.mode == "face":
            with torch.no_grad():
                beyond = self.segmenter(image)[:, REGIONS.index("background")].unsqueeze(1)
            kept = (2 - 4 * beyond).clamp(0, 1)  # none of what is as likely background, all that surely is face
        else:
            size = image.shape[-1]
            kept = window.cut(box.placed(box.cut(image.new_ones(1, 1, size, size)), size))
        return window.cut(image) * kept, kept

    def put_back(self, change: Tensor, kept: Tensor) -> Tensor:
        """What is added to the photograph, (B, 3, w, w), for the ``change`` of what was seen; 0 where ``kept`` is."""
        if self.config.back == "poisson":
            return blended(change, kept)
        matte = feathered(kept, max(1, self.config.size // 20))
        return matte * (levelled(change, matte) if self.config.back == "brightness" else change)

    def _boxes(self) -> list[tuple[str, tuple[Box, Box]]]:
        return list(PARTS[self.config.mode].items())


def eroded(kept: Tensor) -> Tensor:
    """The least of each pixel of (B, 1, H, W) and the eight around it; 0 beyond the picture."""
    return -F.max_pool2d(-F.pad(kept, (1, 1, 1, 1)), 3, 1)


def feathered(kept: Tensor, margin: int) -> Tensor:
    """``kept`` with its edge a line from 0 to 1: the pixel i steps inside has weight i / (margin + 1)."""
    total = kept
    for _ in range(margin):
        kept = eroded(kept)
        total = total + kept
    return total / (margin + 1)


def levelled(change: Tensor, matte: Tensor) -> Tensor:
    """``change`` (B, 3, H, W) less one level a face, so that the edge of the part is on average as bright as it was.

    The edge is where matte (B or 1, 1, H, W) mixes part and photograph, weighted by how evenly it does.
    """
    edge = matte * (1 - matte)
    level = (edge * change).sum((1, 2, 3), keepdim=True) / (3 * edge.sum((1, 2, 3), keepdim=True)).clamp(min=1e-6)
    return change - level


def blended(change: Tensor, kept: Tensor, tolerance: float = 1e-4) -> Tensor:
    """``change`` (B, 3, H, W) plus the harmonic function that takes it to 0 at the rim of ``kept`` (Poisson blending).

    Solved by Jacobi steps under Chebyshev's acceleration: a fixed number, which brings the error below ``tolerance`` of
    the rim's mismatch for any region of the window, for none converges slower than the window itself.
    """
    inside = (eroded(kept) > 0.5).to(change.dtype)
    rim = (inside - 1) * change
    cross = change.new_tensor([[0, 0.25, 0], [0.25, 0, 0.25], [0, 0.25, 0]]).expand(3, 1, 3, 3)
    angle = [math.pi / (side - 1) for side in change.shape[-2:]]
    radius = sum(math.cos(a) for a in angle) / 2  # of Jacobi's iteration on the window without its outermost pixels
    rate = radius / (1 + math.sqrt(1 - radius**2))
    before, now, weight = rim, inside * F.conv2d(rim, cross, padding=1, groups=3) + rim, 2.0
    for _ in range(math.ceil(math.log(2 / tolerance) / -math.log(rate))):
        average = inside * F.conv2d(now, cross, padding=1, groups=3) + rim
        weight = 1 / (1 - radius**2 * weight / 4)
        before, now = now, before + weight * (average - before)
    return inside * (change + now)
