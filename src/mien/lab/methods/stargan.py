"""StarGAN: one generator for all expressions (Choi et al., CVPR 2018; on FER2013 by Čeović et al.).

The generator sees a face and the wanted label, spread over the picture; the critic scores patches and classifies.
Both learn as the paper says: adversarial, classification and reconstruction terms, five critic steps to one of the
generator.

Beyond the paper: an intensity. The label fed in goes in a line from the source's to the target's, and the network's
change opens from 0 with it, so that intensity 0 is the photograph itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mien.expressions import EXPRESSIONS
from mien.lab.blocks import ramp
from mien.lab.faces import Faces
from mien.lab.losses import gradient_penalty, log_critic, log_generator, wasserstein_critic
from mien.lab.method import Edit, Method, Optimizer, Recipe, Terms, Turn


@dataclass(frozen=True)
class StarGANConfig:
    """The published settings, at any size from 16 px up.

    Attributes:
        size: Side of the crop.
        width: Channels of the first layer, in the generator and in the critic.
        blocks: Residual blocks of the generator.
        adversarial: wasserstein with gradient penalty (the published code) or log (the FER2013 paper's formula).
        penalty: Weight of the gradient penalty.
        classify: Weight of the classification terms.
        reconstruct: Weight of the cycle back to the source.
        critic_steps: Critic's moves to one of the generator.
        lr: Adam's learning rate.
    """

    size: int = 128
    width: int = 64
    blocks: int = 6
    adversarial: Literal["wasserstein", "log"] = "wasserstein"
    penalty: float = 10.0
    classify: float = 1.0
    reconstruct: float = 10.0
    critic_steps: int = 5
    lr: float = 1e-4


class StarGAN(Method):
    """Edits by label; see the module's docstring."""

    Config = StarGANConfig
    reads: ClassVar[frozenset[str]] = frozenset({"image", "emotion"})
    source_fields: ClassVar[tuple[str, ...]] = ("image", "emotion")
    condition: ClassVar[tuple[str, ...]] = ("emotion",)
    average: ClassVar[tuple[str, ...]] = ("generator",)
    channels_last: ClassVar[bool] = False
    recipe: ClassVar[Recipe] = Recipe(steps=200_000, batch=16, ema=0.999)
    config: StarGANConfig

    def __init__(self, config: StarGANConfig) -> None:
        super().__init__(config)
        self.generator = Generator(config.width, config.blocks)
        self.critic = Critic(config.size, config.size, config.width)

    def turns(self, step: int) -> list[Turn]:
        return [
            Turn("critic", ("critic",), self.critic_loss),
            Turn("generator", ("generator",), self.generator_loss, every=self.config.critic_steps),
        ]

    def optimizer(self, network: str) -> Optimizer:
        return Optimizer(lr=self.config.lr, betas=(0.5, 0.999))

    def edit(self, source: Faces, target: Faces, intensity: Tensor) -> Edit:
        image, share = source.image, intensity.view(-1, 1)
        label = (1 - share) * one_hot(source.emotion) + share * one_hot(target.emotion)
        changed = self.generator(image, label)
        return Edit(image + ramp(intensity) * (changed - image))

    def critic_loss(self, source: Faces, target: Faces) -> Terms:
        """L_D = -L_adv + lambda_cls L_cls(real); the labels asked for are those of other faces."""
        with torch.no_grad():
            fake = self.generator(source.image, one_hot(target.emotion))
        real_score, real_class = self.critic(source.image)
        fake_score, _ = self.critic(fake)
        terms = {"classify": self.config.classify * F.cross_entropy(real_class, source.emotion)}
        if self.config.adversarial == "log":
            return terms | {"log": log_critic(real_score, fake_score)}
        slope = gradient_penalty(lambda x: self.critic(x)[0].sum((1, 2, 3)), source.image, fake)
        return terms | {
            "wasserstein": wasserstein_critic(real_score, fake_score),
            "penalty": self.config.penalty * slope,
        }

    def generator_loss(self, source: Faces, target: Faces) -> Terms:
        """L_G = L_adv + lambda_cls L_cls(fake) + lambda_rec |x - G(G(x, c), c')|."""
        fake = self.generator(source.image, one_hot(target.emotion))
        score, label = self.critic(fake)
        back = self.generator(fake, one_hot(source.emotion))
        return {
            "fool": log_generator(score) if self.config.adversarial == "log" else -score.mean(),
            "classify": self.config.classify * F.cross_entropy(label, target.emotion),
            "reconstruct": self.config.reconstruct * F.l1_loss(back, source.image),
        }


class Generator(nn.Module):
    """(image (B, 3, S, S), label (B, 7)) -> image; 8.4 M parameters at width 64 with six blocks.

    Padding is by zeros: with reflection, instance norm would remove what a constant label plane adds.
    """

    def __init__(self, width: int, blocks: int) -> None:
        super().__init__()
        layers = body(3 + len(EXPRESSIONS), width, blocks)
        self.layers = nn.Sequential(*layers, nn.Conv2d(width, 3, 7, 1, 3, bias=False), nn.Tanh())

    def forward(self, image: Tensor, label: Tensor) -> Tensor:
        planes = label[:, :, None, None].expand(-1, -1, *image.shape[-2:])
        return self.layers(torch.cat([image, planes.to(image.dtype)], 1)).float()


class Residual(nn.Module):
    """Two 3x3 convolutions with instance norm around a skip."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *_unit(nn.Conv2d(width, width, 3, 1, 1, bias=False), width),
            nn.Conv2d(width, width, 3, 1, 1, bias=False),
            nn.InstanceNorm2d(width, affine=True),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class Critic(nn.Module):
    """Picture (B, 3, height, width) -> patch scores (B, 1, n, m) and class logits (B, 7).

    Halved until the shorter side has two or three patches: at 128 px six times, as published. The trunk begins as He
    et al. (2015) have it: from PyTorch's own start, a critic that must also be steep told smiles from calm faces after
    300 steps rather than 100, and beside a generator not in 1,000.
    """

    def __init__(self, height: int, width: int, channels: int) -> None:
        super().__init__()
        halvings = min(6, min(height, width).bit_length() - 2)
        layers: list[nn.Module] = []
        inputs, outputs = 3, channels
        for _ in range(halvings):
            convolution = nn.Conv2d(inputs, outputs, 4, 2, 1)
            nn.init.kaiming_normal_(convolution.weight, 0.01)
            nn.init.zeros_(convolution.bias)  # type: ignore[arg-type]
            layers += [convolution, nn.LeakyReLU(0.01)]
            inputs, outputs = outputs, 2 * outputs
        self.trunk = nn.Sequential(*layers)
        self.score = nn.Conv2d(inputs, 1, 3, 1, 1, bias=False)
        self.label = nn.Conv2d(inputs, len(EXPRESSIONS), (height >> halvings, width >> halvings), bias=False)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        h = self.trunk(image)
        return self.score(h).float(), self.label(h).float().mean((2, 3))


def one_hot(emotion: Tensor) -> Tensor:
    """(B,) indices -> (B, 7)."""
    return F.one_hot(emotion.long(), len(EXPRESSIONS)).float()


def body(inputs: int, width: int, blocks: int) -> list[nn.Module]:
    """(B, inputs, S, S) -> (B, width, S, S): down to a quarter of the side, residual blocks, up again."""
    w = width
    layers = _unit(nn.Conv2d(inputs, w, 7, 1, 3, bias=False), w)
    for _ in range(2):
        layers += _unit(nn.Conv2d(w, 2 * w, 4, 2, 1, bias=False), 2 * w)
        w *= 2
    layers += [Residual(w) for _ in range(blocks)]
    for _ in range(2):
        layers += _unit(nn.ConvTranspose2d(w, w // 2, 4, 2, 1, bias=False), w // 2)
        w //= 2
    return layers


def _unit(convolution: nn.Module, width: int) -> list[nn.Module]:
    return [convolution, nn.InstanceNorm2d(width, affine=True), nn.ReLU()]
