"""CycleGAN: two expressions, a generator each way (Zhu et al., ICCV 2017; on faces by Upenieks & Urtans, AIxHMI 2022).

Each generator changes faces of one domain into the other's and has a critic of 70x70 patches against it; there and
back again must end where it began, and a face that wears the wanted expression already must stay as it is.

The defaults are the original: least squares, instance norm, transposed convolutions, a generator step to each of the
critics. The smile paper's settings are the recipe ``smile``; it does not say what its noise decays by 0.01 with, so
here that is the step.

There is no label to interpolate: an intensity between 0 and 1 blends the photograph with the full change.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mien.errors import MienError
from mien.expressions import EXPRESSIONS, Expression
from mien.lab.data import Sampler, Table, weighted
from mien.lab.faces import Faces
from mien.lab.losses import gradient_penalty, wasserstein_critic
from mien.lab.method import Edit, Method, Optimizer, Recipe, Terms, Turn

GENERATORS = ("to_target", "to_source")
CRITICS = ("target_critic", "source_critic")


SMILE = {
    **{"size": 64, "width": 32, "blocks": 9, "upsampling": "bilinear", "adversarial": "wasserstein"},
    **{"critic_norm": "layer", "critic_steps": 5, "noise": 0.1, "lr": 1e-4, "beta2": 0.99, "batch": 64, "decay": 0.0},
}


@dataclass(frozen=True)
class CycleGANConfig:
    """The published settings, at sizes from 32 px up that are multiples of 4.

    Attributes:
        source: The one expression.
        target: The other.
        size: Side of the crop.
        width: Channels of the generators' first layer.
        blocks: Residual blocks of a generator; 9 from 256 px up and 6 below where not given.
        critic_width: Channels of the critics' first layer.
        adversarial: least_squares (the original) or wasserstein with gradient penalty (the smile paper).
        upsampling: transposed convolutions (the original) or bilinear before plain ones (the smile paper).
        critic_norm: instance norm (the original) or layer norm (the smile paper) in the critics.
        penalty: Weight of the gradient penalty.
        cycle: Weight of the way there and back.
        identity: Weight of leaving alone what is as wanted already.
        pool: Fakes of each domain that the critics may meet again; 0 for the newest only.
        noise: Standard deviation, at step 0, of the noise before each convolution of the critics.
        noise_decay: The share of the noise that goes with each step.
        critic_steps: Critics' moves to one of the generators.
        lr: Adam's learning rate.
        beta2: Adam's second beta; the first is 0.5.
    """

    source: Expression = "neutral"
    target: Expression = "happiness"
    size: int = 128
    width: int = 64
    blocks: int | None = None
    critic_width: int = 64
    adversarial: Literal["least_squares", "wasserstein"] = "least_squares"
    upsampling: Literal["transposed", "bilinear"] = "transposed"
    critic_norm: Literal["instance", "layer"] = "instance"
    penalty: float = 10.0
    cycle: float = 10.0
    identity: float = 5.0
    pool: int = 50
    noise: float = 0.0
    noise_decay: float = 0.01
    critic_steps: int = 1
    lr: float = 2e-4
    beta2: float = 0.999


class CycleGAN(Method):
    """Edits between two expressions; see the module's docstring. MienError where they are one and the same."""

    Config = CycleGANConfig
    reads: ClassVar[frozenset[str]] = frozenset({"image", "emotion"})
    condition: ClassVar[tuple[str, ...]] = ("emotion",)
    average: ClassVar[tuple[str, ...]] = GENERATORS
    channels_last: ClassVar[bool] = False
    recipe: ClassVar[Recipe] = Recipe(steps=200_000, batch=1, decay=0.5, ema=0.999)
    recipes: ClassVar[dict[str, dict[str, Any]]] = {"smile": SMILE}
    config: CycleGANConfig

    def __init__(self, config: CycleGANConfig) -> None:
        super().__init__(config)
        if config.source == config.target:
            raise MienError(f"source and target are both {config.source}: give two different expressions")
        blocks = config.blocks if config.blocks is not None else 9 if config.size >= 256 else 6
        self.to_target = Generator(config.width, blocks, config.upsampling)
        self.to_source = Generator(config.width, blocks, config.upsampling)
        self.target_critic = Critic(config.critic_width, config.critic_norm)
        self.source_critic = Critic(config.critic_width, config.critic_norm)
        self.target_pool = Pool(config.pool, config.size)
        self.source_pool = Pool(config.pool, config.size)

    @property
    def knows(self) -> tuple[str, ...]:
        """The two expressions."""
        return self.config.source, self.config.target

    def sampler(self, table: Table, recipe: Recipe) -> Sampler:
        """Sources of the one expression, targets of the other; MienError where there is no face of one."""
        label = table.faces.emotion.cpu()
        domains = [(label == EXPRESSIONS.index(name)).nonzero()[:, 0] for name in self.knows]
        for name, rows in zip(self.knows, domains, strict=True):
            if not len(rows):
                there = [e for i, e in enumerate(EXPRESSIONS) if (label == i).any()]
                raise MienError(
                    f"no face of {name} to learn from: choose --source and --target of {', '.join(there) or 'none'}, "
                    f"or add faces of {name}"
                )
        weights = [table.weights(share)[rows] for share, rows in zip(recipe.balance, domains, strict=True)]
        draws = weighted(weights, recipe.batch, recipe.seed)

        def sample(step: int) -> tuple[Tensor, Tensor]:
            source, target = draws(step)
            return domains[0][source], domains[1][target]

        return sample

    def turns(self, step: int) -> list[Turn]:
        noise = self.config.noise * (1 - self.config.noise_decay) ** step
        return [
            Turn("critics", CRITICS, partial(self.critic_loss, noise=noise)),
            Turn("generators", GENERATORS, partial(self.generator_loss, noise=noise), every=self.config.critic_steps),
        ]

    def optimizer(self, network: str) -> Optimizer:
        return Optimizer(lr=self.config.lr, betas=(0.5, self.config.beta2))

    def edit(self, source: Faces, target: Faces, intensity: Tensor) -> Edit:
        """Either way, by the target's label: x + intensity (G(x) - x). Any third expression leaves x as it is."""
        image, wish = source.image, target.emotion.view(-1, 1, 1, 1)
        first, second = (EXPRESSIONS.index(name) for name in self.knows)
        changed = torch.where(wish == first, self.to_source(image), image)
        changed = torch.where(wish == second, self.to_target(image), changed)
        return Edit(image + intensity.view(-1, 1, 1, 1) * (changed - image))

    def critic_loss(self, source: Faces, target: Faces, noise: float = 0.0) -> Terms:
        """Both critics' L_D; their fakes come by way of the pools. noise: standard deviation before each convolution.

        The gradient penalty holds a picture's mean score to slope 1.
        """
        with torch.no_grad():
            fakes = self.target_pool(self.to_target(source.image)), self.source_pool(self.to_source(target.image))
        scores, slopes = [], []
        for critic, real, fake in (
            (self.target_critic, target.image, fakes[0]),
            (self.source_critic, source.image, fakes[1]),
        ):
            if self.config.adversarial == "least_squares":
                scores.append(least_squares_critic(critic(real, noise), critic(fake, noise)))
            else:
                scores.append(wasserstein_critic(critic(real, noise), critic(fake, noise)))
                slopes.append(gradient_penalty(lambda x, c=critic: c(x, noise).mean((1, 2, 3)), real, fake))  # type: ignore[misc]
        terms: Terms = {self.config.adversarial: scores[0] + scores[1]}
        return terms | {"penalty": self.config.penalty * (slopes[0] + slopes[1])} if slopes else terms

    def generator_loss(self, source: Faces, target: Faces, noise: float = 0.0) -> Terms:
        """L_G = L_adv + lambda |x - F(G(x))| + lambda_id |y - G(y)|, both ways."""
        forth, back = self.to_target(source.image), self.to_source(target.image)
        fool = least_squares_generator if self.config.adversarial == "least_squares" else wasserstein_generator
        cycle = F.l1_loss(self.to_source(forth), source.image) + F.l1_loss(self.to_target(back), target.image)
        kept = F.l1_loss(self.to_target(target.image), target.image)
        kept = kept + F.l1_loss(self.to_source(source.image), source.image)
        return {
            "fool": fool(self.target_critic(forth, noise)) + fool(self.source_critic(back, noise)),
            "cycle": self.config.cycle * cycle,
            "identity": self.config.identity * kept,
        }


class Pool(nn.Module):
    """Fakes met before (Shrivastava et al. 2017): images in, as many out, once full half of them older ones.

    images: (capacity, 3, S, S). held: how many are there. Both are buffers, so that a resumed run finds them again.
    """

    images: Tensor
    held: Tensor

    def __init__(self, capacity: int, size: int) -> None:
        super().__init__()
        self.register_buffer("images", torch.zeros(capacity, 3, size, size))
        self.register_buffer("held", torch.tensor(0))

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        capacity, held = len(self.images), int(self.held)
        if not capacity:
            return images
        given = images.clone()
        for i, image in enumerate(images):
            if held < capacity:
                self.images[held] = image
                held += 1
            elif torch.rand(()) < 0.5:
                slot = int(torch.randint(capacity, ()))
                given[i] = self.images[slot]
                self.images[slot] = image
        self.held.fill_(held)
        return given


class Generator(nn.Module):
    """(B, 3, S, S) -> (B, 3, S, S) in [-1, 1]; 11.4 M parameters at width 64 with nine blocks, 2.8 M at width 32.

    A convolution that instance norm follows has no bias, which the norm would take away.
    """

    def __init__(self, width: int, blocks: int, upsampling: str) -> None:
        super().__init__()
        w = width
        layers = _unit(nn.Conv2d(3, w, 7, padding=3, padding_mode="reflect", bias=False), w)
        for _ in range(2):
            layers += _unit(nn.Conv2d(w, 2 * w, 3, 2, 1, bias=False), 2 * w)
            w *= 2
        layers += [Residual(w) for _ in range(blocks)]
        for _ in range(2):
            if upsampling == "bilinear":
                layers.append(nn.Upsample(scale_factor=2, mode="bilinear"))
                layers += _unit(nn.Conv2d(w, w // 2, 3, padding=1, padding_mode="reflect", bias=False), w // 2)
            else:
                layers += _unit(nn.ConvTranspose2d(w, w // 2, 3, 2, 1, 1, bias=False), w // 2)
            w //= 2
        self.layers = nn.Sequential(*layers, nn.Conv2d(w, 3, 7, padding=3, padding_mode="reflect"), nn.Tanh())

    def forward(self, image: Tensor) -> Tensor:
        return self.layers(image).float()


class Residual(nn.Module):
    """Two 3x3 convolutions with instance norm around a skip, padded by reflection."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *_unit(nn.Conv2d(width, width, 3, padding=1, padding_mode="reflect", bias=False), width),
            nn.Conv2d(width, width, 3, padding=1, padding_mode="reflect", bias=False),
            nn.InstanceNorm2d(width),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class Critic(nn.Module):
    """Image, noise -> patch scores (B, 1, S/8 - 2, S/8 - 2), each of 70x70 pixels; 2.8 M parameters at width 64."""

    def __init__(self, width: int, norm: str) -> None:
        super().__init__()
        widths, strides = (3, width, 2 * width, 4 * width, 8 * width, 1), (2, 2, 2, 1, 1)
        self.convs = nn.ModuleList(nn.Conv2d(widths[i], widths[i + 1], 4, strides[i], 1) for i in range(5))
        self.norms = nn.ModuleList(
            nn.GroupNorm(1, channels) if norm == "layer" else nn.InstanceNorm2d(channels) for channels in widths[2:5]
        )

    def forward(self, image: Tensor, noise: float = 0.0) -> Tensor:
        h = image
        for i, conv in enumerate(self.convs):
            h = conv(h + noise * torch.randn_like(h) if noise else h)
            if 0 < i < 4:
                h = self.norms[i - 1](h)
            if i < 4:
                h = F.leaky_relu(h, 0.2)
        return h.float()


def least_squares_critic(real: Tensor, fake: Tensor) -> Tensor:
    """Critic's least squares (Mao et al. 2017), halved as CycleGAN does: real scores at 1, fake ones at 0."""
    return ((real - 1).square().mean() + fake.square().mean()) / 2


def least_squares_generator(fake: Tensor) -> Tensor:
    """Generator's least squares: its fakes scored 1."""
    return (fake - 1).square().mean()


def wasserstein_generator(fake: Tensor) -> Tensor:
    """Generator's Wasserstein loss: its fakes scored high."""
    return -fake.mean()


def _unit(convolution: nn.Module, width: int) -> list[nn.Module]:
    return [convolution, nn.InstanceNorm2d(width), nn.ReLU()]
