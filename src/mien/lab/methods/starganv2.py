"""StarGAN v2 (Choi et al., CVPR 2020): many looks of every expression; a variant keeps the person (Panda et al.).

A style is a vector: the mapping network makes one from a random latent and a label, the style encoder reads one off a
face of that label, and the generator paints a face in it. The discriminator has one real-or-fake output for each
expression. Losses, weights, order of updates and settings are the official code's.

Edits go to the style of the target's own picture where it has one, and by label alone to the mean style of that label;
``style_from`` gives the style of one latent, and ``restyle`` paints in it. Beyond the paper: an intensity. The style
goes in a line from the source's own to the wanted one, and the network's change opens from 0 with it, so that
intensity 0 is the photograph.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from mien.errors import MienError
from mien.expressions import EXPRESSIONS
from mien.lab.blocks import ramp
from mien.lab.data import Sampler, Table, draw
from mien.lab.faces import Faces
from mien.lab.losses import log_critic, log_generator, r1_penalty
from mien.lab.method import Edit, Method, Optimizer, Recipe, Terms, Turn
from mien.lab.methods.stargan import one_hot
from mien.lab.readers.identity import Identity, IdentityConfig

Styler = Callable[[Faces], Tensor]
"""Faces aimed at -> a style of each one's expression, (B, D)."""


@dataclass(frozen=True)
class StarGANv2Config:
    """The published settings, at any size from 32 px up that can be halved to about 4 px.

    Attributes:
        size: Side of the crop.
        width: Channels of the inner layers; the outermost has 32 width / size.
        bottom: Side at the generator's bottleneck; at 256 px, 8 gives the published depth for faces, 16 for animals.
        latent: Length of a latent.
        hidden: Width of the mapping network.
        style: Length of a style.
        penalty: Weight of the R1 penalty, gamma.
        restyle: Weight of the style reconstruction.
        diversity: Weight of the difference between two styles' pictures, at the start.
        diversity_steps: Steps over which that weight falls to 0 in a line.
        cycle: Weight of the way back to the source.
        spectral: Hold the discriminator's layers, all but its last, at a largest gain of 1 (Miyato et al. 2018).
        minibatch: Let the discriminator see how alike the pictures of a batch are (Salimans et al. 2016).
        lr: Adam's learning rate, but for the mapping network, which has a hundredth of it.
        identity: The variant that keeps the person; needs --reader with a trained identity reader.
        identity_weight: First and last weight of its loss.
        identity_steps: The steps between which that weight rises in a line.
    """

    size: int = 128
    width: int = 512
    bottom: int = 16
    latent: int = 16
    hidden: int = 512
    style: int = 64
    penalty: float = 1.0
    restyle: float = 1.0
    diversity: float = 1.0
    diversity_steps: int = 100_000
    cycle: float = 1.0
    spectral: bool = False
    minibatch: bool = False
    lr: float = 1e-4
    identity: bool = False
    identity_weight: tuple[float, float] = (0.1, 4.0)
    identity_steps: tuple[int, int] = (25_000, 100_000)


class StarGANv2(Method):
    """Edits by label, by latent and by reference; see the module's docstring."""

    Config = StarGANv2Config
    reads: ClassVar[frozenset[str]] = frozenset({"image", "emotion"})
    source_fields: ClassVar[tuple[str, ...]] = ("image", "emotion")
    condition: ClassVar[tuple[str, ...]] = ("image", "emotion")
    average: ClassVar[tuple[str, ...]] = ("generator", "mapping", "style")
    recipe: ClassVar[Recipe] = Recipe(steps=100_000, batch=8, balance=(1.0, 1.0), ema=0.999)
    config: StarGANv2Config
    latents: Tensor

    def __init__(self, config: StarGANv2Config) -> None:
        super().__init__(config)
        halvings = _halvings(config.size)
        if config.size < 32 or config.size % 2**halvings or config.bottom > config.size // 2:
            raise MienError(
                f"--size {config.size} --bottom {config.bottom}: the size must be 32 or more, a multiple of "
                f"{2**halvings}, and twice the bottom at least"
            )
        self.identity = Identity(IdentityConfig()).requires_grad_(False) if config.identity else None
        self.generator = Generator(config)
        self.mapping = Mapping(config)
        self.style = StyleEncoder(config)
        self.discriminator = Discriminator(config)
        self.register_buffer("latents", torch.randn(64, config.latent))

    def sampler(self, table: Table, recipe: Recipe) -> Sampler:
        """Balanced expressions; aims are 2 batch faces, of which the second half shares the first half's labels."""
        label = table.faces.emotion.cpu()
        if len(label.unique()) < 2:
            raise MienError("one expression alone in the data: starganv2 needs two or more; check column emotion")
        single, rows = super().sampler(table, recipe), [(label == k).nonzero()[:, 0] for k in range(len(EXPRESSIONS))]

        def sample(step: int) -> tuple[Tensor, Tensor]:
            source, target = single(step)
            alike = [rows[k] for k in label[target].tolist()]
            again = [row[draw(torch.ones(len(row)), 1, recipe.seed, step, 2, i)] for i, row in enumerate(alike)]
            return source, torch.cat([target, *again])

        return sample

    def turns(self, step: int) -> list[Turn]:
        c = self.config
        first, last = c.identity_weight
        begin, end = c.identity_steps
        critic = self.discriminator_loss
        painter = partial(
            self.generator_loss,
            diversity=c.diversity * (1 - _share(step, 0, c.diversity_steps)),
            identity=first + (last - first) * _share(step, begin, end),
        )
        learners = ("generator", "mapping", "style")
        return [
            Turn("critic_latent", ("discriminator",), partial(critic, styler=self.random_style)),
            Turn("critic_reference", ("discriminator",), partial(critic, styler=self.style_of)),
            Turn("latent", learners, partial(painter, styler=self.random_style)),
            Turn("reference", ("generator",), partial(painter, styler=self.style_of)),
        ]

    def optimizer(self, network: str) -> Optimizer:
        return Optimizer(lr=self.config.lr / (100 if network == "mapping" else 1), betas=(0.0, 0.99), weight_decay=1e-4)

    def edit(self, source: Faces, target: Faces, intensity: Tensor) -> Edit:
        """A target without a picture, or with one that is 0 throughout, as no photograph is, is a label alone."""
        style = self.mean_style(target.emotion)
        if target.image is not None:
            shown = target.image.abs().flatten(1).amax(1, keepdim=True) > 0
            style = torch.where(shown, self.style_of(target), style)
        return self.restyle(source, style, intensity)

    def restyle(self, source: Faces, style: Tensor, intensity: Tensor) -> Edit:
        """Paint ``source`` in ``style`` (B, D): as it is at intensity 0, fully so at 1."""
        share = intensity.view(-1, 1)
        changed = self.paint(source.image, (1 - share) * self.style_of(source) + share * style)
        return Edit(source.image + ramp(intensity) * (changed - source.image))

    def style_of(self, reference: Faces) -> Tensor:
        """The style of each reference face, (B, D), by its image and emotion."""
        return self.style(reference.image, reference.emotion)

    def style_from(self, latent: Tensor, emotion: Tensor) -> Tensor:
        """The style that each latent (B, 16) stands for in the expression asked for, (B, D)."""
        return _pick(self.mapping(latent), emotion)

    def random_style(self, wanted: Faces) -> Tensor:
        """A random style of each face's expression, (B, D)."""
        emotion = wanted.emotion
        return self.style_from(torch.randn(len(emotion), self.config.latent, device=emotion.device), emotion)

    def mean_style(self, emotion: Tensor) -> Tensor:
        """The mean style of each expression over 64 fixed latents, (B, D)."""
        return one_hot(emotion) @ self.mapping(self.latents).mean(0)

    def paint(self, image: Tensor, style: Tensor) -> Tensor:
        """``image`` in ``style``; the generator is told who it is, where the variant says so."""
        if self.identity is None:
            return self.generator(image, style)
        return self.generator(image, style, self.person(image))

    def person(self, image: Tensor) -> Tensor:
        """Who it is, (B, 128), by the identity reader; the image is shrunk by plain means, which ONNX knows."""
        assert self.identity is not None
        side, size = self.identity.config.size, self.config.size
        shrink = max(1, size // side)
        image, left = F.avg_pool2d(image, shrink), side / (size // shrink)
        if left != 1:
            image = F.interpolate(image, scale_factor=left, mode="bilinear", align_corners=False)
        return self.identity(image)

    def discriminator_loss(self, source: Faces, target: Faces, styler: Styler) -> Terms:
        """Real faces real, painted ones fake, each by the output of its own expression; R1 on the real ones."""
        wanted = target[: len(source)]
        with torch.no_grad():
            fake = self.paint(source.image, styler(wanted))
        real_score = self.discriminator(source.image, source.emotion)
        slope = r1_penalty(lambda x: self.discriminator(x, source.emotion), source.image)
        return {
            "log": log_critic(real_score, self.discriminator(fake, wanted.emotion)),
            "penalty": self.config.penalty * slope,
        }

    def generator_loss(self, source: Faces, target: Faces, styler: Styler, diversity: float, identity: float) -> Terms:
        """L_adv + lambda_sty L_sty - lambda_ds L_ds + lambda_cyc L_cyc, and + lambda_id |f(x) - f(G(x))|^2."""
        wanted, other = target[: len(source)], target[len(source) :]
        style = styler(wanted)
        fake = self.paint(source.image, style)
        with torch.no_grad():  # second, for autocast remembers weights as they were first used
            unlike = self.paint(source.image, styler(other))
        back = self.paint(fake, self.style_of(source))
        terms = {
            "fool": log_generator(self.discriminator(fake, wanted.emotion)),
            "restyle": self.config.restyle * F.l1_loss(self.style(fake, wanted.emotion), style),
            "diversity": -diversity * F.l1_loss(fake, unlike),
            "cycle": self.config.cycle * F.l1_loss(back, source.image),
        }
        if self.identity is not None:
            away = self.person(source.image) - self.person(fake)
            terms["identity"] = identity * away.square().sum(1).mean()
        return terms


class Generator(nn.Module):
    """(image (B, 3, S, S), style (B, D)) -> image; with the person's embedding (B, 128) in the identity variant.

    The embedding joins the picture as a fourth channel, a map of 16 x 16 that a linear layer draws: in planes that are
    the same all over, instance norm would remove it.
    """

    def __init__(self, config: StarGANv2Config) -> None:
        super().__init__()
        widths = _widths(config, (config.size // config.bottom).bit_length() - 1)
        steps, last = list(pairwise(widths)), widths[-1]
        self.face = nn.Linear(IdentityConfig().length, 16 * 16) if config.identity else None
        self.stem = nn.Conv2d(4 if config.identity else 3, widths[0], 3, 1, 1)
        self.encoder = nn.Sequential(
            *[Residual(a, b, normalise=True, halve=True) for a, b in steps],
            *[Residual(last, last, normalise=True) for _ in range(2)],
        )
        self.decoder = nn.ModuleList(
            [
                *[Styled(last, last, config.style) for _ in range(2)],
                *[Styled(b, a, config.style, wide=True) for a, b in reversed(steps)],
            ]
        )
        self.last = nn.Sequential(
            nn.InstanceNorm2d(widths[0], affine=True), nn.LeakyReLU(0.2), nn.Conv2d(widths[0], 3, 1)
        )
        self.apply(_initialise)

    def forward(self, image: Tensor, style: Tensor, person: Tensor | None = None) -> Tensor:
        if self.face is not None and person is not None:
            drawn = self.face(person).view(-1, 1, 16, 16)
            drawn = F.interpolate(drawn, size=image.shape[-2:], mode="bilinear", align_corners=False)
            image = torch.cat([image, drawn.to(image.dtype)], 1)
        h = self.encoder(self.stem(image))
        for block in self.decoder:
            h = block(h, style)
        return self.last(h).float()


class Mapping(nn.Module):
    """Latents (B, 16) -> a style for every expression, (B, 7, D): four layers for all, then four for each."""

    def __init__(self, config: StarGANv2Config) -> None:
        super().__init__()
        w = config.hidden
        self.shared = nn.Sequential(*_dense(config.latent, w), *[layer for _ in range(3) for layer in _dense(w, w)])
        self.heads = nn.ModuleList(
            nn.Sequential(*[layer for _ in range(3) for layer in _dense(w, w)], nn.Linear(w, config.style))
            for _ in EXPRESSIONS
        )
        self.apply(_initialise)

    def forward(self, latent: Tensor) -> Tensor:
        h = self.shared(latent)
        return torch.stack([head(h) for head in self.heads], 1).float()


class StyleEncoder(nn.Module):
    """(image, its emotion (B,)) -> style (B, D)."""

    def __init__(self, config: StarGANv2Config) -> None:
        super().__init__()
        self.trunk = _trunk(config)
        self.heads = nn.Linear(config.width, len(EXPRESSIONS) * config.style)
        self.apply(_initialise)

    def forward(self, image: Tensor, emotion: Tensor) -> Tensor:
        return _pick(self.heads(self.trunk(image)).float().unflatten(1, (len(EXPRESSIONS), -1)), emotion)


class Discriminator(nn.Module):
    """(image, the emotion it claims (B,)) -> logits of "real", (B,)."""

    def __init__(self, config: StarGANv2Config) -> None:
        super().__init__()
        self.trunk = _trunk(config)
        self.neighbours = Neighbours(config.width) if config.minibatch else None
        self.heads = nn.Linear(config.width + (Neighbours.kernels if config.minibatch else 0), len(EXPRESSIONS))
        self.apply(_initialise)
        if config.spectral:
            for layer in list(self.trunk.modules()):
                if isinstance(layer, nn.Conv2d):
                    spectral_norm(layer)

    def forward(self, image: Tensor, emotion: Tensor) -> Tensor:
        h = self.trunk(image)
        if self.neighbours is not None:
            h = self.neighbours(h)
        return (self.heads(h).float() * one_hot(emotion)).sum(1)


class Neighbours(nn.Module):
    """Minibatch discrimination: features (B, C) -> (B, C + kernels), how near the rest of the batch lies on average."""

    kernels = 32

    def __init__(self, inputs: int, depth: int = 5) -> None:
        super().__init__()
        self.project = nn.Linear(inputs, self.kernels * depth, bias=False)

    def forward(self, h: Tensor) -> Tensor:
        points = self.project(h).float().unflatten(1, (self.kernels, -1))
        near = (-(points[:, None] - points).abs().sum(3)).exp()  # (B, B, kernels), 1 to itself
        return torch.cat([h, (near.sum(1) - 1) / max(len(h) - 1, 1)], 1)


class Residual(nn.Module):
    """Two 3x3 convolutions, each after a leaky ReLU, around a skip; of unit variance where both paths are."""

    def __init__(self, inputs: int, outputs: int, normalise: bool = False, halve: bool = False) -> None:
        super().__init__()
        norms = [nn.InstanceNorm2d(inputs, affine=True) if normalise else nn.Identity() for _ in range(2)]
        pool = nn.AvgPool2d(2) if halve else nn.Identity()
        wider = nn.Conv2d(inputs, outputs, 1, bias=False) if inputs != outputs else nn.Identity()
        self.skip = nn.Sequential(pool, wider)  # published the other way round: the same, and four times the work
        self.body = nn.Sequential(
            norms[0],
            nn.LeakyReLU(0.2),
            nn.Conv2d(inputs, inputs, 3, 1, 1),
            pool,
            norms[1],
            nn.LeakyReLU(0.2),
            nn.Conv2d(inputs, outputs, 3, 1, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return (self.skip(x) + self.body(x)) / math.sqrt(2)


class Styled(nn.Module):
    """The same with instance norms that the style scales and shifts (AdaIN); ``wide`` doubles the side."""

    def __init__(self, inputs: int, outputs: int, style: int, wide: bool = False) -> None:
        super().__init__()
        self.wide = wide
        self.norms = nn.ModuleList(nn.InstanceNorm2d(w) for w in (inputs, outputs))
        self.convs = nn.ModuleList(nn.Conv2d(w, outputs, 3, 1, 1) for w in (inputs, outputs))
        self.film = nn.ModuleList(nn.Linear(style, 2 * w) for w in (inputs, outputs))
        self.skip = nn.Conv2d(inputs, outputs, 1, bias=False) if inputs != outputs else nn.Identity()

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        h = x
        for i, (norm, conv, film) in enumerate(zip(self.norms, self.convs, self.film, strict=True)):
            scale, shift = film(style)[:, :, None, None].chunk(2, dim=1)
            h = F.leaky_relu((1 + scale) * norm(h) + shift, 0.2)
            h = conv(self._doubled(h) if i == 0 else h)
        return (h + self._doubled(self.skip(x))) / math.sqrt(2)

    def _doubled(self, x: Tensor) -> Tensor:
        return F.interpolate(x, scale_factor=2.0, mode="nearest") if self.wide else x


def _trunk(config: StarGANv2Config) -> nn.Sequential:
    """Image -> features (B, width): down to about 4 px, and the rest in one convolution."""
    halvings = _halvings(config.size)
    widths = _widths(config, halvings)
    return nn.Sequential(
        nn.Conv2d(3, widths[0], 3, 1, 1),
        *[Residual(a, b, halve=True) for a, b in pairwise(widths)],
        nn.LeakyReLU(0.2),
        nn.Conv2d(widths[-1], config.width, config.size >> halvings),
        nn.LeakyReLU(0.2),
        nn.Flatten(),
    )


def _halvings(size: int) -> int:
    """How often ``size`` is halved to come to 4 px, or the last side above."""
    return size.bit_length() - 3


def _widths(config: StarGANv2Config, halvings: int) -> list[int]:
    """Channels from the outermost layer inwards, doubling up to ``width``."""
    outer = max(1, min(config.width, 32 * config.width // config.size))
    return [min(outer << i, config.width) for i in range(halvings + 1)]


def _dense(inputs: int, outputs: int) -> list[nn.Module]:
    return [nn.Linear(inputs, outputs), nn.ReLU()]


def _pick(heads: Tensor, emotion: Tensor) -> Tensor:
    """(B, 7, D) and (B,) -> each row's own head, (B, D)."""
    return (heads * one_hot(emotion)[:, :, None]).sum(1)


def _initialise(layer: nn.Module) -> None:
    """He et al.'s normal weights, biases 0."""
    if isinstance(layer, nn.Conv2d | nn.Linear):
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)


def _share(step: int, begin: int, end: int) -> float:
    """How much of the way from step ``begin`` to ``end`` is done, in [0, 1]."""
    return min(max((step - begin) / max(end - begin, 1), 0.0), 1.0)
