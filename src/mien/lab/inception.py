"""The network that FID and KID are named after: Inception v3 as TensorFlow published it on 2015-12-05.

mien ships no weights of it. The user's are those of pytorch-fid, ``pt_inception-2015-12-05-6726825d.pth``, brought to
safetensors (docs/compare.md has the line), since nothing is ever unpickled here and TorchScript files, which clean-fid
reads, may carry code.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional as F

from mien.errors import MienError
from mien.lab.judges import Kind, batches

SIDE = 299
CLASSES = 1008
"""Of the network of 2015-12-05; later ones, such as torchvision's, have 1000 and give another distance."""


@dataclass(frozen=True, eq=False)
class Inception:
    """A judge, see ``judges.Judge``: (N, 2048) features after the last pooling, of crops resized as clean-fid does.

    weights: tensors by the names of torchvision's Inception.
    """

    path: Path
    weights: Mapping[str, Tensor] = field(repr=False)
    name: str = "Inception"
    independent: bool = True
    kind: Kind = "features"

    @classmethod
    def open(cls, path: Path) -> Inception:
        """Of a safetensors file, on a GPU where there is one; MienError where it is not this network's."""
        try:
            weights = load_file(path, "cuda" if torch.cuda.is_available() else "cpu")
        except (OSError, SafetensorError) as error:
            raise MienError(f"{path}: not a safetensors file; docs/compare.md says how to make it") from error
        try:
            right = len(weights["fc.bias"]) == CLASSES
            features(torch.zeros(1, 3, SIDE, SIDE, device=weights["fc.bias"].device), weights)
        except (KeyError, RuntimeError):
            right = False
        if not right:
            raise MienError(f"{path}: not the Inception of 2015-12-05 that FID is defined by; see docs/compare.md")
        return cls(path, weights)

    def read(self, images: np.ndarray) -> np.ndarray:
        """See ``judges.Judge.read``."""
        device = self.weights["fc.bias"].device
        parts = batches(images)
        return np.concatenate([features(torch.tensor(resized(p)).to(device), self.weights).cpu() for p in parts])


def resized(images: np.ndarray) -> np.ndarray:
    """(N, S, S, 3) uint8 -> (N, 3, 299, 299) float32 in [-1, 1): clean-fid's resize (Parmar et al. 2022).

    Bicubic with antialiasing, each channel as floats by itself, never rounded.
    """
    planes = [[_plane(image[:, :, channel]) for channel in range(3)] for image in images]
    return (np.array(planes, np.float32) - 128) / 128


def _plane(values: np.ndarray) -> np.ndarray:
    image = Image.fromarray(values.astype(np.float32))
    return np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BICUBIC)).clip(0, 255)


@torch.inference_mode()
def features(x: Tensor, weights: Mapping[str, Tensor]) -> Tensor:
    """(B, 3, 299, 299) -> (B, 2048). Szegedy et al. 2015, table 1, as it is in TensorFlow's file.

    That file differs from torchvision's network in its pools: averages leave the padding out, and the last block
    takes the maximum.
    """

    def conv(x: Tensor, name: str, stride: int = 1, same: bool = True) -> Tensor:
        kernel, norm = weights[f"{name}.conv.weight"], f"{name}.bn"
        x = F.conv2d(x, kernel, None, stride, [side // 2 for side in kernel.shape[2:]] if same else 0)
        mean, variance = weights[f"{norm}.running_mean"], weights[f"{norm}.running_var"]
        return F.relu(F.batch_norm(x, mean, variance, weights[f"{norm}.weight"], weights[f"{norm}.bias"], eps=0.001))

    def chain(x: Tensor, branch: str, *ends: str) -> Tensor:
        for end in ends:
            x = conv(x, f"{branch}_{end}")
        return x

    def pooled(x: Tensor, block: str, largest: bool = False) -> Tensor:
        near = F.max_pool2d(x, 3, 1, 1) if largest else F.avg_pool2d(x, 3, 1, 1, count_include_pad=False)
        return conv(near, f"{block}.branch_pool")

    x = conv(conv(x, "Conv2d_1a_3x3", 2, False), "Conv2d_2a_3x3", same=False)
    x = F.max_pool2d(conv(x, "Conv2d_2b_3x3"), 3, 2)
    x = F.max_pool2d(conv(conv(x, "Conv2d_3b_1x1"), "Conv2d_4a_3x3", same=False), 3, 2)
    for block in ("Mixed_5b", "Mixed_5c", "Mixed_5d"):
        five, three = chain(x, f"{block}.branch5x5", "1", "2"), chain(x, f"{block}.branch3x3dbl", "1", "2", "3")
        x = torch.cat([conv(x, f"{block}.branch1x1"), five, three, pooled(x, block)], 1)
    three = conv(chain(x, "Mixed_6a.branch3x3dbl", "1", "2"), "Mixed_6a.branch3x3dbl_3", 2, False)
    x = torch.cat([conv(x, "Mixed_6a.branch3x3", 2, False), three, F.max_pool2d(x, 3, 2)], 1)
    for block in ("Mixed_6b", "Mixed_6c", "Mixed_6d", "Mixed_6e"):
        seven = chain(x, f"{block}.branch7x7", "1", "2", "3")
        twice = chain(x, f"{block}.branch7x7dbl", "1", "2", "3", "4", "5")
        x = torch.cat([conv(x, f"{block}.branch1x1"), seven, twice, pooled(x, block)], 1)
    three = conv(conv(x, "Mixed_7a.branch3x3_1"), "Mixed_7a.branch3x3_2", 2, False)
    seven = conv(chain(x, "Mixed_7a.branch7x7x3", "1", "2", "3"), "Mixed_7a.branch7x7x3_4", 2, False)
    x = torch.cat([three, seven, F.max_pool2d(x, 3, 2)], 1)
    for block in ("Mixed_7b", "Mixed_7c"):
        three, twice = conv(x, f"{block}.branch3x3_1"), chain(x, f"{block}.branch3x3dbl", "1", "2")
        wide = [conv(three, f"{block}.branch3x3_{end}") for end in ("2a", "2b")]
        wide += [conv(twice, f"{block}.branch3x3dbl_{end}") for end in ("3a", "3b")]
        x = torch.cat([conv(x, f"{block}.branch1x1"), *wide, pooled(x, block, block == "Mixed_7c")], 1)
    return x.mean((2, 3))
