"""LAUN: StarGAN with an L2 reconstruction, a contextual loss and an attention U-net (Wang et al., IEEE Access 2020).

The contextual loss (Mechrez et al. 2018) asks that every local feature of the photograph finds one like it in the edit,
wherever it has moved to. The paper compares features of an ImageNet VGG19; ours come from mien's own ``vgg19`` reader,
of the same layout and trained on expressions.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mien.expressions import EXPRESSIONS
from mien.lab.faces import Faces
from mien.lab.losses import log_generator
from mien.lab.method import Terms
from mien.lab.methods.stargan import Residual, StarGAN, StarGANConfig, one_hot
from mien.lab.readers.vgg19 import VGG19, VGG19Config

THIRD_STAGE = 26
"""Layers of the reader up to its third pooling: 256 channels at a quarter of its side."""


@dataclass(frozen=True)
class LAUNConfig(StarGANConfig):
    """StarGAN's settings, and the weight of the contextual loss; ``reconstruct`` weighs a squared difference here.

    Attributes:
        contextual: Weight of the contextual loss between photograph and edit.
        vgg19_width: Channels of the first stage of the vgg19 reader.
    """

    contextual: float = 1.0
    vgg19_width: int = 64


class LAUN(StarGAN):
    """Edits by label; see the module's docstring."""

    Config = LAUNConfig
    config: LAUNConfig

    def __init__(self, config: LAUNConfig) -> None:
        super().__init__(config)
        self.add_module("generator", AttentionUNet(config.width, config.blocks))  # in place of StarGAN's
        self.vgg19 = VGG19(VGG19Config(width=config.vgg19_width)).requires_grad_(False)

    def generator_loss(self, source: Faces, target: Faces) -> Terms:
        """L_G = L_adv + lambda_cls L_cls(fake) + lambda_rec (x - G(G(x, c), c'))^2 + lambda_cx L_cx(fake, x)."""
        c = self.config
        fake = self.generator(source.image, one_hot(target.emotion))
        score, label = self.critic(fake)
        back = self.generator(fake, one_hot(source.emotion))
        return {
            "fool": log_generator(score) if c.adversarial == "log" else -score.mean(),
            "classify": c.classify * F.cross_entropy(label, target.emotion),
            "reconstruct": c.reconstruct * F.mse_loss(back, source.image),
            "contextual": c.contextual * contextual(self.features(fake), self.features(source.image)),
        }

    def features(self, image: Tensor) -> Tensor:
        """Local features of ``image`` at a quarter of the reader's side, (B, C, n, n)."""
        gray = F.interpolate(image, size=self.vgg19.config.size, mode="bilinear", antialias=True).mean(1, keepdim=True)
        return self.vgg19.network[:THIRD_STAGE](gray)


def contextual(edit: Tensor, photo: Tensor, bandwidth: float = 0.5) -> Tensor:
    """Contextual loss of features (B, C, H, W): 0 where each one of ``photo`` has its own like in ``edit``.

    Cosine distances around the photograph's mean, relative to the nearest, made affinities (equations 2 to 4), of which
    the best for each feature of the photograph count (equation 1). In single precision: it divides by small distances.
    """
    with torch.autocast(edit.device.type, enabled=False):
        centre = photo.float().mean((0, 2, 3), keepdim=True)
        x, y = (F.normalize((features.float() - centre).flatten(2), dim=1) for features in (edit, photo))
        distance = (1 - x.transpose(1, 2) @ y).clamp(min=0)  # (B, features of edit, features of photo)
        relative = distance / (distance.amin(2, keepdim=True) + 1e-5)
        affinity = ((1 - relative) / bandwidth).softmax(2)
        return -affinity.amax(1).mean(1).log().mean()


class AttentionUNet(nn.Module):
    """(image (B, 3, S, S), label (B, 7)) -> image: StarGAN's generator with gated skips (Oktay et al. 2018)."""

    def __init__(self, width: int, blocks: int) -> None:
        super().__init__()
        w = width
        self.full = _unit(nn.Conv2d(3 + len(EXPRESSIONS), w, 7, 1, 3, bias=False), w)
        self.second = _unit(nn.Conv2d(w, 2 * w, 4, 2, 1, bias=False), 2 * w)
        self.quarter = _unit(nn.Conv2d(2 * w, 4 * w, 4, 2, 1, bias=False), 4 * w)
        self.middle = nn.Sequential(*[Residual(4 * w) for _ in range(blocks)])
        self.up = nn.ModuleList([Up(4 * w), Up(2 * w)])
        self.last = nn.Sequential(nn.Conv2d(w, 3, 7, 1, 3, bias=False), nn.Tanh())

    def forward(self, image: Tensor, label: Tensor) -> Tensor:
        planes = label[:, :, None, None].expand(-1, -1, *image.shape[-2:])
        full = self.full(torch.cat([image, planes.to(image.dtype)], 1))
        half = self.second(full)
        h = self.middle(self.quarter(half))
        for up, skip in zip(self.up, (half, full), strict=True):
            h = up(h, skip)
        return self.last(h).float()


class Up(nn.Module):
    """Double the side at half the width, and join the skip where what comes from below attends to it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        w = width // 2
        self.wide = _unit(nn.ConvTranspose2d(width, w, 4, 2, 1, bias=False), w)
        self.wanted, self.offered = (
            nn.Sequential(nn.Conv2d(w, w // 2, 1, bias=False), nn.InstanceNorm2d(w // 2, affine=True)) for _ in range(2)
        )
        self.gate = nn.Sequential(nn.ReLU(), nn.Conv2d(w // 2, 1, 1), nn.Sigmoid())
        self.join = _unit(nn.Conv2d(2 * w, w, 3, 1, 1, bias=False), w)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        x = self.wide(x)
        return self.join(torch.cat([x, skip * self.gate(self.wanted(x) + self.offered(skip))], 1))


def _unit(convolution: nn.Module, width: int) -> nn.Sequential:
    return nn.Sequential(convolution, nn.InstanceNorm2d(width, affine=True), nn.ReLU())
