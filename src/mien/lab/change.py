"""What flowfill does to a face: how far every pixel moves, and what is added to it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mien.expressions import BLENDSHAPES
from mien.lab.blocks import Modulated, overall, ramp, softened, warp
from mien.lab.creases import SIDE, creases
from mien.lab.geometry import ABOVE, BELOW, LEFT_EYE, LIPS, RIGHT_EYE, coarse_flow, gaps, layered, moves, oval
from mien.lab.method import Edit

OPENS = 0.006
"""Lips part where the linear model moves them ``OPENS`` apart (shares of the crop), and a little where less."""
THIN, THINNEST = 1.3, 0.024
"""Lips that are drawn apart grow thinner: in its middle each loses ``THIN`` of how far they part, at most ``THINNEST``
(shares of the crop). So a smile shows its teeth without pushing the face about."""
MEET = 0.7
"""Lips that close come nearer by this share than the linear model says, which leaves half a smile; the upper by a third
of it."""
STILL = 0.003
"""Motion shorter than this share of the crop is none, so that what hardly moves keeps its grain; all other is so much
shorter. Grows with the edit, as the motion does."""
SHADE = 0.06
"""The share by which skin may grow darker or lighter, and only softly: creases and shadows, never a spot."""


@dataclass(frozen=True)
class Change:
    """What is done to a face; flows in fractions of the crop.

    flow: (B, 2, S, S), of which residual was learned; coarse is the linear model alone. delta: (B, 3, S, S), added
    after the motion, of which paint was learned. mask: (B, 1, S, S), where paint may be. hole: (B, 1, S, S), 1 where
    parting lips leave one.
    """

    flow: Tensor
    delta: Tensor
    paint: Tensor
    mask: Tensor
    residual: Tensor
    coarse: Tensor
    hole: Tensor

    def edit(self, image: Tensor) -> Edit:
        return Edit((warp(image, self.flow) + self.delta).clamp(-1, 1), self.flow, self.delta)


class Generator(nn.Module):
    """(image, landmarks, goal, difference) -> ``Change``, its hole still to be filled.

    A face has two layers, with the upper lip and with the lower. Each moves by the linear model and the residual, less
    what is as good as still, and ``layered`` puts them together. Where lips part the residual moves both alike: what
    it has learned to pull apart, the layers part by themselves.

    Light changes by a linear model of creases, too, and what is learned comes to it.

    It looks at a softened image, so that a sharp portrait looks to it as the news photographs that it learned from.
    Colour is added in the eyes; elsewhere light alone, soft and no more than a little: creases and shadows need no
    colour, and the spots that fool a critic do.
    """

    displacement: Tensor
    slopes: Tensor
    average: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("displacement", torch.zeros(len(BLENDSHAPES), 68, 2))
        self.register_buffer("slopes", torch.zeros(len(BLENDSHAPES), SIDE, SIDE))
        self.register_buffer("average", torch.zeros(68, 2))
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

    def forward(self, image: Tensor, landmarks: Tensor, goal: Tensor, difference: Tensor) -> Change:
        image, size = softened(image), image.shape[-1]
        spread = partial(coarse_flow, landmarks, difference, self.displacement, size)
        halves = torch.stack([spread(part) for part in (ABOVE, BELOW)], 1)
        coarse, _ = layered(halves, landmarks, torch.zeros_like(gaps(landmarks)))
        condition = self.embed(torch.cat([goal, 4 * difference], 1))
        x = torch.cat([image, warp(image, coarse), 20 * coarse], 1)
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
        ends = landmarks + moves(difference, self.displacement)
        wider = gaps(ends) - gaps(landmarks)
        parting = (wider / OPENS).clamp(0, 1).view(-1, 1, 1, 1)
        lips = torch.maximum(*(oval(points[:, LIPS], size) for points in (landmarks, ends)))
        residual = torch.lerp(residual, overall(residual), parting * lips)
        meet = MEET * F.relu(-wider).view(-1, 1, 1, 1) * lips
        down = torch.cat([torch.zeros_like(meet), meet], 1)
        halves = halves + residual[:, None] + torch.stack([-0.35 * down, 0.65 * down], 1)
        length = halves.square().sum(2, keepdim=True).add(1e-12).sqrt()
        thinner = (THIN * wider).clamp(0, THINNEST)
        flow, hole = layered(halves * F.relu(1 - STILL * opened[:, None] / length), landmarks, thinner)
        mask = opened * torch.sigmoid(out[:, 2:3])
        paint = added(1.2 * mask * torch.tanh(out[:, 3:]), image, landmarks, ends)
        light = creases(difference, self.slopes, self.average, ends, size)
        return Change(flow, paint + light * (1 + image), paint, mask, residual, coarse, parting * hole)


def added(paint: Tensor, image: Tensor, landmarks: Tensor, ends: Tensor) -> Tensor:
    """What is added, (B, 3, S, S), of ``paint`` in [-1, 1] to ``image``: colour in the eyes, light elsewhere.

    landmarks, ends: (B, 68, 2) before the edit and, by the linear model, after it.
    """
    size = image.shape[-1]
    places = (oval(points[:, eye], size) for points in (landmarks, ends) for eye in (RIGHT_EYE, LEFT_EYE))
    eyes = torch.stack(list(places)).amax(0)
    light = softened(softened((1 - eyes) * paint.mean(1, keepdim=True))).clamp(-SHADE, SHADE)
    return eyes * paint + light * (1 + image)
