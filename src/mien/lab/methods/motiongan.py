"""MotionGAN: how the landmarks of a face move into an expression (Otberdout et al., PAMI 2022).

A motion is a point on the sphere of ``mien.lab.motion``. From noise and a label the generator makes a vector tangent to
the sphere at the motions' Karcher mean, and the exponential map a motion of it; the critic, told the label too, sees
motions through the logarithmic map. Both learn by WGAN-GP; the generator's motions stay near a real one of their label
by geodesic distance. A face's own landmarks, and how far they are to travel, make a path of a motion again.

Beyond the paper: the sphere has lost how far a face moves, so each label's average length is kept and an intensity
scales it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mien.errors import MienError
from mien.expressions import EXPRESSIONS
from mien.lab import motion
from mien.lab.faces import Faces
from mien.lab.losses import gradient_penalty, wasserstein_critic
from mien.lab.method import Graph, Method, Optimizer, Recipe, Terms, Turn
from mien.lab.methods.stargan import one_hot

FPS = 20
"""Frames a second of every motion."""
FRAMES = 33
"""Frames of a motion unless told otherwise: 1.6 seconds from neutral to the peak and its hold."""


@dataclass(frozen=True)
class Motions:
    """Motions of one split; what ``Trainer`` asks of a table.

    faces.landmarks: (N, 68, T, 2) in fractions of the crop; the axis of the 68 comes before time, so that
    ``Faces.flipped`` mirrors every frame.
    """

    faces: Faces
    names: list[str]
    digest: str

    def __len__(self) -> int:
        return len(self.names)

    def take(self, index: Tensor, device: torch.device | str = "cpu") -> Faces:
        return self.faces[index].to(device)

    def weights(self, balance: float) -> Tensor:
        """(N,) 1 / motions that share the label, to the power of ``balance``."""
        count = torch.bincount(self.faces.emotion, minlength=len(EXPRESSIONS)).float()
        return (1 / count[self.faces.emotion]) ** balance


def load_motions(paths: Sequence[Path], split: str, frames: int, limit: int | None = None) -> Motions:
    """Read one split of manifests with a column ``motion``: T x 68 x 2 fractions of the crop at ``FPS``.

    Raises MienError, before any work, for what is missing or has another number of frames.
    """
    parts, labels, names = [], [], []
    for path in paths:
        try:
            table = pq.read_table(path, columns=["name", "split", "emotion", "motion"])
            table = table.filter(pc.equal(table["split"], split)).slice(0, limit)
            counts = set(pc.list_value_length(table["motion"]).to_pylist())
        except (OSError, pa.ArrowException) as error:
            reason = str(error).splitlines()[0]
            raise MienError(f"{path}: no manifest with name, split, emotion and motion ({reason})") from error
        unknown = sorted({str(label) for label in table["emotion"].to_pylist()} - set(EXPRESSIONS))
        if unknown:
            raise MienError(f"{path}: emotion {unknown[0]!r} is none of {', '.join(EXPRESSIONS)}")
        if counts - {frames * 136}:
            wrong = (counts - {frames * 136}).pop() or 0
            raise MienError(
                f"{path}: a motion has {wrong / 136:g} frames where {frames} are wanted; --size changes that"
            )
        flat = table["motion"].combine_chunks().flatten().to_numpy(zero_copy_only=False).astype(np.float32)
        if not np.isfinite(flat).all():
            raise MienError(f"{path}: a landmark is no number; leave motions with gaps out")
        parts.append(flat.reshape(-1, frames, 68, 2))
        names += table["name"].to_pylist()
        labels += [EXPRESSIONS.index(label) for label in table["emotion"].to_pylist()]
    if not names:
        raise MienError(f"{', '.join(map(str, paths))}: no motion in split {split!r}")
    points = torch.from_numpy(np.concatenate(parts)).transpose(1, 2).contiguous()
    digest = hashlib.sha256(json.dumps([split, names]).encode()).hexdigest()[:16]
    faces = Faces(emotion=torch.tensor(labels), landmarks=points)
    return Motions(faces, names, digest)


@dataclass(frozen=True)
class MotionGANConfig:
    """The paper's terms on small networks.

    Attributes:
        size: Frames of a motion, which the manifest's must have.
        noise: Numbers that tell one motion of a label from another.
        width: Channels of the generator's and the critic's layers.
        penalty: Weight of the gradient penalty.
        reconstruct: Weight of the geodesic distance to a real motion of the label.
        critic_steps: Critic's moves to one of the generator.
        lr: Learning rate of both.
    """

    size: int = FRAMES
    noise: int = 64
    width: int = 128
    penalty: float = 10.0
    reconstruct: float = 1.0
    critic_steps: int = 5
    lr: float = 1e-3


class MotionGAN(Method):
    """Makes landmark motions by label; see the module's docstring. It edits no picture."""

    Config = MotionGANConfig
    reads: ClassVar[frozenset[str]] = frozenset({"emotion", "landmarks"})
    condition: ClassVar[tuple[str, ...]] = ()
    average: ClassVar[tuple[str, ...]] = ("generator",)
    recipe: ClassVar[Recipe] = Recipe(steps=6000, batch=32, balance=(1.0, 1.0), decay=0.3, ema=0.995, bf16=False)
    config: MotionGANConfig
    base: Tensor
    length: Tensor

    def __init__(self, config: MotionGANConfig) -> None:
        super().__init__(config)
        self.generator = Generator(config.noise, config.width, config.size - 1)
        self.critic = Critic(config.width, config.size - 1)
        self.register_buffer("base", torch.zeros(config.size - 1, 68, 2))
        self.register_buffer("length", torch.zeros(len(EXPRESSIONS)))

    @classmethod
    def tables(cls, paths: Sequence[Path], size: int, limit: int | None = None) -> tuple[Motions, Motions]:
        """Motions to learn from and motions to watch, of ``size`` frames each."""
        return load_motions(paths, "train", size, limit), load_motions(paths, "val", size, limit)

    def prepare(self, faces: Faces) -> None:
        """The Karcher mean of all motions and their mirror images, and each label's average length."""
        self.base.copy_(motion.karcher_mean(torch.cat([motions(faces), motions(faces.flipped())])))
        length = motion.length(faces.landmarks.transpose(1, 2))
        for label in faces.emotion.unique():
            self.length[label] = length[faces.emotion == label].mean()

    def optimizer(self, network: str) -> Optimizer:
        return Optimizer(lr=self.config.lr, betas=(0.5, 0.9))

    def turns(self, step: int) -> list[Turn]:
        return [
            Turn("critic", ("critic",), self.critic_loss),
            Turn("generator", ("generator",), self.generator_loss, every=self.config.critic_steps),
        ]

    def graph(self) -> Graph:
        """ONNX: "neutral" (B, 68, 2), "emotion" (B,), "noise" (B, Z), "intensity" (B,) -> "landmarks" (B, T, 68, 2).

        All landmarks in fractions of the aligned crop. The metadata says "fps", "knows" (labels with motions) and how
        many numbers of "noise" there are: draw them from the normal distribution.
        """
        knows = [name for name, length in zip(EXPRESSIONS, self.length.tolist(), strict=True) if length]
        about = {"mien": "motion", "fps": FPS, "noise": self.config.noise, "knows": knows}
        tensors = [torch.rand(2, 68, 2), torch.tensor([1, 2]), torch.zeros(2, self.config.noise), torch.ones(2)]
        return Graph(_Perform(self), tensors, ["neutral", "emotion", "noise", "intensity"], ["landmarks"], about=about)

    def dream(self, emotion: Tensor, noise: Tensor) -> Tensor:
        """Labels (B,) and noise (B, Z) -> motions on the sphere (B, T - 1, 68, 2)."""
        return motion.exp(self.base, motion.tangent(self.base, self.generator(noise, one_hot(emotion))))

    def perform(self, neutral: Tensor, emotion: Tensor, noise: Tensor, intensity: Tensor) -> Tensor:
        """The path (B, T, 68, 2) on which the face ``neutral`` (B, 68, 2) goes into ``emotion``.

        intensity (B,): 0 stands still, 1 goes as far as the label's faces go on average.
        """
        far = (intensity * self.length[emotion]).view(-1, 1, 1, 1)
        return motion.integrate(far.sqrt() * self.dream(emotion, noise), neutral)

    def critic_loss(self, source: Faces, target: Faces) -> Terms:
        """L_D of WGAN-GP on tangent vectors: real motions of ``source`` against dreams of the same labels."""
        with torch.no_grad():
            real = motion.log(self.base, motions(source))
            fake = motion.log(self.base, self.dream(source.emotion, self._noise(source)))
        label = one_hot(source.emotion)
        slope = gradient_penalty(lambda vector: self.critic(vector, label), real, fake)
        return {
            "wasserstein": wasserstein_critic(self.critic(real, label), self.critic(fake, label)),
            "penalty": self.config.penalty * slope,
        }

    def generator_loss(self, source: Faces, target: Faces) -> Terms:
        """L_G = -D(log(dream)) + lambda d(dream, a real motion of its label)."""
        fake = self.dream(target.emotion, self._noise(target))
        score = self.critic(motion.log(self.base, fake), one_hot(target.emotion))
        return {
            "fool": -score.mean(),
            "reconstruct": self.config.reconstruct * motion.distance(fake, motions(target)).mean(),
        }

    def _noise(self, faces: Faces) -> Tensor:
        return torch.randn(len(faces), self.config.noise, device=faces.emotion.device)


class Generator(nn.Module):
    """(noise (B, Z), label (B, 7)) -> (B, T, 68, 2): a quarter of the times first, then smoothly all of them."""

    def __init__(self, noise: int, width: int, times: int) -> None:
        super().__init__()
        self.times = times
        self.first = max(times // 4, 1)
        self.start = nn.Sequential(
            nn.Linear(noise + len(EXPRESSIONS), 2 * width), nn.LeakyReLU(0.2), nn.Linear(2 * width, width * self.first)
        )
        self.middle = nn.Conv1d(width, width, 3, padding=1)
        self.end = nn.Conv1d(width, width, 3, padding=1)
        self.points = nn.Conv1d(width, 136, 1)

    def forward(self, noise: Tensor, label: Tensor) -> Tensor:
        h = F.leaky_relu(self.start(torch.cat([noise, label], 1)), 0.2).unflatten(1, (-1, self.first))
        for layer, times in ((self.middle, 2 * self.first), (self.end, self.times)):
            h = F.leaky_relu(layer(F.interpolate(h, size=times, mode="linear", align_corners=True)), 0.2)
        return self.points(h).transpose(1, 2).unflatten(2, (68, 2))


class Critic(nn.Module):
    """(tangent vector (B, T, 68, 2), label (B, 7)) -> score (B,)."""

    def __init__(self, width: int, times: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(times * 136 + len(EXPRESSIONS), width),
            nn.LeakyReLU(0.2),
            nn.Linear(width, width),
            nn.LeakyReLU(0.2),
            nn.Linear(width, 1),
        )

    def forward(self, vector: Tensor, label: Tensor) -> Tensor:
        return self.layers(torch.cat([vector.flatten(1), label], 1))[:, 0]


def motions(faces: Faces) -> Tensor:
    """Landmarks (B, 68, T, 2) -> points of the sphere (B, T - 1, 68, 2)."""
    return motion.unit(motion.srvf(faces.landmarks.transpose(1, 2)))


class _Perform(nn.Module):
    def __init__(self, method: MotionGAN) -> None:
        super().__init__()
        self.method = method

    def forward(self, neutral: Tensor, emotion: Tensor, noise: Tensor, intensity: Tensor) -> Tensor:
        return self.method.perform(neutral, emotion, noise, intensity)
