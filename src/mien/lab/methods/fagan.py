"""FA-GAN: who somebody is and how he looks, kept apart by two encoders (after Luo et al., IEEE TIFS 2021).

The identity encoder keeps the face as a map of features. The attribute encoder says how it looks just now: a
probability for each expression, and a vector of what else varies. The decoder puts the two together. A guesser tries to
tell the expression from map and vector alone, and the encoders learn to leave it no clue. What is kept must come out of
the edit again; the expression asked for, too, as the critic sees it, whose label is learned from real faces alone: an
encoder that also learned to see it in edits would agree with the decoder on a sign of their own.

An edit is the photograph plus the difference between two decodings of its identity map, with the attributes asked for
and with its own: what the two encoders cannot hold, hair and background and grain, stays as it was, and an intensity of
0 is the photograph itself.

The paper was read in its abstract and in what the StarGAN v2 identity paper says of it: this leaves out its graph
convolutions over face parts, and its critic is in the manner of ``flowfill``. What the decoder's features pass through
has norms all the way: without them a few hundred steps of the adversarial loss drive them to where tanh is flat.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mien.errors import MienError
from mien.expressions import EXPRESSIONS
from mien.lab.blocks import Modulated, Stage
from mien.lab.faces import Faces
from mien.lab.losses import hinge_critic
from mien.lab.method import Edit, Method, Optimizer, Recipe, Terms, Turn
from mien.lab.methods.stargan import one_hot


@dataclass(frozen=True)
class FAGANConfig:
    """Sizes and weights.

    Attributes:
        size: Side of the crop, a multiple of 16.
        width: A quarter of the channels of the identity map, and those of the critic's first layer; a multiple of 8.
        blocks: Residual blocks of the decoder.
        attributes: Length of the vector of what varies beside the expression.
        classify: Weight of the classification terms.
        reconstruct: Weight of the source as its own two codes give it back.
        identity: Weight of the difference between the source's and the edit's identity map.
        attribute: Weight of the difference between what else varies in the source and in the edit.
        confuse: Weight of leaving the guesser without a clue.
    """

    size: int = 128
    width: int = 64
    blocks: int = 3
    attributes: int = 32
    classify: float = 1.0
    reconstruct: float = 10.0
    identity: float = 1.0
    attribute: float = 1.0
    confuse: float = 0.3


class FAGAN(Method):
    """Edits by label: the expression's probabilities go in a line from the source's own to the label asked for."""

    Config = FAGANConfig
    reads: ClassVar[frozenset[str]] = frozenset({"image", "emotion"})
    condition: ClassVar[tuple[str, ...]] = ("emotion",)
    average: ClassVar[tuple[str, ...]] = ("person", "look", "decoder")
    recipe: ClassVar[Recipe] = Recipe(steps=100_000, batch=16, balance=(1.0, 1.0), ema=0.999)
    config: FAGANConfig

    def __init__(self, config: FAGANConfig) -> None:
        super().__init__(config)
        if config.size % 16 or config.width % 8:
            raise MienError(f"--size {config.size} --width {config.width}: give a multiple of 16 and a multiple of 8")
        w, classes = config.width, len(EXPRESSIONS)
        self.person = _encoder(w)
        self.look = nn.Sequential(_encoder(w), _summary(4 * w, config.size // 4, classes + config.attributes))
        self.decoder = Decoder(w, config.blocks, classes + config.attributes)
        self.guesser = Guesser(config.size, w, config.attributes)
        self.critic = Critic(config.size, w)

    def turns(self, step: int) -> list[Turn]:
        return [
            Turn("critic", ("critic",), self.critic_loss),
            Turn("guesser", ("guesser",), self.guesser_loss),
            Turn("generator", ("person", "look", "decoder"), self.generator_loss),
        ]

    def optimizer(self, network: str) -> Optimizer:
        return Optimizer(lr=4e-4, betas=(0.5, 0.99))

    def edit(self, source: Faces, target: Faces, intensity: Tensor) -> Edit:
        image = source.image
        person, own = self.person(image), self.attributes(image)
        asked = _asked(own, target.emotion, intensity.view(-1, 1))
        return Edit(image + (self.decoder(person, asked) - self.decoder(person, own)))

    def attributes(self, image: Tensor) -> Tensor:
        """(B, 7 + A): how likely each expression is, and what else varies, in [-1, 1]."""
        feeling, rest = self._read(image)
        return torch.cat([feeling.softmax(1), rest], 1)

    def critic_loss(self, source: Faces, target: Faces) -> Terms:
        """Real against edited, and the labels of real faces."""
        with torch.no_grad():
            fake = self.edit(source, target, torch.ones(len(source), device=source.image.device)).image
        real_score, label = self.critic(source.image)
        return {
            "hinge": hinge_critic(real_score, self.critic(fake)[0]),
            "classify": self.config.classify * F.cross_entropy(label, source.emotion),
        }

    def guesser_loss(self, source: Faces, target: Faces) -> Terms:
        """The expression, from all that is to be free of it."""
        with torch.no_grad():
            person, (_, rest) = self.person(source.image), self._read(source.image)
        return {"guess": F.cross_entropy(self.guesser(person, rest), source.emotion)}

    def generator_loss(self, source: Faces, target: Faces) -> Terms:
        """Both encoders and the decoder; confused, the guesser gives the label of somebody else as soon."""
        c, image = self.config, source.image
        person, (feeling, rest) = self.person(image), self._read(image)
        own = torch.cat([feeling.softmax(1), rest], 1)
        asked = _asked(own, target.emotion, 1.0)
        plain = self.decoder(person, own)
        fake = image + self.decoder(person, asked) - plain
        score, label = self.critic(fake)
        again, (_, kept) = self.person(fake), self._read(fake)
        told = F.cross_entropy(label, target.emotion) + F.cross_entropy(feeling, source.emotion)
        return {
            "fool": -score.mean(),
            "classify": c.classify * told,
            "own": c.reconstruct * F.l1_loss(plain, image),
            "identity": c.identity * F.l1_loss(again, person.detach()),
            "attribute": c.attribute * F.l1_loss(kept, rest.detach()),
            "confuse": c.confuse * F.cross_entropy(self.guesser(person, rest), target.emotion),
        }

    def _read(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of the expressions (B, 7), and what else varies (B, A) in [-1, 1]."""
        read = self.look(image).float()
        return read[:, : len(EXPRESSIONS)], read[:, len(EXPRESSIONS) :].tanh()


class Decoder(nn.Module):
    """(identity map (B, 4W, S/4, S/4), attributes (B, 7 + A)) -> image (B, 3, S, S); attributes modulate its norms."""

    def __init__(self, width: int, blocks: int, attributes: int) -> None:
        super().__init__()
        w = 4 * width
        self.blocks = nn.ModuleList(Modulated(w, attributes) for _ in range(blocks))
        self.up = nn.Sequential(
            *_norm(w), nn.Upsample(scale_factor=2), nn.Conv2d(w, w // 2, 3, 1, 1),
            *_norm(w // 2), nn.Upsample(scale_factor=2), nn.Conv2d(w // 2, w // 4, 3, 1, 1),
            *_norm(w // 4), nn.Conv2d(w // 4, 3, 3, 1, 1),
        )  # fmt: skip

    def forward(self, person: Tensor, attributes: Tensor) -> Tensor:
        h = person
        for block in self.blocks:
            h = block(h, attributes)
        return self.up(h).float().tanh()


class Guesser(nn.Module):
    """(identity map (B, 4W, S/4, S/4), what else varies (B, A)) -> logits of the expressions (B, 7)."""

    def __init__(self, size: int, width: int, attributes: int) -> None:
        super().__init__()
        self.map = _summary(4 * width, size // 4, 64)
        self.last = nn.Linear(64 + attributes, len(EXPRESSIONS))

    def forward(self, person: Tensor, rest: Tensor) -> Tensor:
        return self.last(torch.cat([F.leaky_relu(self.map(person), 0.2), rest], 1)).float()


class Critic(nn.Module):
    """Image -> patch scores (B, 1, n, n) and logits of the expressions (B, 7)."""

    def __init__(self, size: int, width: int) -> None:
        super().__init__()
        widths = [3] + [min(width << i, 8 * width) for i in range(size.bit_length() - 3)]
        self.trunk = nn.Sequential(*(Stage(a, b) for a, b in pairwise(widths)))
        self.score = nn.Conv2d(widths[-1], 1, 3, 1, 1)
        self.label = nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(16 * widths[-1], len(EXPRESSIONS)))

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        h = self.trunk(image)
        return self.score(h).float(), self.label(h).float()


def _asked(own: Tensor, emotion: Tensor, share: Tensor | float) -> Tensor:
    """``own`` attributes with the expression moved ``share`` of the way to the label's; the rest as it is."""
    feeling, rest = own[:, : len(EXPRESSIONS)], own[:, len(EXPRESSIONS) :]
    return torch.cat([feeling + share * (one_hot(emotion) - feeling), rest], 1)


def _encoder(width: int) -> nn.Sequential:
    """Image -> features (B, 4W, S/4, S/4)."""
    w = width
    return nn.Sequential(
        nn.PixelUnshuffle(2), nn.Conv2d(12, 2 * w, 3, 1, 1), *_norm(2 * w),
        nn.Conv2d(2 * w, 4 * w, 4, 2, 1), *_norm(4 * w),
        nn.Conv2d(4 * w, 4 * w, 3, 1, 1), nn.GroupNorm(8, 4 * w),
    )  # fmt: skip


def _summary(inputs: int, side: int, outputs: int) -> nn.Sequential:
    """Features (B, C, n, n) -> one vector (B, outputs), by two more halvings."""
    return nn.Sequential(
        nn.Conv2d(inputs, inputs, 4, 2, 1), nn.LeakyReLU(0.2),
        nn.Conv2d(inputs, inputs // 2, 4, 2, 1), nn.LeakyReLU(0.2),
        nn.Flatten(), nn.Linear(inputs // 2 * (side // 4) ** 2, outputs),
    )  # fmt: skip


def _norm(width: int) -> list[nn.Module]:
    return [nn.GroupNorm(8, width), nn.SiLU()]
