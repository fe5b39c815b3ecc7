"""flowfill: an edit that does not depend on resolution.

The generator looks at an aligned crop and says how far every pixel moves (*flow*), and what motion cannot give (teeth,
creases, shadow: a *mask* times a *colour*, added). The editor applies both to the photograph at its own resolution.

Motion starts from a linear model, fitted before training: how each of 68 landmarks moves with each of 52 blendshapes.
Half of each batch has an answer. A mouth can be closed by geometry (``geometry.py``), so a real face whose mouth was
closed asks for itself, teeth and all; now and then geometry's own closing is the answer to the open face. The other
half are people as they come, who have none: there a critic scores patches (hinge, spectral norm) and, with a second
head, reads blendshapes. That head learns from real faces only and keeps learning beside the generator: a frozen reader
in its place is fooled within minutes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mien.expressions import BLENDSHAPES, EXPRESSIONS, GAZE
from mien.lab.augment import jittered, relit, wobbled
from mien.lab.blocks import Modulated, Stage, ramp, softened, warp
from mien.lab.faces import Faces
from mien.lab.geometry import (
    ABOVE,
    BELOW,
    LIPS,
    around,
    coarse_flow,
    fit_displacement,
    gaps,
    local,
    moves,
    overlapped,
    reshaped,
)
from mien.lab.losses import hinge_critic, total, total_variation
from mien.lab.method import Edit, Method, Optimizer, Recipe, Terms, Turn
from mien.lab.paint import OPENS, added
from mien.lab.readers.emotion import Emotion, EmotionConfig
from mien.lab.readers.identity import Identity, IdentityConfig
from mien.target import prototypes, reached

MOVABLE = [i for i, name in enumerate(BLENDSHAPES) if name not in GAZE and name != "_neutral"]

CLOSES = 0.25
"""How much farther all moves where the lips close: by what training has them do, half a smile is left."""
STILL = 0.003
"""Motion shorter than this share of the crop is none, so that what hardly moves keeps its grain; all other is so much
shorter. Grows with the edit, as the motion does."""


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
    """Steps in which the critic learns alone; some 200 where the generator comes without it (--from default)."""
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
    """U-Net generator and patch critic; see the module's docstring."""

    Config = FlowFillConfig
    reads: ClassVar[frozenset[str]] = frozenset({"image", "blendshapes", "landmarks"})
    source_fields: ClassVar[tuple[str, ...]] = ("image", "blendshapes", "landmarks")
    condition: ClassVar[tuple[str, ...]] = ("blendshapes",)
    average: ClassVar[tuple[str, ...]] = ("generator",)
    recipe: ClassVar[Recipe] = Recipe(batch=20, steps=5_200, balance=(0.3, 0.6), decay=0.4)
    recipes: ClassVar[dict[str, dict[str, Any]]] = {
        "adapt": {"head_start": 200, "lr": 5e-5, "batch": 10, "steps": 600, "decay": 0.5}
    }
    config: FlowFillConfig

    def __init__(self, config: FlowFillConfig) -> None:
        super().__init__(config)
        self.generator = Generator(config.width)
        self.critic = Critic(config.width)
        if config.identity:
            self.identity = Identity(IdentityConfig()).requires_grad_(False)
        if config.emotion:
            self.emotion = Emotion(EmotionConfig()).requires_grad_(False)

    def prepare(self, faces: Faces) -> None:
        self.generator.displacement.copy_(local(fit_displacement(faces)))

    def optimizer(self, network: str) -> Optimizer:
        return Optimizer(lr=self.config.lr * (2 if network == "critic" else 1), betas=(0.5, 0.99))

    def turns(self, step: int) -> list[Turn]:
        turns = [
            Turn("critic", ("critic",), self.critic_loss),
            Turn("generator", ("generator",), self.generator_loss),
        ]
        return turns[:1] if step < self.config.head_start else turns

    def edit(self, source: Faces, target: Faces, intensity: Tensor) -> Edit:
        _, flow, delta, *_ = self._change(source, target, intensity)
        return Edit((warp(source.image, flow) + delta).clamp(-1, 1), flow, delta)

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
        goal, flow, delta, mask, residual, coarse = self._change(source, lesson.target, lesson.intensity)
        fake = (warp(source.image, flow) + delta).clamp(-1, 1)
        score, read = self.critic(jittered(fake))
        ends = source.landmarks + self._moves(source.blendshapes, goal)
        lips = around(ends[:, LIPS], fake.shape[-1])
        weight = 1 + 5 * torch.maximum(lips, around(source.landmarks[:, LIPS], fake.shape[-1]))[:known]
        layers = zip(self.critic.layers(fake[:known]), self.critic.layers(truth), strict=True)
        paid = 1 + (self.config.outside - 1) * (1 - lips)
        astray = torch.where(coarse.square().sum(1, keepdim=True) < STILL**2, self.config.stray, 1.0)
        terms = {
            "fool": -self.config.fool * total([scale.mean() for scale in score]),
            "expression": self.config.expression * F.l1_loss(read[known:, MOVABLE], goal[known:, MOVABLE]),
            "answer": self.config.answer * (weight * (fake[:known] - truth).abs()).mean(),
            "match": self.config.match * total([F.l1_loss(ours, theirs.detach()) for ours, theirs in layers]),
            "change": self.config.change * (paid * delta.abs()).mean(),
            "mask": self.config.mask * mask.mean(),
            "smooth": self.config.smooth * total([total_variation(x) for x in (mask, 100 * residual, 10 * delta)]),
            "motion": self.config.motion * (astray * flow.abs()).mean(),
        }
        if self.config.identity:
            alike = F.cosine_similarity(self.identity(source.image), self.identity(fake))
            terms["identity"] = self.config.identity * (1 - alike).mean()
        if self.config.emotion and (asked := lesson.asked >= 0).any():
            shown = F.interpolate(relit(wobbled(fake[asked])), size=self.emotion.config.size, mode="area")
            seen = self.emotion(shown).float().gather(1, lesson.asked[asked][:, None])
            terms["emotion"] = self.config.emotion * (1 - seen).mean()
        return terms

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

    def _change(self, source: Faces, target: Faces, intensity: Tensor) -> tuple[Tensor, ...]:
        start = source.blendshapes
        difference = (target.blendshapes - start) * self._movable(start) * intensity.view(-1, 1)
        return (start + difference, *self.generator(source.image, source.landmarks, start + difference, difference))

    def _moves(self, start: Tensor, end: Tensor) -> Tensor:
        """(B, 68, 2): how far the linear model moves each landmark."""
        return moves((end - start) * self._movable(start), self.generator.displacement)

    def _movable(self, like: Tensor) -> Tensor:
        movable = torch.zeros(len(BLENDSHAPES), device=like.device)
        movable[MOVABLE] = 1
        return movable


class Generator(nn.Module):
    """(image, landmarks, goal, difference) -> flow (B, 2, S, S), delta (B, 3, S, S), mask (B, 1, S, S), residual,
    coarse (both as flow).

    Flow is coarse, the linear model's, plus the residual, less what is as good as still. Where lips meet it is put
    together of two, the upper lip's and the lower's, so that they cover the teeth.

    It looks at a softened image, so that a sharp portrait looks to it as the news photographs that it learned from. The
    delta, mask times colour, is free where mouth and eyes are open or will be; elsewhere it is light alone, soft and no
    more than a little: creases and shadows need no colour, and the spots that fool a critic do.
    """

    displacement: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("displacement", torch.zeros(len(BLENDSHAPES), 68, 2))
        w, c = width, 128
        self.embed = nn.Sequential(nn.Linear(2 * len(BLENDSHAPES), c), nn.SiLU(), nn.Linear(c, c), nn.SiLU())
        self.enter = nn.Conv2d(32, w, 3, padding=1)
        self.block1 = Modulated(w, c)
        self.down1 = nn.Conv2d(w, 2 * w, 4, 2, 1)
        self.block2 = Modulated(2 * w, c)
        self.down2 = nn.Conv2d(2 * w, 4 * w, 4, 2, 1)
        self.deep = nn.ModuleList(Modulated(4 * w, c) for _ in range(2))
        self.up2 = nn.Conv2d(4 * w, 2 * w, 3, padding=1)
        self.merge2 = nn.Conv2d(4 * w, 2 * w, 3, padding=1)
        self.block3 = Modulated(2 * w, c)
        self.up1 = nn.Conv2d(2 * w, w, 3, padding=1)
        self.merge1 = nn.Conv2d(2 * w, w, 3, padding=1)
        self.block4 = Modulated(w, c)
        self.leave = nn.Conv2d(w, 24, 3, padding=1)
        with torch.no_grad():
            self.leave.weight.mul_(0.1)

    def forward(self, image: Tensor, landmarks: Tensor, goal: Tensor, difference: Tensor) -> tuple[Tensor, ...]:
        image = softened(image)
        spread = partial(coarse_flow, landmarks, difference, self.displacement, image.shape[-1])
        ends = landmarks + moves(difference, self.displacement)
        closing = ((gaps(landmarks) - gaps(ends)) / OPENS).clamp(0, 1).view(-1, 1, 1, 1)
        halves = torch.stack([spread(part) for part in (ABOVE, BELOW)], 1)
        coarse = torch.lerp(spread(), overlapped(halves, landmarks), closing)
        condition = self.embed(torch.cat([goal, 4 * difference], 1))
        warped = warp(image, coarse)
        x = torch.cat([image, warped, 20 * coarse], 1)
        x1 = self.block1(self.enter(F.pixel_unshuffle(x, 2)), condition)
        x2 = self.block2(self.down1(x1), condition)
        x = self.down2(x2)
        for block in self.deep:
            x = block(x, condition)
        x = self.merge2(torch.cat([self.up2(F.interpolate(x, scale_factor=2.0)), x2], 1))
        x = self.block3(x, condition)
        x = self.merge1(torch.cat([self.up1(F.interpolate(x, scale_factor=2.0)), x1], 1))
        x = self.block4(x, condition)
        out = F.pixel_shuffle(self.leave(F.silu(x)), 2).float()
        opened = ramp(difference.abs().amax(1))
        residual = opened * 0.06 * torch.tanh(out[:, :2])
        mask = opened * torch.sigmoid(out[:, 2:3])
        delta = added(mask * torch.tanh(out[:, 3:]), image, warped, landmarks, ends)
        further = 1 + CLOSES * closing
        met = overlapped((halves + residual[:, None]) * further[:, None], landmarks)
        flow = torch.lerp(coarse + residual, met, closing)
        length = flow.square().sum(1, keepdim=True).add(1e-12).sqrt()
        return flow * F.relu(1 - STILL * opened / length), delta, mask, residual, coarse


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
