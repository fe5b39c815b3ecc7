"""muscles: an aligned crop -> its 52 blendshape scores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mien.expressions import BLENDSHAPES
from mien.lab.augment import degraded, relit, wobbled
from mien.lab.faces import Faces
from mien.lab.method import Method, Optimizer, Recipe, Terms, Turn
from mien.lab.readers.trunk import trunk


@dataclass(frozen=True)
class MusclesConfig:
    """size: side of the crop. widths: channels of the trunk's stages."""

    size: int = 128
    widths: tuple[int, ...] = (24, 48, 96, 128)


class Muscles(Method):
    """Each score is read as a chance, by cross entropy, on wobbled, relit and degraded crops.

    Mean absolute error stays on a plateau here: half of the faces do not smile, so its best constant is no smile.
    """

    Config = MusclesConfig
    reads: ClassVar[frozenset[str]] = frozenset({"image", "blendshapes"})
    condition: ClassVar[tuple[str, ...]] = ()
    average: ClassVar[tuple[str, ...]] = ("network",)
    recipe: ClassVar[Recipe] = Recipe(batch=32, steps=2000, balance=(0.0, 0.7), ema=0.999, decay=0.5)
    config: MusclesConfig

    def __init__(self, config: MusclesConfig) -> None:
        super().__init__(config)
        side = config.size // 2 ** (len(config.widths) + 1)
        self.network = nn.Sequential(
            nn.PixelUnshuffle(2),
            trunk(12, config.widths),
            nn.Flatten(),
            nn.Linear(config.widths[-1] * side**2, len(BLENDSHAPES)),
        )

    def turns(self, step: int) -> list[Turn]:
        return [Turn("network", ("network",), self.loss)]

    def optimizer(self, network: str) -> Optimizer:
        return Optimizer(lr=1e-3, betas=(0.9, 0.99), weight_decay=1e-5)

    def loss(self, source: Faces, target: Faces) -> Terms:
        """Both draws of faces are learned from alike."""
        image = torch.cat([source.image, target.image])
        truth = torch.cat([source.blendshapes, target.blendshapes])
        read = self.network(relit(degraded(wobbled(image)), 0.3)).float()
        return {"entropy": F.binary_cross_entropy_with_logits(read, truth)}

    def forward(self, image: Tensor) -> Tensor:
        """(B, 3, S, S) in [-1, 1] -> (B, 52) in [0, 1]."""
        return self.network(image).sigmoid()
