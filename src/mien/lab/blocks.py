"""Layers that more than one method uses."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

BINOMIAL = (1, 4, 6, 4, 1)


class Modulated(nn.Module):
    """Residual block whose group norms are scaled and shifted by a condition vector (FiLM)."""

    def __init__(self, channels: int, condition: int, groups: int = 8) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.GroupNorm(groups, channels, affine=False) for _ in range(2))
        self.convs = nn.ModuleList(nn.Conv2d(channels, channels, 3, padding=1) for _ in range(2))
        self.film = nn.Linear(condition, 4 * channels)
        nn.init.zeros_(self.film.bias)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        film = self.film(condition)[:, :, None, None].chunk(4, dim=1)
        h = x
        for i, (norm, conv) in enumerate(zip(self.norms, self.convs, strict=True)):
            h = conv(F.silu(norm(h) * (1 + film[2 * i]) + film[2 * i + 1]))
        return x + h


class Stage(nn.Module):
    """Half the side: 4x4 convolution under spectral norm, leaky ReLU, and a gain of 2.

    Spectral norm holds a layer's largest gain at 1, so what a picture usually excites shrinks to about half; without
    the gain a critic of five layers scores everything near 0 and never leaves chance.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = spectral_norm(nn.Conv2d(inputs, outputs, 4, 2, 1))

    def forward(self, x: Tensor) -> Tensor:
        return 2 * F.leaky_relu(self.conv(x), 0.2)


def warp(image: Tensor, flow: Tensor) -> Tensor:
    """Fetch each pixel of ``image`` (B, C, H, W) from ``flow`` (B, 2, H, W; x, y in fractions of the side) away.

    Bicubic, as the editor samples photographs: against a blur of training's own, a generator learns to sharpen.
    Always in single precision: half a bfloat16 step of a sampling position is a visible shift.
    """
    height, width = image.shape[-2:]
    with torch.autocast(image.device.type, enabled=False):
        y = (torch.arange(height, device=image.device) + 0.5) / height
        x = (torch.arange(width, device=image.device) + 0.5) / width
        grid = torch.stack(torch.meshgrid(y, x, indexing="ij")[::-1], -1) + flow.float().permute(0, 2, 3, 1)
        return F.grid_sample(image.float(), grid * 2 - 1, mode="bicubic", padding_mode="border", align_corners=False)


def softened(image: Tensor) -> Tensor:
    """(B, C, H, W) under a Gaussian of one pixel's width (five binomial taps each way); edges are repeated."""
    height, width = image.shape[-2:]
    x = F.pad(image, (2, 2, 0, 0), mode="replicate")
    image = torch.stack([share / 16 * x[..., i : i + width] for i, share in enumerate(BINOMIAL)]).sum(0)
    y = F.pad(image, (0, 0, 2, 2), mode="replicate")
    return torch.stack([share / 16 * y[..., i : i + height, :] for i, share in enumerate(BINOMIAL)]).sum(0)


def overall(x: Tensor) -> Tensor:
    """What (B, C, S, S) is on the whole, without what is smaller than lips: two means over an eighth of the side."""
    side = int(x.shape[-1]) // 16 * 2 + 1
    for _ in range(2):
        x = F.avg_pool2d(x, side, 1, side // 2, count_include_pad=False)
    return x


def ramp(change: Tensor) -> Tensor:
    """Opens a network's output as the asked change (B,) grows: 0 at 0, 1 from a quarter on."""
    return (4 * change).clamp(max=1).view(-1, 1, 1, 1)
