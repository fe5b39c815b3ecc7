"""The last step of every edit, as a graph: flow and delta at crop size, applied to a photograph at its own size.

It is written in torch because the lab can check it there, and exported once, so that the user wing runs it on ONNX
Runtime's threads and needs neither torch nor OpenCV.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

GRAIN = 0.25
"""Chosen on photographs moved by parts of a pixel: their fine grain (variance of the Laplacian) then stays, within a
tenth at a quarter of a pixel; at half a pixel 0.6 of it would be left without."""

TEAR = 0.05
"""A flow that differs by more, in fractions of the crop, from a pixel of the crop to the next but one, is torn."""


class Render(nn.Module):
    """See ``forward``."""

    def forward(
        self, photo: Tensor, to_crop: Tensor, to_photo: Tensor, weight: Tensor, flow: Tensor, delta: Tensor
    ) -> Tensor:
        """Edit ``photo`` (1, H, W, 3) uint8 and return it in the same form.

        to_crop: (2, 3), photo pixels to crop fractions. to_photo: (2, 2), a crop displacement to photo pixels.
        weight: (1, 1, S, S) in [0, 1], where the edit holds. flow: (1, 2, S, S) in crop fractions. delta: (1, 3, S, S)
        on the scale of [-1, 1]. Pixels that would move by less than 0.02 px and change by less than half a level are
        returned as they are.
        """
        picture = photo.float().permute(0, 3, 1, 2)
        height, width = picture.shape[2], picture.shape[3]
        y = torch.arange(height).float() + 0.5
        x = torch.arange(width).float() + 0.5
        where = torch.stack([x[None, :].expand(height, width), y[:, None].expand(height, width)], -1)[None]
        in_crop = where @ to_crop[:, :2].T + to_crop[:, 2]
        control = F.grid_sample(
            torch.cat([flow, delta], 1) * weight,
            in_crop * 2 - 1,
            mode="bicubic",
            padding_mode="zeros",
            align_corners=False,
        )
        move = _torn(control[:, :2], flow * weight, in_crop).permute(0, 2, 3, 1) @ to_photo.T
        change = control[:, 2:] * 127.5
        grid = (where + move) / torch.stack([torch.as_tensor(width), torch.as_tensor(height)]).float() * 2 - 1
        fetched = F.grid_sample(picture, grid, mode="bicubic", padding_mode="border", align_corners=False)
        fetched = fetched + GRAIN * _lost(fetched, (move - move.round()).abs().permute(0, 3, 1, 2))
        edited = (fetched + change).round().clamp(0, 255)
        still = (move.abs().amax(-1)[:, None] < 0.02) & (change.abs().amax(1, keepdim=True) < 0.5)
        return torch.where(still, picture, edited).permute(0, 2, 3, 1).to(torch.uint8)


def _torn(move: Tensor, flow: Tensor, in_crop: Tensor) -> Tensor:
    """``move``, (1, 2, H, W) sampled from ``flow`` (1, 2, S, S) at ``in_crop``, as it is on the nearer side of a tear.

    Where closing lips meet, one half of the face goes up and the other down. What lies between the two flows would
    fetch what is between the lips: teeth, in a line.
    """
    down = flow[:, 1:]
    sides = torch.cat([-F.max_pool2d(-down, 3, 1, 1), F.max_pool2d(down, 3, 1, 1)], 1)
    sides = F.grid_sample(sides, in_crop * 2 - 1, mode="nearest", padding_mode="zeros", align_corners=False)
    low, high = sides[:, :1], sides[:, 1:]
    across = move[:, 1:]
    nearer = torch.where(2 * across > low + high, high, low)
    return torch.cat([move[:, :1], torch.where(high - low > TEAR, nearer, across)], 1)


def _lost(fetched: Tensor, between: Tensor) -> Tensor:
    """What bicubic sampling ``between`` pixels, (1, 2, H, W) 0 on a pixel to 0.5 half-way, takes of the grain."""
    share = 16 * (between * (1 - between)) ** 2
    x = F.pad(fetched, (1, 1, 0, 0), mode="replicate")
    y = F.pad(fetched, (0, 0, 1, 1), mode="replicate")
    across = 2 * fetched - x[..., :-2] - x[..., 2:]
    down = 2 * fetched - y[..., :-2, :] - y[..., 2:, :]
    return (share[:, :1] * across + share[:, 1:] * down) / 4
