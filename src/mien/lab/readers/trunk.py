"""The convolutional trunk that the readers of aligned crops share."""

from __future__ import annotations

from torch import Tensor, nn


def trunk(inputs: int, widths: tuple[int, ...], blocks: int = 2) -> nn.Sequential:
    """Residual stages of ``widths`` channels, n in all: (B, inputs, H, W) -> (B, widths[-1], H / 2^n, W / 2^n)."""
    layers: list[nn.Module] = []
    for width in widths:
        layers += [nn.Conv2d(inputs, width, 3, 2, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
        layers += [Residual(width) for _ in range(blocks)]
        inputs = width
    return nn.Sequential(*layers)


class Residual(nn.Module):
    """Two 3x3 convolutions with batch norm around a skip (He et al. 2016)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
        )

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.relu(x + self.body(x))
