"""vgg19: an aligned crop -> the seven expressions, by the classifier that cleans labels in the paper on noise.

"StarGAN v2 Enhancement: Tackling Noise And Identity Preservation" names it FER: VGG19 (Simonyan & Zisserman 2015) with
batch norm, one linear layer in place of the three, trained on FER2013 to 70 % on the validation set. That public code
learns by SGD (0.01, momentum 0.9, weight decay 5e-4) on crops of 44 px shifted within 48 and answers with the mean of
ten crops. Ours learns by Adam as every method here does, shifts and turns the whole crop a little, and answers at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mien.errors import MienError
from mien.expressions import EXPRESSIONS
from mien.lab.augment import relit, wobbled
from mien.lab.faces import Faces
from mien.lab.method import Method, Optimizer, Recipe, Terms, Turn

LAYOUTS = {depth: ((1, 2), (2, 2), (4, n), (8, n), (8, n)) for depth, n in ((16, 3), (19, 4))}
"""VGG's five stages: channels in multiples of the first stage's, and 3x3 convolutions before the pooling."""


@dataclass(frozen=True)
class VGG19Config:
    """size: side of the crop, which is read in gray; 32 or more. width: channels of the first stage; VGG19 has 64
    (20.0 M parameters), 16 make it narrow (1.3 M). dropout: before the last layer. depth: 19, or 16 for VGG16."""

    size: int = 48
    width: int = 64
    dropout: float = 0.5
    depth: int = 19


class VGG19(Method):
    """Classification by plain cross entropy, as in the paper's classifier."""

    Config = VGG19Config
    reads: ClassVar[frozenset[str]] = frozenset({"image", "emotion"})
    condition: ClassVar[tuple[str, ...]] = ()
    average: ClassVar[tuple[str, ...]] = ("network",)
    recipe: ClassVar[Recipe] = Recipe(batch=64, steps=20_000, ema=0.999, decay=0.5)
    config: VGG19Config

    def __init__(self, config: VGG19Config) -> None:
        super().__init__(config)
        if config.depth not in LAYOUTS:
            raise MienError(f"--depth {config.depth}: choose one of {', '.join(map(str, LAYOUTS))}")
        layout = LAYOUTS[config.depth]
        if config.size < 2 ** len(layout):
            raise MienError(f"--size {config.size}: five poolings leave nothing of it; give 32 or more")
        layers: list[nn.Module] = []
        inputs = 1
        for multiple, convolutions in layout:
            for _ in range(convolutions):
                outputs = multiple * config.width
                layers += [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
                inputs = outputs
            layers.append(nn.MaxPool2d(2))
        layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(config.dropout)]
        self.network = nn.Sequential(*layers, nn.Linear(inputs, len(EXPRESSIONS)))

    def turns(self, step: int) -> list[Turn]:
        return [Turn("network", ("network",), self.loss)]

    def optimizer(self, network: str) -> Optimizer:
        return Optimizer(lr=1e-3, betas=(0.9, 0.99), weight_decay=1e-5)

    def loss(self, source: Faces, target: Faces) -> Terms:
        """Both draws of faces are learned from alike; shifts reach 2 pixels of 48, as the public code's crops do."""
        image = torch.cat([source.image, target.image])
        truth = torch.cat([source.emotion, target.emotion])
        read = self.logits(relit(wobbled(image, roll=10, scale=0.1, shift=2 / 48), 0.3)).float()
        return {"entropy": F.cross_entropy(read, truth)}

    def logits(self, image: Tensor) -> Tensor:
        """(B, 3, S, S) in [-1, 1] -> (B, 7)."""
        return self.network(image.mean(1, keepdim=True))

    def forward(self, image: Tensor) -> Tensor:
        """(B, 3, S, S) in [-1, 1] -> (B, 7) probabilities in the order of ``mien.expressions.EXPRESSIONS``."""
        return self.logits(image).softmax(1)
