"""landmarkcgan: an expression carried over by landmarks (Fan et al., IEEE Access 2023).

Two modules. Feature-point fusion: an encoder for the landmarks of a face that wears the expression and one for those of
the face that is to wear it; a decoder gives a deviation, added to the latter. Expression transfer: a U-Net with DCGAN's
habits (strided convolutions down, upsampling and convolution up, tanh) sees the fused landmarks drawn beside the
photograph; a critic of patches under spectral norm sees the drawing too. L1 and adversarial terms (the log form, L1 at
100, as in pix2pix), on pairs of photographs of one person.

With an identity term, through a trained reader, the expression transfer is TextureGAN, the half of Otberdout et al.
(PAMI 2022) that follows MotionGAN: a frame of a photograph and drawn landmarks, by adversarial, identity and L1 terms.

Ablations: without fusion the driving landmarks are drawn as they are (CGAN); without spectral norm the critic is
pix2pix's. What the paper calls source is the face whose expression is taken, here the target.

Where this differs: an edit asks for blendshapes, so the driving landmarks are those of the average face wearing them,
by a linear model fitted before training. The U-Net learns from the real landmarks of the photograph that it is to
paint: a drawing that disagreed with its picture would teach it to blur. Two photographs of a person differ in pose more
than in expression, so fusion learns where the source's landmarks go when the 3D face model of ``morphable`` gives it
the expression found in the other photograph. Intensity goes in a line from the source's own landmarks to the fused
ones, and the network's change opens from 0 with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mien.errors import MienError
from mien.expressions import BLENDSHAPES
from mien.lab.blocks import Stage, ramp
from mien.lab.data import Sampler, Table, same_person
from mien.lab.faces import Faces
from mien.lab.geometry import fit_displacement
from mien.lab.losses import log_critic, log_generator
from mien.lab.method import Edit, Method, Optimizer, Recipe, Terms, Turn
from mien.lab.methods.morphable import FaceModel, shipped
from mien.lab.readers.identity import Identity, IdentityConfig

PARTS = ((0, 17), (17, 27), (27, 36), (36, 48), (48, 60), (60, 68))
"""Jaw, brows, nose, eyes, outer and inner lips: a channel each in the drawing."""

DOT = 0.02
"""Standard deviation of a drawn landmark, in fractions of the crop."""


@dataclass(frozen=True)
class LandmarkCGANConfig:
    """At any size that is a multiple of 16, from 32 px up.

    Attributes:
        size: Side of the crop.
        width: Channels of the first layer, in the U-Net and in the critic.
        fusion: Fuse the driving landmarks with the face's own; without, this is CGAN.
        spectral: Spectral norm in the critic; without, this is Pix2Pix.
        reconstruct: Weight of the L1 term.
        identity: Weight of how far the identity reader finds the picture from the photograph; above 0 it needs a
            trained one (``--reader``).
    """

    size: int = 128
    width: int = 32
    fusion: bool = True
    spectral: bool = True
    reconstruct: float = 100.0
    identity: float = 0.0


class LandmarkCGAN(Method):
    """Edits by blendshapes, by way of landmarks; see the module's docstring."""

    Config = LandmarkCGANConfig
    reads: ClassVar[frozenset[str]] = frozenset({"image", "blendshapes", "landmarks", "identity"})
    source_fields: ClassVar[tuple[str, ...]] = ("image", "landmarks")
    condition: ClassVar[tuple[str, ...]] = ("blendshapes",)
    average: ClassVar[tuple[str, ...]] = ("driver", "fusion", "generator")
    recipe: ClassVar[Recipe] = Recipe(steps=100_000, batch=16, ema=0.995)
    config: LandmarkCGANConfig

    def __init__(self, config: LandmarkCGANConfig) -> None:
        super().__init__(config)
        if config.size % 16 or config.size < 32:
            raise MienError(f"--size {config.size} cannot be halved four times: give a multiple of 16, 32 or more")
        self.driver = Driver()
        if config.fusion:
            self.fusion, self.face = Fusion(), FaceModel(shipped())
        self.generator = Generator(config.width)
        self.critic = Critic(config.width, config.spectral)
        if config.identity:
            self.identity = Identity(IdentityConfig()).requires_grad_(False)

    def prepare(self, faces: Faces) -> None:
        self.driver.fit(faces)

    def sampler(self, table: Table, recipe: Recipe) -> Sampler:
        return same_person(table.faces.identity, 1, recipe.batch, recipe.seed)

    def optimizer(self, network: str) -> Optimizer:
        return Optimizer(lr=1e-3 if network == "fusion" else 2e-4, betas=(0.5, 0.999))

    def turns(self, step: int) -> list[Turn]:
        fusion = [Turn("fusion", ("fusion",), self.fusion_loss)] if self.config.fusion else []
        return [
            *fusion,
            Turn("critic", ("critic",), self.critic_loss),
            Turn("generator", ("generator",), self.generator_loss),
        ]

    def edit(self, source: Faces, target: Faces, intensity: Tensor) -> Edit:
        image, own = source.image, source.landmarks
        landmarks = own + intensity.view(-1, 1, 1) * (self.aimed(own, target.blendshapes) - own)
        return Edit(image + ramp(intensity) * (self.painted(image, landmarks) - image))

    def aimed(self, landmarks: Tensor, blendshapes: Tensor) -> Tensor:
        """(B, 68, 2): where the landmarks (B, 68, 2) of a face should be for it to wear ``blendshapes`` (B, 52)."""
        driving = self.driver(blendshapes)
        if not self.config.fusion:
            return driving
        return landmarks + self.fusion(driving - self.driver.average, landmarks - self.driver.average)

    def painted(self, image: Tensor, landmarks: Tensor) -> Tensor:
        """``image`` (B, 3, S, S) with the face where ``landmarks`` (B, 68, 2) have it."""
        return self.generator(torch.cat([image, drawn(landmarks, image.shape[-1])], 1))

    def fusion_loss(self, source: Faces, target: Faces) -> Terms:
        return {"landmarks": F.l1_loss(self.aimed(source.landmarks, target.blendshapes), self.worn(source, target))}

    @torch.no_grad()
    def worn(self, source: Faces, target: Faces) -> Tensor:
        """(B, 68, 2): the landmarks of ``source`` with the expression that a 3D face model finds in ``target``."""
        with torch.autocast(source.landmarks.device.type, enabled=False):
            own, camera, _ = self.face.fit(source.landmarks, source.blendshapes)
            other, _, _ = self.face.fit(target.landmarks, target.blendshapes)
            return source.landmarks + self.face.motion((other - own)[:, -len(BLENDSHAPES) :], camera, 68)

    def critic_loss(self, source: Faces, target: Faces) -> Terms:
        with torch.no_grad():
            fake = self.painted(source.image, target.landmarks)
        drawing = drawn(target.landmarks, fake.shape[-1])
        return {"log": log_critic(self.critic(target.image, drawing), self.critic(fake, drawing))}

    def generator_loss(self, source: Faces, target: Faces) -> Terms:
        fake = self.painted(source.image, target.landmarks)
        terms = {
            "fool": log_generator(self.critic(fake, drawn(target.landmarks, fake.shape[-1]))),
            "reconstruct": self.config.reconstruct * F.l1_loss(fake, target.image),
        }
        if self.config.identity:
            alike = F.cosine_similarity(self.identity(source.image), self.identity(fake))
            terms["identity"] = self.config.identity * (1 - alike).mean()
        return terms


class Driver(nn.Module):
    """Blendshapes (B, 52) -> landmarks (B, 68, 2) of the average face wearing them."""

    average: Tensor
    displacement: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("average", torch.zeros(68, 2))
        self.register_buffer("displacement", torch.zeros(len(BLENDSHAPES), 68, 2))

    def fit(self, faces: Faces) -> None:
        displacement = fit_displacement(faces).to(faces.landmarks.device)
        self.displacement.copy_(displacement)
        worn = torch.einsum("bk,kld->bld", faces.blendshapes, displacement)
        self.average.copy_((faces.landmarks - worn).mean(0))

    def forward(self, blendshapes: Tensor) -> Tensor:
        with torch.autocast(blendshapes.device.type, enabled=False):
            return self.average + torch.einsum("bk,kld->bld", blendshapes, self.displacement)


class Fusion(nn.Module):
    """(driving landmarks, the face's own), each (B, 68, 2) -> what to add to the latter; all from the average face."""

    def __init__(self, width: int = 128) -> None:
        super().__init__()
        self.encoders = nn.ModuleList(
            nn.Sequential(nn.Linear(136, width), nn.LeakyReLU(0.2), nn.Linear(width, width // 2), nn.LeakyReLU(0.2))
            for _ in range(2)
        )
        self.decoder = nn.Sequential(nn.Linear(width + 136, width), nn.LeakyReLU(0.2), nn.Linear(width, 136))

    def forward(self, driving: Tensor, own: Tensor) -> Tensor:
        points = [10 * driving.flatten(1), 10 * own.flatten(1)]  # a tenth of the crop is far
        codes = [encode(x) for encode, x in zip(self.encoders, points, strict=True)]
        return 0.1 * self.decoder(torch.cat([*codes, points[1]], 1)).float().view(-1, 68, 2)


class Generator(nn.Module):
    """U-Net: photograph and drawing (B, 9, S, S) -> image (B, 3, S, S) in [-1, 1]."""

    def __init__(self, width: int) -> None:
        super().__init__()
        channels = [width, 2 * width, 4 * width, 8 * width, 8 * width]
        self.enter = nn.Conv2d(3 + len(PARTS), width, 3, padding=1)
        self.downs = nn.ModuleList(
            nn.Sequential(nn.LeakyReLU(0.2), nn.Conv2d(a, b, 4, 2, 1, bias=False), nn.InstanceNorm2d(b, affine=True))
            for a, b in pairwise(channels)
        )
        self.ups = nn.ModuleList(
            nn.Sequential(
                nn.ReLU(),
                nn.Upsample(scale_factor=2),
                nn.Conv2d(b if b == channels[-1] and i == 0 else 2 * b, a, 3, padding=1, bias=False),
                nn.InstanceNorm2d(a, affine=True),
            )
            for i, (a, b) in enumerate(zip(channels[-2::-1], channels[:0:-1], strict=True))
        )
        self.leave = nn.Sequential(nn.ReLU(), nn.Conv2d(2 * width, 3, 3, padding=1), nn.Tanh())

    def forward(self, x: Tensor) -> Tensor:
        skips = [self.enter(x)]
        for down in self.downs:
            skips.append(down(skips[-1]))
        x = skips.pop()
        for up in self.ups:
            x = torch.cat([up(x), skips.pop()], 1)
        return self.leave(x).float()


class Critic(nn.Module):
    """(image (B, 3, S, S), drawing (B, 6, S, S)) -> a score for each patch of 46 px, (B, 1, S / 8, S / 8)."""

    def __init__(self, width: int, spectral: bool) -> None:
        super().__init__()
        inputs = (3 + len(PARTS), width, 2 * width)
        self.layers = nn.Sequential(
            *(stage(a, b, spectral) for a, b in zip(inputs, (width, 2 * width, 4 * width), strict=True)),
            nn.Conv2d(4 * width, 1, 3, padding=1),
        )

    def forward(self, image: Tensor, drawing: Tensor) -> Tensor:
        return self.layers(torch.cat([image, drawing], 1)).float()


def stage(inputs: int, outputs: int, spectral: bool) -> nn.Module:
    """Half the side; without spectral norm as pix2pix has it, with instance norm in its place."""
    if spectral:
        return Stage(inputs, outputs)
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 4, 2, 1), nn.InstanceNorm2d(outputs, affine=True), nn.LeakyReLU(0.2)
    )


def drawn(landmarks: Tensor, size: int) -> Tensor:
    """(B, 6, size, size) in [0, 1]: the landmarks (B, 68, 2) as soft dots, a channel for each part of the face."""
    centre = (torch.arange(size, device=landmarks.device) + 0.5) / size
    near = torch.exp(-((landmarks[..., None] - centre) ** 2) / (2 * DOT**2))  # (B, 68, 2, size)
    dots = [torch.einsum("blh,blw->bhw", near[:, a:b, 1], near[:, a:b, 0]) for a, b in PARTS]
    return torch.stack(dots, 1).clamp(max=1)
