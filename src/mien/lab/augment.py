"""Random, differentiable changes of pictures. All randomness is torch's own, which the trainer seeds step by step."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def relit(image: Tensor, light: float = 0.2) -> Tensor:
    """Change brightness, contrast and saturation of (B, 3, H, W) in [-1, 1] by up to ``light``, picture by picture."""
    count = len(image)
    bright, contrast, colour = (light * (torch.rand(3, count, 1, 1, 1, device=image.device) * 2 - 1)).unbind()
    gray, level = image.mean(1, keepdim=True), image.mean((1, 2, 3), keepdim=True)
    image = gray + (image - gray) * (1 + colour)
    return level + (image - level) * (1 + contrast) + bright


def shifted(image: Tensor, reach: float = 0.05) -> Tensor:
    """Move each picture by whole pixels, up to ``reach`` of its side; edges are repeated."""
    side = image.shape[-1]
    pixels = max(1, round(reach * side))
    padded = F.pad(image, [pixels] * 4, mode="replicate")
    corners = torch.randint(0, 2 * pixels + 1, (len(image), 2)).tolist()
    return torch.stack([p[:, y : y + side, x : x + side] for p, (y, x) in zip(padded, corners, strict=True)])


def jittered(image: Tensor) -> Tensor:
    """What a critic sees in place of the picture: relit and shifted a little (DiffAugment, Zhao et al. 2020)."""
    return shifted(relit(image, 0.1))


def motions(image: Tensor, roll: float, scale: float, shift: float) -> Tensor:
    """(B, 2, 3) random turns (degrees), scales and shifts: from where each pixel is fetched, on [-1, 1]."""
    turn, size, *move = (torch.rand(4, len(image), device=image.device) * 2 - 1).unbind()
    turn, size = turn * math.radians(roll), 1 + size * scale
    cos, sin = turn.cos() * size, turn.sin() * size
    rows = [torch.stack([cos, -sin, 2 * shift * move[0]], 1), torch.stack([sin, cos, 2 * shift * move[1]], 1)]
    return torch.stack(rows, 1)


def fetched(image: Tensor, motion: Tensor, mode: str = "bilinear") -> Tensor:
    """``image`` (B, C, H, W) moved by ``motion``, in single precision; edges are repeated."""
    with torch.autocast(image.device.type, enabled=False):
        grid = F.affine_grid(motion, list(image.shape), align_corners=False)
        return F.grid_sample(image.float(), grid, mode, padding_mode="border", align_corners=False)


def wobbled(image: Tensor, roll: float = 8.0, scale: float = 0.08, shift: float = 0.04) -> Tensor:
    """Turn (degrees), scale and shift each picture at random, as an imprecise aligner would."""
    return fetched(image, motions(image, roll, scale, shift))


def degraded(image: Tensor) -> Tensor:
    """Blur half the pictures (down and up again), gray a fifth, add grain: news photographs and phones alike."""
    count, side = len(image), image.shape[-1]
    share = float(torch.empty(()).uniform_(0.3, 0.9))
    soft = F.interpolate(image, size=max(8, int(side * share)), mode="bilinear", antialias=True)
    soft = F.interpolate(soft, size=side, mode="bilinear")
    chance = torch.rand(3, count, 1, 1, 1, device=image.device)
    image = torch.where(chance[0] < 0.5, soft, image)
    image = torch.where(chance[1] < 0.2, image.mean(1, keepdim=True).expand_as(image), image)
    return image + 0.08 * chance[2] ** 2 * torch.randn_like(image[:, :1])
