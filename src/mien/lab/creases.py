"""Creases: how the light on a face changes with its blendshapes.

A smile folds the cheeks, a sneer the nose. What that does to the light on the skin is much the same share of it in
every face (*expression ratio image*, Liu, Shan & Zhang 2001), so it is linear in the blendshapes and is fitted to
faces, all moved to the average one. Fitted light has no spots, as learned light has that a critic is fooled by.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from mien.expressions import BLENDSHAPES
from mien.lab.blocks import overall, warp
from mien.lab.faces import Faces
from mien.lab.geometry import LEFT_EYE, LIPS, RIGHT_EYE, both_ways, by_blendshape, oval, regressors, spread

SIDE = 64
"""Pixels a side of the average face."""
FOLDING = ("mouth", "cheek", "nose", "eyeSquint")
"""The muscles that crease cheeks and chin. A jaw that drops, eyes that open: what these do to the light is motion."""
SELDOM = ("mouthFrown", "mouthPucker")
"""Those of them that too few photographs show to tell."""
NOSE = [*range(29, 36), 50, 51, 52]
SHARE = 0.7
"""How much of the fitted change is shown: more costs more of the person than it persuades."""
DEEPEST, LIGHTEST = -0.5, 0.05
"""The logarithms of the shares by which light may fall and rise."""


def fit_creases(faces: Faces, ridge: float = 20.0) -> tuple[Tensor, Tensor]:
    """(52, SIDE, SIDE): by how much the logarithm of the light changes per unit of each blendshape; and (68, 2), the
    landmarks of the average face on which it does, in fractions of the crop.

    faces: images uint8, as a table keeps them. They and their mirror images count alike, by ridge regression. What the
    light is on the whole, some lips around, says where the lamp is, and is taken off.
    """
    both = both_ways(faces)
    x, average = regressors(both), both.landmarks.mean(0)
    products = torch.zeros(x.shape[1], SIDE**2, dtype=x.dtype, device=x.device)
    for start in range(0, len(faces), 200):
        part = faces[start : start + 200]
        still = spread(average.expand(len(part), -1, -1), part.landmarks - average, part.image.shape[-1])
        light = F.adaptive_avg_pool2d(warp(part.image.float() / 255, still).mean(1, keepdim=True), SIDE)
        light = (light.clamp(min=0) + 0.05).log()
        detail = (light - overall(light)).double()
        for rows, shown in ((x[start:], detail), (x[len(faces) + start :], detail.flip(3))):
            products += rows[: len(part)].T @ shown.flatten(1)
    slopes = by_blendshape(x, products, ridge).view(-1, SIDE, SIDE) * _cheeks(average)
    folds = [float(name.startswith(FOLDING) and not name.startswith(SELDOM)) for name in BLENDSHAPES]
    return slopes * torch.tensor(folds, device=slopes.device).view(-1, 1, 1), average


def creases(difference: Tensor, slopes: Tensor, average: Tensor, ends: Tensor, size: int) -> Tensor:
    """(B, 1, size, size): the share by which the light changes with a ``difference`` of blendshapes (B, 52).

    slopes, average: from ``fit_creases``. ends: (B, 68, 2) the landmarks after the edit.
    """
    with torch.autocast(difference.device.type, enabled=False):
        light = SHARE * (difference @ slopes.flatten(1)).view(-1, 1, SIDE, SIDE)
        light = warp(light, spread(ends, average - ends, SIDE))
        return F.interpolate(light, size=size, mode="bilinear").clamp(DEEPEST, LIGHTEST).exp() - 1


def _cheeks(average: Tensor) -> Tensor:
    """(SIDE, SIDE): 1 below the eyes of the average face, 0 in nose and lips and off the face, with soft edges."""
    points = average[None]
    face, *others = (oval(points[:, part], SIDE) for part in (list(range(27)), LIPS, NOSE))
    eyes = points[:, RIGHT_EYE + LEFT_EYE, 1].mean()
    height = (torch.arange(SIDE, device=points.device) + 0.5) / SIDE
    below = torch.sigmoid((height - eyes - 0.06) / 0.015)[:, None]
    return (face * below * (1 - torch.maximum(*others)))[0, 0]
