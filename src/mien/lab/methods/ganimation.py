"""GANimation: every muscle by its strength (Pumarola et al., ECCV 2018).

The generator sees a face and the wanted muscle scores, spread over the picture, and gives an attention mask A and a
colour image C: the result is (1 - A) C + A x, so A = 1 copies the photograph. The critic scores patches and reads the
scores off the picture.

Weights, from the published code: there the error of the scores is a mean over B x 17 action units, divided by the
batch of 25 once more and weighted 4000, which is 160 on the mean; the mask's total variation is a sum over 25 masks of
128 x 128 pixels weighted 1e-5, which is 4.1 on the mean. Cycle 10, gradient penalty 10 and mask size 0.1 stand on means
there too. Our scores are the 52 blendshapes or, with ``scores="units"``, the paper's action units, read off the
blendshapes by the table of ``mien.lab.collections.units``. The critic's penalty, a step of its own there, is part of
its one step.

A mask that has come to 1 everywhere copies, and the sigmoid's slope is gone: nothing pulls it back. So its size is
counted as -log(1 - A), which is A where A is small and whose slope does not fade.

Beyond the paper: an intensity. The scores fed in go in a line from the source's to the target's, and the network's
change opens from 0 with it, so that intensity 0 is the photograph itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mien.errors import MienError
from mien.expressions import BLENDSHAPES
from mien.lab.blocks import ramp
from mien.lab.collections.units import SHAPES
from mien.lab.data import Sampler, Table
from mien.lab.faces import Faces
from mien.lab.losses import gradient_penalty, total_variation, wasserstein_critic
from mien.lab.method import Edit, Method, Optimizer, Recipe, Terms, Turn
from mien.lab.methods import stargan

UNITS = (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17, 20, 26, 45)
"""Of OpenFace's 17 action units those that blendshapes tell: all but 23 and 25 (lips tightened, lips parted)."""
_COLUMNS = [[BLENDSHAPES.index(name) for name in SHAPES[unit]] for unit in UNITS]


@dataclass(frozen=True)
class GANimationConfig:
    """The published settings, their weights as the module's docstring says, at any size from 16 px up.

    Attributes:
        size: Side of the crop.
        width: Channels of the first layer, in the generator and in the critic.
        blocks: Residual blocks of the generator.
        scores: What the generator is told: the 52 blendshapes, or 15 action units, each the mean of its blendshapes.
        penalty: Weight of the gradient penalty.
        muscles: Weight of the mean squared error of the scores that the critic reads.
        reconstruct: Weight of the cycle back to the source.
        mask: Weight of the mask's size, which keeps it from copying.
        smooth: Weight of the mask's mean total variation.
        jitter: How far, at most, each score asked for in training lies from that of a real face.
        critic_steps: Critic's moves to one of the generator.
        lr: Adam's learning rate.
    """

    size: int = 128
    width: int = 64
    blocks: int = 6
    scores: Literal["blendshapes", "units"] = "blendshapes"
    penalty: float = 10.0
    muscles: float = 160.0
    reconstruct: float = 10.0
    mask: float = 0.1
    smooth: float = 4.1
    jitter: float = 0.1
    critic_steps: int = 5
    lr: float = 1e-4


class GANimation(Method):
    """Edits by muscle scores; see the module's docstring."""

    Config = GANimationConfig
    reads: ClassVar[frozenset[str]] = frozenset({"image", "blendshapes"})
    source_fields: ClassVar[tuple[str, ...]] = ("image", "blendshapes")
    condition: ClassVar[tuple[str, ...]] = ("blendshapes",)
    average: ClassVar[tuple[str, ...]] = ("generator",)
    channels_last: ClassVar[bool] = False
    recipe: ClassVar[Recipe] = Recipe(steps=200_000, batch=25, decay=1 / 3, ema=0.999)
    config: GANimationConfig

    def __init__(self, config: GANimationConfig) -> None:
        super().__init__(config)
        count = len(BLENDSHAPES if config.scores == "blendshapes" else UNITS)
        self.generator = Generator(config.width, config.blocks, count)
        self.critic = Critic(config.size, config.width, count)

    def sampler(self, table: Table, recipe: Recipe) -> Sampler:
        """Any face and any other's scores; MienError where all faces have the same."""
        if self.scores(table.faces).std(0, correction=0).max() < 0.01:
            raise MienError("every face has the same blendshapes, so no muscle can be learned: check that column")
        return super().sampler(table, recipe)

    def turns(self, step: int) -> list[Turn]:
        return [
            Turn("critic", ("critic",), self.critic_loss),
            Turn("generator", ("generator",), self.generator_loss, every=self.config.critic_steps),
        ]

    def optimizer(self, network: str) -> Optimizer:
        return Optimizer(lr=self.config.lr, betas=(0.5, 0.999))

    def edit(self, source: Faces, target: Faces, intensity: Tensor) -> Edit:
        start = self.scores(source)
        scores = start + intensity.view(-1, 1) * (self.scores(target) - start)
        changed, _ = self._changed(source.image, scores)
        return Edit(source.image + ramp(intensity) * (changed - source.image))

    def scores(self, faces: Faces) -> Tensor:
        """What generator and critic know of ``faces``, (B, N) in [0, 1]: blendshapes or action units."""
        shapes = faces.blendshapes.float()
        if self.config.scores == "blendshapes":
            return shapes
        return torch.stack([shapes[:, columns].mean(1) for columns in _COLUMNS], 1)

    def critic_loss(self, source: Faces, target: Faces) -> Terms:
        """L_D = -L_adv + lambda_y |D_y(x) - y|^2 on real faces; the scores asked for are those of others."""
        with torch.no_grad():
            fake, _ = self._changed(source.image, self._wish(target))
        real_score, read = self.critic(source.image)
        fake_score, _ = self.critic(fake)
        slope = gradient_penalty(lambda x: self.critic(x)[0].sum((1, 2, 3)), source.image, fake)
        return {
            "wasserstein": wasserstein_critic(real_score, fake_score),
            "muscles": self.config.muscles * F.mse_loss(read, self.scores(source)),
            "penalty": self.config.penalty * slope,
        }

    def generator_loss(self, source: Faces, target: Faces) -> Terms:
        """L_G = L_adv + lambda_y |D_y(fake) - y'|^2 + lambda_cyc |x - back| + both masks' size and total variation."""
        wish = self._wish(target)
        fake, first = self._changed(source.image, wish)
        back, second = self._changed(fake, self.scores(source))
        score, read = self.critic(fake)
        size = F.softplus(first).mean() + F.softplus(second).mean()  # softplus(z) = -log(1 - sigmoid(z))
        rough = total_variation(first.sigmoid()) + total_variation(second.sigmoid())
        return {
            "fool": -score.mean(),
            "muscles": self.config.muscles * F.mse_loss(read, wish),
            "reconstruct": self.config.reconstruct * F.l1_loss(back, source.image),
            "mask": self.config.mask * size,
            "smooth": self.config.smooth * rough,
        }

    def _changed(self, image: Tensor, scores: Tensor) -> tuple[Tensor, Tensor]:
        """(1 - A) C + A x, and the logits (B, 1, S, S) of A."""
        attention, colour = self.generator(image, scores)
        return image + (-attention).sigmoid() * (colour - image), attention

    def _wish(self, target: Faces) -> Tensor:
        """The target's scores, jittered so that strengths between those of the real faces are asked for too."""
        scores = self.scores(target)
        return scores + self.config.jitter * (2 * torch.rand_like(scores) - 1)


class Generator(nn.Module):
    """(image (B, 3, S, S), scores (B, N)) -> logits of A (B, 1, S, S), C (B, 3, S, S) in [-1, 1]; 8.6 M parameters.

    StarGAN's layers with two heads.
    """

    def __init__(self, width: int, blocks: int, scores: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(*stargan.body(3 + scores, width, blocks))
        self.attention = nn.Conv2d(width, 1, 7, 1, 3, bias=False)
        self.colour = nn.Sequential(nn.Conv2d(width, 3, 7, 1, 3, bias=False), nn.Tanh())

    def forward(self, image: Tensor, scores: Tensor) -> tuple[Tensor, Tensor]:
        planes = scores[:, :, None, None].expand(-1, -1, *image.shape[-2:])
        h = self.layers(torch.cat([image, planes.to(image.dtype)], 1))
        return self.attention(h).float(), self.colour(h).float()


class Critic(stargan.Critic):
    """StarGAN's, reading N scores in place of seven classes: image -> (B, 1, n, n), (B, N)."""

    def __init__(self, size: int, channels: int, scores: int) -> None:
        super().__init__(size, size, channels)
        self.label = nn.Conv2d(self.label.in_channels, scores, self.label.kernel_size[0], bias=False)
