"""identity: an aligned crop -> an embedding in which photographs of one person lie close together.

An Xception trunk (Chollet 2017) under the triplet loss with semi-hard negatives (Schroff et al. 2015): the embedder of
the StarGAN v2 identity paper, trained on LFW's people with two photographs or more.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mien.lab.augment import degraded, relit, wobbled
from mien.lab.data import Sampler, Table, same_person
from mien.lab.faces import Faces
from mien.lab.losses import triplet
from mien.lab.method import Method, Optimizer, Recipe, Terms, Turn


@dataclass(frozen=True)
class IdentityConfig:
    """Size of the network and shape of its batches.

    Attributes:
        size: Side of the crop; other sizes are brought to it.
        widths: Channels of the trunk's stages, each of half the side.
        middle: Separable residual blocks at the last stage.
        length: Length of the embedding.
        margin: How much closer the same person has to be, in squared distance.
        photos: Photographs a person in each half of a batch.
    """

    size: int = 64
    widths: tuple[int, ...] = (64, 128, 256)
    middle: int = 3
    length: int = 128
    margin: float = 0.2
    photos: int = 2


class Identity(Method):
    """See the module's docstring."""

    Config = IdentityConfig
    reads: ClassVar[frozenset[str]] = frozenset({"image", "identity"})
    condition: ClassVar[tuple[str, ...]] = ()
    average: ClassVar[tuple[str, ...]] = ("network",)
    recipe: ClassVar[Recipe] = Recipe(batch=64, steps=4000, ema=0.999, decay=0.5)
    config: IdentityConfig

    def __init__(self, config: IdentityConfig) -> None:
        super().__init__(config)
        self.network = nn.Sequential(
            nn.Conv2d(3, 32, 3, 2, 1, bias=False),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            xception(32, config.widths, config.middle),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
            nn.Dropout(0.2),
            nn.Linear(4 * config.widths[-1], config.length),
        )

    def sampler(self, table: Table, recipe: Recipe) -> Sampler:
        """Several photographs of each person in every batch."""
        return same_person(table.faces.identity, self.config.photos, recipe.batch, recipe.seed)

    def turns(self, step: int) -> list[Turn]:
        return [Turn("network", ("network",), self.loss)]

    def optimizer(self, network: str) -> Optimizer:
        return Optimizer(lr=1e-3, betas=(0.9, 0.99), weight_decay=1e-5)

    def loss(self, source: Faces, target: Faces) -> Terms:
        """Both draws of faces are of the same people and count alike."""
        image = torch.cat([source.image, target.image])
        person = torch.cat([source.identity, target.identity])
        read = self(relit(degraded(wobbled(image)), 0.3))
        return {"triplet": triplet(read, person, self.config.margin)}

    def forward(self, image: Tensor) -> Tensor:
        """(B, 3, S, S) in [-1, 1] -> (B, length), of length 1."""
        if image.shape[-1] != self.config.size:
            image = F.interpolate(image, size=self.config.size, mode="bilinear", antialias=True)
        return F.normalize(self.network(image).float(), dim=1)


def xception(inputs: int, widths: tuple[int, ...], middle: int) -> nn.Sequential:
    """Entry flow of stages that halve the side, then ``middle`` blocks that keep it."""
    layers: list[nn.Module] = []
    for width in widths:
        layers.append(Block(inputs, width, 2))
        inputs = width
    return nn.Sequential(*layers, *[Block(inputs, inputs, 1) for _ in range(middle)], nn.ReLU())


class Block(nn.Module):
    """Two separable convolutions, each after a ReLU, around a skip; with stride 2 both paths halve the side."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.ReLU(),
            *_separable(inputs, outputs),
            nn.ReLU(),
            *_separable(outputs, outputs),
            nn.MaxPool2d(3, 2, 1) if stride == 2 else nn.Identity(),
        )
        self.skip: nn.Module = nn.Identity()
        if stride == 2:
            self.skip = nn.Sequential(nn.Conv2d(inputs, outputs, 1, 2, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        return self.skip(x) + self.body(x)


def _separable(inputs: int, outputs: int) -> list[nn.Module]:
    return [
        nn.Conv2d(inputs, inputs, 3, padding=1, groups=inputs, bias=False),
        nn.Conv2d(inputs, outputs, 1, bias=False),
        nn.BatchNorm2d(outputs),
    ]
