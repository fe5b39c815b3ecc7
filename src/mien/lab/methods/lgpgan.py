"""LGP-GAN: eyes and mouth by networks of their own, then the whole face (Xia et al. 2021).

Stage I: a local generator each for eyes and mouth, with a critic that scores patches and classifies the expression.
Stage II: a global generator takes the face with the local results placed in it. Every generator gives an attention
mask A and a colour image C: its result is (1 - A) x + A C, so where A is 0 the picture stays. Each of the three learns,
beside the others from step 0, by adversarial (WGAN-GP), classification, cycle and identity terms of its own place.

The paper finds eyes and mouth by landmarks, picture by picture; crops are aligned to eyes, nose and mouth corners, so
here the regions are the same rectangles in every crop, and an edit needs no landmarks. Each stage learns by its own
losses alone; the paper trains end to end. The survey gives no weights and no sizes: the weights are StarGAN's and, for
the identity term, CycleGAN's; the generators are StarGAN's with two heads.

Beyond the paper: an intensity. The label fed in goes in a line from the source's to the target's, and the networks'
change opens from 0 with it, so that intensity 0 is the photograph itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mien.errors import MienError
from mien.expressions import EXPRESSIONS
from mien.lab.blocks import ramp
from mien.lab.faces import Faces
from mien.lab.losses import gradient_penalty, wasserstein_critic
from mien.lab.method import Edit, Method, Optimizer, Recipe, Terms, Turn
from mien.lab.methods.regions import WHOLE, Box
from mien.lab.methods.stargan import Critic, body, one_hot

LOCAL = {"eyes": Box(0.125, 0.125, 0.875, 0.5), "mouth": Box(0.25, 0.625, 0.75, 1.0)}
"""Where stage I works: brows, eyes and mouths of 98 in 100 of LFW's aligned crops lie within on every side."""

PLACES = LOCAL | {"face": WHOLE}


@dataclass(frozen=True)
class LGPGANConfig:
    """At any size that is a multiple of 32.

    Attributes:
        size: Side of the crop.
        width: Channels of the first layer, in the generators and in the critics.
        blocks: Residual blocks of a generator.
        penalty: Weight of the gradient penalty.
        classify: Weight of the classification terms.
        cycle: Weight of the way back to the source.
        identity: Weight of leaving alone what is as wanted already.
        critic_steps: Critics' moves to one of the generators.
        lr: Adam's learning rate.
    """

    size: int = 128
    width: int = 64
    blocks: int = 6
    penalty: float = 10.0
    classify: float = 1.0
    cycle: float = 10.0
    identity: float = 5.0
    critic_steps: int = 5
    lr: float = 1e-4


class LGPGAN(Method):
    """Edits by label; see the module's docstring. MienError for a size that is no multiple of 32."""

    Config = LGPGANConfig
    reads: ClassVar[frozenset[str]] = frozenset({"image", "emotion"})
    source_fields: ClassVar[tuple[str, ...]] = ("image", "emotion")
    condition: ClassVar[tuple[str, ...]] = ("emotion",)
    average: ClassVar[tuple[str, ...]] = tuple(f"{place}_generator" for place in PLACES)
    channels_last: ClassVar[bool] = False
    recipe: ClassVar[Recipe] = Recipe(steps=200_000, batch=16, ema=0.999)
    config: LGPGANConfig

    def __init__(self, config: LGPGANConfig) -> None:
        super().__init__(config)
        if config.size % 32:
            raise MienError(f"--size {config.size} does not divide into eyes and mouth: give a multiple of 32")
        self.eyes_generator, self.mouth_generator, self.face_generator = (
            Generator(config.width, config.blocks) for _ in PLACES
        )
        self.eyes_critic, self.mouth_critic, self.face_critic = (
            Critic(bottom - top, right - left, config.width)
            for left, top, right, bottom in (box.pixels(config.size) for box in PLACES.values())
        )

    @property
    def generators(self) -> dict[str, Generator]:
        return {"eyes": self.eyes_generator, "mouth": self.mouth_generator, "face": self.face_generator}

    @property
    def critics(self) -> dict[str, Critic]:
        return {"eyes": self.eyes_critic, "mouth": self.mouth_critic, "face": self.face_critic}

    def turns(self, step: int) -> list[Turn]:
        """Stage I, then stage II: at each place the critic, then its generator."""
        every = self.config.critic_steps
        return [
            turn
            for place in PLACES
            for turn in (
                Turn(f"{place}/critic", (f"{place}_critic",), partial(self.critic_loss, place)),
                Turn(f"{place}/generator", (f"{place}_generator",), partial(self.generator_loss, place), every),
            )
        ]

    def optimizer(self, network: str) -> Optimizer:
        return Optimizer(lr=self.config.lr, betas=(0.5, 0.999))

    def edit(self, source: Faces, target: Faces, intensity: Tensor) -> Edit:
        image, share = source.image, intensity.view(-1, 1)
        label = (1 - share) * one_hot(source.emotion) + share * one_hot(target.emotion)
        return Edit(image + ramp(intensity) * (self.changed("face", image, label) - image))

    def changed(self, place: str, image: Tensor, label: Tensor) -> Tensor:
        """The picture of a place, (B, 3, h, w), with the expression ``label`` (B, 7); a face by way of stage I."""
        if place == "face":
            image = self.assembled(image, label)
        return self.generators[place](image, label)

    def assembled(self, image: Tensor, label: Tensor) -> Tensor:
        """Stage II's input: the face (B, 3, S, S) with stage I's eyes and mouth in their places."""
        for place, box in LOCAL.items():
            seen = box.cut(image)
            image = image + box.placed(self.changed(place, seen, label) - seen, image.shape[-1])
        return image

    def critic_loss(self, place: str, source: Faces, target: Faces) -> Terms:
        """L_D = -L_adv + lambda_gp L_gp + lambda_cls L_cls(real) at one place."""
        real, critic = PLACES[place].cut(source.image), self.critics[place]
        with torch.no_grad():
            fake = self.changed(place, real, one_hot(target.emotion))
        score, label = critic(real)
        slope = gradient_penalty(lambda x: critic(x)[0].sum((1, 2, 3)), real, fake)
        return {
            "wasserstein": wasserstein_critic(score, critic(fake)[0]),
            "penalty": self.config.penalty * slope,
            "classify": self.config.classify * F.cross_entropy(label, source.emotion),
        }

    def generator_loss(self, place: str, source: Faces, target: Faces) -> Terms:
        """L_G = L_adv + lambda_cls L_cls(fake) + lambda_cyc |x - G(G(x, c), c')| + lambda_id |x - G(x, c')|."""
        real, own = PLACES[place].cut(source.image), one_hot(source.emotion)
        fake = self.changed(place, real, one_hot(target.emotion))
        score, label = self.critics[place](fake)
        return {
            "fool": -score.mean(),
            "classify": self.config.classify * F.cross_entropy(label, target.emotion),
            "cycle": self.config.cycle * F.l1_loss(self.changed(place, fake, own), real),
            "identity": self.config.identity * F.l1_loss(self.changed(place, real, own), real),
        }


class Generator(nn.Module):
    """(picture (B, 3, h, w), label (B, 7)) -> (1 - A) picture + A C; h and w are multiples of 4."""

    def __init__(self, width: int, blocks: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(*body(3 + len(EXPRESSIONS), width, blocks))
        self.colour = nn.Sequential(nn.Conv2d(width, 3, 7, 1, 3, bias=False), nn.Tanh())
        self.attention = nn.Sequential(nn.Conv2d(width, 1, 7, 1, 3, bias=False), nn.Sigmoid())

    def forward(self, image: Tensor, label: Tensor) -> Tensor:
        planes = label[:, :, None, None].expand(-1, -1, *image.shape[-2:])
        h = self.layers(torch.cat([image, planes.to(image.dtype)], 1))
        return image + self.attention(h).float() * (self.colour(h).float() - image)
