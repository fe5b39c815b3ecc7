"""flowfill: an edit that does not depend on resolution.

The generator looks at an aligned crop and says how far every pixel moves (*flow*) and what creases and shadows are
added (*delta*). The editor applies both to the photograph at its own resolution. What comes to be seen between parting
lips can neither be moved nor added: the picture gets a hole there, which another network fills (``mouth.py``).

Motion starts from a linear model, fitted before training: how each of 68 landmarks moves with each of 52 blendshapes.
So do creases (``creases.py``): how the light on cheeks and chin changes with them.
Half of each batch has an answer. A mouth can be closed by geometry (``geometry.py``), so a real face whose mouth was
closed asks for itself, teeth and all; now and then geometry's own closing is the answer to the open face. The other
half are people as they come, who have none: there a critic scores patches (hinge, spectral norm) and, with a second
head, reads blendshapes. That head learns from real faces only and keeps learning beside the generator: a frozen reader
in its place is fooled within minutes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mien.expressions import BLENDSHAPES, EXPRESSIONS, GAZE
from mien.lab import mouth
from mien.lab.augment import jittered, relit, wobbled
from mien.lab.blocks import Stage, softened, warp
from mien.lab.change import STILL, Change, Generator
from mien.lab.creases import fit_creases
from mien.lab.faces import Faces
from mien.lab.geometry import LIPS, around, fit_displacement, gaps, local, moves, reshaped
from mien.lab.losses import hinge_critic, total, total_variation
from mien.lab.method import Edit, Method, Optimizer, Recipe, Terms, Turn
from mien.lab.readers.emotion import Emotion, EmotionConfig
from mien.lab.readers.identity import Identity, IdentityConfig
from mien.target import prototypes, reached

MOVABLE = [i for i, name in enumerate(BLENDSHAPES) if name not in GAZE and name != "_neutral"]


@dataclass(frozen=True)
class FlowFillConfig:
    """size: side of the crop. width: channels at half resolution. The rest weighs the generator's loss terms."""

    size: int = 128
    width: int = 48
    answer: float = 10.0
    """L1 to the answer, six times as much around the mouth."""
    match: float = 2.0
    """L1 between what the critic's layers make of the edit and of its answer."""
    opening: float = 0.75
    """Share of the answers that open a mouth; the rest close one."""
    fool: float = 0.5
    expression: float = 5.0
    identity: float = 0.0
    """Above 0 it needs a trained identity reader (``--reader``)."""
    change: float = 1.0
    outside: float = 12.0
    """How many times dearer what is added is outside the box of the lips: critics are fooled by a spot on a cheek."""
    mask: float = 0.05
    smooth: float = 0.1
    motion: float = 25.0
    """On how far pixels move: where a face could be moved or painted, moving it costs more of the person."""
    stray: float = 4.0
    """How many times dearer motion is where the linear model has none: a smile leaves the brows alone."""
    named: float = 0.3
    """Share of the edits without an answer that ask for an expression by name, as the editor does."""
    emotion: float = 0.0
    """How little a trained emotion reader (``--reader``) sees of those, where this is above 0: 1 less the probability,
    which pulls at those that are nearly seen, and not at the hopeless: by cross entropy fear became a grimace."""
    partial: float = 0.25
    """Share of the training edits without an answer that stop short of the full target."""
    head_start: int = 0
    """Steps in which the critics learn alone; some 200 where the generator comes without them (--from default)."""
    lr: float = 2e-4
    """Adam's learning rate of the generator; the critic has twice as much."""


@dataclass(frozen=True)
class Lesson:
    """What the generator is asked: ``source`` towards ``target``. truth: (N, 3, S, S), the answers of the first N.

    asked: (B,) the expression asked for by name, -1 where none was.
    """

    source: Faces
    target: Faces
    intensity: Tensor
    truth: Tensor
    asked: Tensor


class FlowFill(Method):
    """A generator, a filler of mouths, and a critic for each; see the module's docstring."""

    Config = FlowFillConfig
    reads: ClassVar[frozenset[str]] = frozenset({"image", "blendshapes", "landmarks"})
    source_fields: ClassVar[tuple[str, ...]] = ("image", "blendshapes", "landmarks")
    condition: ClassVar[tuple[str, ...]] = ("blendshapes",)
    average: ClassVar[tuple[str, ...]] = ("generator", "filler")
    recipe: ClassVar[Recipe] = Recipe(batch=20, steps=5_200, balance=(0.3, 0.6), decay=0.4)
    recipes: ClassVar[dict[str, dict[str, Any]]] = {
        "adapt": {"head_start": 200, "lr": 5e-5, "batch": 10, "steps": 600, "decay": 0.5}
    }
    config: FlowFillConfig

    def __init__(self, config: FlowFillConfig) -> None:
        super().__init__(config)
        self.generator = Generator(config.width)
        self.critic = Critic(config.width)
        self.filler = mouth.Filler(config.width)
        self.mouth_critic = mouth.MouthCritic(config.width)
        if config.identity:
            self.identity = Identity(IdentityConfig()).requires_grad_(False)
        if config.emotion:
            self.emotion = Emotion(EmotionConfig()).requires_grad_(False)

    def prepare(self, faces: Faces) -> None:
        self.generator.displacement.copy_(local(fit_displacement(faces)))
        for buffer, fitted in zip((self.generator.slopes, self.generator.average), fit_creases(faces), strict=True):
            buffer.copy_(fitted)

    def optimizer(self, network: str) -> Optimizer:
        twice = network in ("critic", "mouth_critic")
        return Optimizer(lr=self.config.lr * (2 if twice else 1), betas=(0.5, 0.99))

    def turns(self, step: int) -> list[Turn]:
        steep = partial(mouth.critic_loss, steep=step % mouth.LAZY == 0)
        turns = [
            Turn("critic", ("critic",), self.critic_loss),
            Turn("mouth_critic", ("mouth_critic",), partial(self.mouth_loss, steep)),
            Turn("filler", ("filler",), partial(self.mouth_loss, mouth.filler_loss)),
            Turn("generator", ("generator",), self.generator_loss),
        ]
        return turns[:2] if step < self.config.head_start else turns

    def edit(self, source: Faces, target: Faces, intensity: Tensor) -> Edit:
        return self._change(source, target, intensity)[1].edit(source.image)

    def critic_loss(self, source: Faces, target: Faces) -> Terms:
        """Real faces are those whose expressions are asked for, so that fakes and reals differ in nothing else."""
        with torch.no_grad():
            lesson = self.lesson(source, target)
            fake = self.edit(lesson.source, lesson.target, lesson.intensity).image
        real_score, real_read = self.critic(jittered(target.image))
        fake_score, _ = self.critic(jittered(fake))
        return {
            "hinge": total([hinge_critic(*pair) for pair in zip(real_score, fake_score, strict=True)]),
            "read": 8 * F.l1_loss(real_read, target.blendshapes),
        }

    def generator_loss(self, source: Faces, target: Faces) -> Terms:
        with torch.no_grad():
            lesson = self.lesson(source, target)
        source, truth, known = lesson.source, lesson.truth, len(lesson.truth)
        goal, change = self._change(source, lesson.target, lesson.intensity)
        fake = change.edit(source.image).image
        score, read = self.critic(jittered(fake))
        ends = source.landmarks + self._moves(source.blendshapes, goal)
        lips = around(ends[:, LIPS], fake.shape[-1])
        weight = 1 + 5 * torch.maximum(lips, around(source.landmarks[:, LIPS], fake.shape[-1]))[:known]
        layers = zip(self.critic.layers(fake[:known]), self.critic.layers(truth), strict=True)
        paid = 1 + (self.config.outside - 1) * (1 - lips)
        astray = torch.where(change.coarse.square().sum(1, keepdim=True) < STILL**2, self.config.stray, 1.0)
        painted = (1 - change.hole) * change.paint
        rough = (change.mask, 100 * change.residual, 10 * painted)
        terms = {
            "fool": -self.config.fool * total([scale.mean() for scale in score]),
            "expression": self.config.expression * F.l1_loss(read[known:, MOVABLE], goal[known:, MOVABLE]),
            "answer": self.config.answer * (weight * (fake[:known] - truth).abs()).mean(),
            "match": self.config.match * total([F.l1_loss(ours, theirs.detach()) for ours, theirs in layers]),
            "change": self.config.change * (paid * painted.abs()).mean(),
            "mask": self.config.mask * change.mask.mean(),
            "smooth": self.config.smooth * total([total_variation(x) for x in rough]),
            "motion": self.config.motion * (astray * (1 - change.hole) * change.flow.abs()).mean(),
        }
        if self.config.identity:
            alike = F.cosine_similarity(self.identity(source.image), self.identity(fake))
            terms["identity"] = self.config.identity * (1 - alike).mean()
        if self.config.emotion and (asked := lesson.asked >= 0).any():
            shown = F.interpolate(relit(wobbled(fake[asked])), size=self.emotion.config.size, mode="area")
            seen = self.emotion(shown).float().gather(1, lesson.asked[asked][:, None])
            terms["emotion"] = self.config.emotion * (1 - seen).mean()
        return terms

    def mouth_loss(self, loss: Callable[..., Terms], source: Faces, target: Faces) -> Terms:
        """One of ``mouth.py``'s, of the faces whose expressions are asked for."""
        return loss(self.filler, self.mouth_critic, target)

    def lesson(self, source: Faces, target: Faces) -> Lesson:
        """The first half of the batch with answers, the rest as it is.

        Of two faces the one with the wider mouth is taken, and its expression is moved to the other's by geometry or,
        every second time, by the generator itself: what a closed mouth looks like must not give away how it was closed.
        """
        count, known = len(source), len(source) // 2
        wider = gaps(target.landmarks) >= gaps(source.landmarks)
        wide = Faces.where(wider, target, source)[:known].only(*self.source_fields)
        narrow = Faces.where(wider, source, target)[:known].only(*self.source_fields)
        move = self._moves(wide.blendshapes, narrow.blendshapes)
        image, landmarks = reshaped(wide.image, wide.landmarks, move, gaps(narrow.landmarks))
        chance = torch.rand(4, count, device=image.device)
        opening = chance[0, :known] < self.config.opening
        own = opening & (chance[0, :known] < self.config.opening / 2)
        mine = self.edit(wide, narrow, torch.ones_like(chance[0, :known])).image
        image = torch.where(own.view(-1, 1, 1, 1), mine, image)
        told = narrow.having(image=image, landmarks=landmarks)
        intensity = torch.where(chance[1] < self.config.partial, chance[2], 1.0)
        intensity[:known] = 1
        asked = torch.randint(len(EXPRESSIONS), (count,), device=image.device)
        asked = torch.where(chance[3] < self.config.named, asked, -1)
        asked[:known] = -1
        scores = torch.where(asked[:, None] >= 0, named(asked, source.blendshapes), target.blendshapes)
        goals = target.having(blendshapes=scores)[known:].only(*self.source_fields)
        return Lesson(
            Faces.joined(Faces.where(opening, told, wide), source[known:].only(*self.source_fields)),
            Faces.joined(Faces.where(opening, wide, told), goals),
            intensity,
            torch.where(opening.view(-1, 1, 1, 1), wide.image, image),
            torch.where(intensity == 1, asked, -1),
        )

    def _change(self, source: Faces, target: Faces, intensity: Tensor) -> tuple[Tensor, Change]:
        """What is asked for, (B, 52), and what is done."""
        start = source.blendshapes
        difference = (target.blendshapes - start) * self._movable(start) * intensity.view(-1, 1)
        goal = start + difference
        change = self.generator(source.image, source.landmarks, goal, difference)
        moved = warp(softened(source.image), change.flow) + change.delta
        filled = mouth.lightened(self.filler(moved, change.hole, goal), change.hole)
        return goal, replace(change, delta=change.delta + filled - moved)

    def _moves(self, start: Tensor, end: Tensor) -> Tensor:
        """(B, 68, 2): how far the linear model moves each landmark."""
        return moves((end - start) * self._movable(start), self.generator.displacement)

    def _movable(self, like: Tensor) -> Tensor:
        movable = torch.zeros(len(BLENDSHAPES), device=like.device)
        movable[MOVABLE] = 1
        return movable


class Critic(nn.Module):
    """Image -> scores at three scales, each (B, n), and blendshapes (B, 52).

    Most patches of an edited face are the photograph's own and score alike, so patches of 16 and 32 px are looked at in
    the middle of the crop only, and a third score sees the face as a whole.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        w = width
        self.stem = nn.Sequential(Stage(3, w), Stage(w, 2 * w), Stage(2 * w, 4 * w))
        self.fine = nn.Conv2d(4 * w, 1, 3, padding=1)
        self.trunk = Stage(4 * w, 6 * w)
        self.coarse = nn.Conv2d(6 * w, 1, 3, padding=1)
        self.deep = nn.Sequential(Stage(6 * w, 8 * w), nn.AdaptiveAvgPool2d(4), nn.Flatten())
        self.whole = nn.Linear(8 * w * 16, 1)
        self.reader = nn.Linear(8 * w * 16, len(BLENDSHAPES))

    def forward(self, image: Tensor) -> tuple[list[Tensor], Tensor]:
        *_, fine, trunk = self._layers(image)
        deep = self.deep(trunk)
        scores = [middle(self.fine(fine)).flatten(1), middle(self.coarse(trunk)).flatten(1), self.whole(deep)]
        return [score.float() for score in scores], self.reader(deep).float()

    def layers(self, image: Tensor) -> list[Tensor]:
        """What every stage makes of the image, in single precision."""
        return [layer.float() for layer in self._layers(image)]

    def _layers(self, image: Tensor) -> list[Tensor]:
        found = [image]
        for stage in (*self.stem, self.trunk):
            found.append(stage(found[-1]))
        return found[1:]


def middle(patches: Tensor) -> Tensor:
    """The three quarters of (B, C, N, N) in which a face lies, from eyebrows to chin."""
    side = patches.shape[-1]
    edge = side // 8
    return patches[..., edge : side - edge, edge : side - edge]


def named(asked: Tensor, start: Tensor) -> Tensor:
    """(B, 52): the scores to reach from ``start`` (B, 52) for expressions by number (B,), as the editor has them."""
    rows = np.stack([prototypes()[name] for name in EXPRESSIONS])[asked.cpu().numpy()]
    return torch.from_numpy(reached(rows, start.float().cpu().numpy())).to(start)
