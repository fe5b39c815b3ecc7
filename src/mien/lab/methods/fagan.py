"""FA-GAN: who somebody is and how he looks, kept apart by two encoders (after Luo et al., IEEE TIP 2020).

The identity encoder keeps the face as a map of features, the attribute encoder says in one vector how it looks just
now, and the decoder puts the two together. A guesser tries to tell the expression from the identity map, and the
encoder learns to leave it nothing; what is kept must come out of the edit again, and what was asked for too.

The paper's text was not to be had: this follows what its abstract and the StarGAN v2 identity paper say of it, without
the graph convolutions over face parts. Critic, adversarial loss and settings are StarGAN's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mien.expressions import EXPRESSIONS
from mien.lab.blocks import Modulated, ramp
from mien.lab.faces import Faces
from mien.lab.losses import gradient_penalty, wasserstein_critic
from mien.lab.method import Edit, Method, Optimizer, Recipe, Terms, Turn
from mien.lab.methods.stargan import Critic, Residual


@dataclass(frozen=True)
class FAGANConfig:
    """Sizes and weights; the weights of what StarGAN has too are StarGAN's.

    Attributes:
        size: Side of the crop.
        width: Channels of the first layer, in encoders, decoder and critic; a multiple of 2.
        blocks: Residual blocks of the identity encoder, and of the decoder.
        attributes: Length of the attribute vector.
        penalty: Weight of the gradient penalty.
        classify: Weight of the classification terms.
        reconstruct: Weight of the way back to the source, at once and through the edit.
        identity: Weight of the difference between the source's and the edit's identity map.
        attribute: Weight of the difference between the attributes asked for and read off the edit.
        confuse: Weight of leaving the guesser without a clue.
        critic_steps: Critic's and guesser's moves to one of the encoders and the decoder.
    """

    size: int = 128
    width: int = 64
    blocks: int = 3
    attributes: int = 64
    penalty: float = 10.0
    classify: float = 1.0
    reconstruct: float = 10.0
    identity: float = 1.0
    attribute: float = 1.0
    confuse: float = 1.0
    critic_steps: int = 5


class FAGAN(Method):
    """Edits by label: attributes go from the source's own along the difference of two labels' directions."""

    Config = FAGANConfig
    reads: ClassVar[frozenset[str]] = frozenset({"image", "emotion"})
    source_fields: ClassVar[tuple[str, ...]] = ("image", "emotion")
    condition: ClassVar[tuple[str, ...]] = ("emotion",)
    average: ClassVar[tuple[str, ...]] = ("person", "look", "labels", "decoder")
    recipe: ClassVar[Recipe] = Recipe(steps=200_000, batch=16, ema=0.999)
    config: FAGANConfig

    def __init__(self, config: FAGANConfig) -> None:
        super().__init__(config)
        w = config.width
        self.person = nn.Sequential(*_down(w), *[Residual(4 * w) for _ in range(config.blocks)])
        self.look = nn.Sequential(
            *_down(w), nn.Conv2d(4 * w, 4 * w, 4, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(),
            nn.Linear(16 * w, config.attributes),
        )  # fmt: skip
        self.labels = nn.Linear(config.attributes, len(EXPRESSIONS), bias=False)
        nn.init.orthogonal_(self.labels.weight)  # directions of length 1, as unlike as can be
        self.decoder = Decoder(w, config.blocks, config.attributes)
        self.guesser = nn.Sequential(
            nn.Conv2d(4 * w, 2 * w, 4, 2, 1), nn.LeakyReLU(0.1), nn.Conv2d(2 * w, 2 * w, 4, 2, 1), nn.LeakyReLU(0.1),
            nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(8 * w, len(EXPRESSIONS)),
        )  # fmt: skip
        self.critic = Critic(config.size, w)

    def turns(self, step: int) -> list[Turn]:
        learners = ("person", "look", "labels", "decoder")
        return [
            Turn("critic", ("critic",), self.critic_loss),
            Turn("guesser", ("guesser",), self.guesser_loss),
            Turn("generator", learners, self.generator_loss, every=self.config.critic_steps),
        ]

    def optimizer(self, network: str) -> Optimizer:
        return Optimizer(lr=1e-4, betas=(0.5, 0.999))

    def edit(self, source: Faces, target: Faces, intensity: Tensor) -> Edit:
        changed = self.decoder(self.person(source.image), self.asked(source, target, intensity.view(-1, 1)))
        return Edit(source.image + ramp(intensity) * (changed - source.image))

    def asked(self, source: Faces, target: Faces, share: Tensor | float = 1.0) -> Tensor:
        """The source's attributes (B, A), moved ``share`` of the way from its label's direction to the target's."""
        direction = self.labels.weight
        move = direction[target.emotion.long()] - direction[source.emotion.long()]
        return self.look(source.image).float() + share * move

    def critic_loss(self, source: Faces, target: Faces) -> Terms:
        """As StarGAN's: real against edited, and the labels of real faces."""
        with torch.no_grad():
            fake = self.decoder(self.person(source.image), self.asked(source, target))
        real_score, label = self.critic(source.image)
        slope = gradient_penalty(lambda x: self.critic(x)[0].sum((1, 2, 3)), source.image, fake)
        return {
            "classify": self.config.classify * F.cross_entropy(label, source.emotion),
            "wasserstein": wasserstein_critic(real_score, self.critic(fake)[0]),
            "penalty": self.config.penalty * slope,
        }

    def guesser_loss(self, source: Faces, target: Faces) -> Terms:
        """The expression, from the identity map alone."""
        with torch.no_grad():
            person = self.person(source.image)
        return {"guess": F.cross_entropy(self.guesser(person).float(), source.emotion)}

    def generator_loss(self, source: Faces, target: Faces) -> Terms:
        """Both encoders and the decoder; each label's direction is what tells it from the others, too."""
        c = self.config
        person, own, asked = self.person(source.image), self.look(source.image).float(), self.asked(source, target)
        fake = self.decoder(person, asked)
        score, label = self.critic(fake)
        again, look = self.person(fake), self.look(fake).float()
        back = self.decoder(again, self.asked(source.having(image=fake, emotion=target.emotion), source))
        told = self.labels(own).float()
        clue = self.guesser(person).float().log_softmax(1)
        return {
            "fool": -score.mean(),
            "classify": c.classify * (F.cross_entropy(label, target.emotion) + F.cross_entropy(told, source.emotion)),
            "own": c.reconstruct * F.l1_loss(self.decoder(person, own), source.image),
            "cycle": c.reconstruct * F.l1_loss(back, source.image),
            "identity": c.identity * F.l1_loss(again, person.detach()),
            "attribute": c.attribute * F.l1_loss(look, asked.detach()),
            "confuse": -c.confuse * clue.mean(),
        }


class Decoder(nn.Module):
    """(identity map (B, 4W, S/4, S/4), attributes (B, A)) -> image (B, 3, S, S); attributes modulate its norms."""

    def __init__(self, width: int, blocks: int, attributes: int) -> None:
        super().__init__()
        w = 4 * width
        self.blocks = nn.ModuleList(Modulated(w, attributes) for _ in range(blocks))
        self.up = nn.Sequential(
            nn.ConvTranspose2d(w, w // 2, 4, 2, 1),
            nn.ReLU(),
            nn.ConvTranspose2d(w // 2, w // 4, 4, 2, 1),
            nn.ReLU(),
            nn.Conv2d(w // 4, 3, 7, 1, 3),
            nn.Tanh(),
        )

    def forward(self, person: Tensor, attributes: Tensor) -> Tensor:
        h = person
        for block in self.blocks:
            h = block(h, attributes)
        return self.up(h).float()


def _down(width: int) -> list[nn.Module]:
    """Image -> features of a quarter of the side, four times as wide; no norms, which would take colours away."""
    convs = [nn.Conv2d(3, width, 7, 1, 3), *[nn.Conv2d(w, 2 * w, 4, 2, 1) for w in (width, 2 * width)]]
    return [layer for conv in convs for layer in (conv, nn.ReLU())]
