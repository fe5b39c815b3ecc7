"""What flowfill adds to a moved face, and where: colour in mouth and eyes, light on the skin."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from mien.lab.blocks import softened
from mien.lab.geometry import LEFT_EYE, LIPS, RIGHT_EYE, gaps, oval

VIVID, CHROMA = 6.0, 0.3
"""In a mouth that opens weak paint is shown so much stronger, strong paint not: teeth show before a smile is wide. And
so much of its colour stays: green teeth fool a critic."""
OPENS, APART, SHUT = 0.006, 0.06, 0.03
"""A mouth opens where the linear model parts the lips by ``OPENS`` (shares of the crop); one that is ``APART`` before
does not, and one that is less than ``SHUT`` short of that not fully. One that did not open and ends less than ``SHUT``
apart gets the less paint: lips cover what is behind them."""
IVORY = 0.72, 0.64, 0.56
"""Teeth, red, green and blue on the scale of [-1, 1]: what lightens an opening mouth is a share of the way there, and
the way is longer on dark skin."""
SHADE = 0.06
"""The share by which skin elsewhere may grow darker or lighter, and only softly: creases and shadows, never a spot."""


def added(paint: Tensor, image: Tensor, warped: Tensor, landmarks: Tensor, ends: Tensor) -> Tensor:
    """What is added, (B, 3, S, S), of ``paint`` in [-1, 1]: colour in mouth and eyes, elsewhere light.

    landmarks, ends: (B, 68, 2) before the edit and, by the linear model, after it. warped: ``image`` after it.
    """
    size, gap = image.shape[-1], gaps(landmarks)
    opening = ((gaps(ends) - gap) / OPENS).clamp(0, 1) * ((APART - gap) / SHUT).clamp(0, 1)
    opening = opening.view(-1, 1, 1, 1)
    inner, lips, *eyes = (
        torch.maximum(oval(landmarks[:, part], size), oval(ends[:, part], size))
        for part in (LIPS[12:], LIPS, RIGHT_EYE, LEFT_EYE)
    )
    shut = (1 - gaps(ends) / SHUT).clamp(min=0).view(-1, 1, 1, 1)
    mouth = torch.lerp(lips, inner, opening) * torch.maximum(opening, 1 - shut)
    free = torch.maximum(mouth, torch.maximum(*eyes))
    vivid = torch.tanh(VIVID * paint)
    ivory = torch.tensor(IVORY, device=image.device).view(3, 1, 1)
    vivid = torch.lerp(vivid.mean(1, keepdim=True), vivid, CHROMA)
    vivid = vivid.clamp(max=0) + F.relu(vivid) * F.relu(ivory - warped)
    paint = 1.2 * torch.lerp(paint, vivid, mouth * opening)
    light = softened(softened((1 - free) * paint.mean(1, keepdim=True))).clamp(-SHADE, SHADE)
    return free * paint + light * (1 + image)
