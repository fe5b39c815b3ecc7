"""emotion: an aligned crop -> the seven expressions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mien.expressions import EXPRESSIONS
from mien.lab.augment import relit, wobbled
from mien.lab.faces import Faces
from mien.lab.method import Method, Optimizer, Recipe, Terms, Turn
from mien.lab.readers.trunk import trunk


@dataclass(frozen=True)
class EmotionConfig:
    """size: side of the crop, which is read in gray. widths: channels of the trunk's stages."""

    size: int = 64
    widths: tuple[int, ...] = (64, 128, 192)
    smoothing: float = 0.1


class Emotion(Method):
    """Classification by cross entropy with label smoothing, for labels as noisy as FER2013's."""

    Config = EmotionConfig
    reads: ClassVar[frozenset[str]] = frozenset({"image", "emotion"})
    condition: ClassVar[tuple[str, ...]] = ()
    average: ClassVar[tuple[str, ...]] = ("network",)
    recipe: ClassVar[Recipe] = Recipe(batch=64, steps=3000, balance=(0.4, 0.4), ema=0.999, decay=0.5)
    config: EmotionConfig

    def __init__(self, config: EmotionConfig) -> None:
        super().__init__(config)
        self.network = nn.Sequential(
            nn.PixelUnshuffle(2),
            nn.Conv2d(4, 32, 3, padding=1, bias=False),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            trunk(32, config.widths),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Dropout(0.4),
            nn.Linear(config.widths[-1], len(EXPRESSIONS)),
        )

    def turns(self, step: int) -> list[Turn]:
        return [Turn("network", ("network",), self.loss)]

    def optimizer(self, network: str) -> Optimizer:
        return Optimizer(lr=1e-3, betas=(0.9, 0.99), weight_decay=1e-5)

    def loss(self, source: Faces, target: Faces) -> Terms:
        """Both draws of faces are learned from alike."""
        image = torch.cat([source.image, target.image])
        truth = torch.cat([source.emotion, target.emotion])
        read = self.logits(relit(wobbled(image, roll=15, scale=0.12, shift=0.06), 0.4)).float()
        return {"entropy": F.cross_entropy(read, truth, label_smoothing=self.config.smoothing)}

    def logits(self, image: Tensor) -> Tensor:
        """(B, 3, S, S) in [-1, 1] -> (B, 7), each picture brought to the same brightness and contrast first."""
        gray = image.mean(1, keepdim=True)
        gray = (gray - gray.mean((2, 3), keepdim=True)) / (gray.std((2, 3), keepdim=True) + 0.1)
        return self.network(gray)

    def forward(self, image: Tensor) -> Tensor:
        """(B, 3, S, S) in [-1, 1] -> (B, 7) probabilities in the order of ``mien.expressions.EXPRESSIONS``."""
        return self.logits(image).softmax(1)
