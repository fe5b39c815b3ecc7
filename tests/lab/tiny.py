"""Methods small enough to train in a test, and a trainer for them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from rich.console import Console
from torch import Tensor, nn

from mien.expressions import EXPRESSIONS
from mien.lab.data import FaceTable, load
from mien.lab.faces import Faces
from mien.lab.method import Edit, Method, Recipe, Terms, Turn
from mien.lab.methods import METHODS, READERS
from mien.lab.trainer import Trainer

V2 = {"size": 32, "width": 8, "bottom": 16, "hidden": 8, "style": 4}
CONFIGS: dict[str, dict[str, Any]] = {
    "flowfill": {"size": 32, "width": 8},
    "stargan": {"size": 32, "width": 8, "blocks": 1, "critic_steps": 2},
    "laun": {"size": 32, "width": 8, "blocks": 1, "critic_steps": 2, "vgg19_width": 2},
    "fagan": {"size": 32, "width": 8, "blocks": 1, "attributes": 8},
    "starganv2": V2,
    "starganv2+options": V2 | {"hidden": 16, "style": 16, "spectral": True, "minibatch": True, "identity": True},
    "cyclegan": {"size": 32, "width": 8, "critic_width": 8, "blocks": 1, "pool": 6},
    "ganimation": {"size": 32, "width": 8, "blocks": 1, "critic_steps": 2},
    "ganimation+units": {"size": 32, "width": 8, "blocks": 1, "critic_steps": 2, "scores": "units"},
    "lgpgan": {"size": 32, "width": 8, "blocks": 1, "critic_steps": 2},
    "regions": {"size": 32, "width": 8, "blocks": 1, "critic_steps": 2},
    "regions+face": {"size": 32, "width": 8, "blocks": 1, "mode": "face", "back": "poisson"},
    "regions+delta": {"size": 32, "width": 8, "blocks": 1, "back": "delta"},
    "regions+cyclegan": {"method": "cyclegan", "mode": "image", "size": 32, "width": 8, "blocks": 1},
    "morphable": {"size": 32},
    "landmarkcgan": {"size": 32, "width": 8},
    "landmarkcgan+texture": {"size": 32, "width": 8, "identity": 5.0},
    "landmarkcgan+ablated": {"size": 32, "width": 8, "fusion": False, "spectral": False},
    "muscles": {"size": 32, "widths": (8, 8, 8)},
    "emotion": {"size": 32, "widths": (8, 8, 8)},
    "vgg19": {"size": 32, "width": 2},
    "identity": {"size": 32, "widths": (8, 8, 8), "middle": 1, "photos": 1},
    "occlusion": {"size": 32, "widths": (8, 8)},
    "segmenter": {"size": 32, "widths": (8, 8), "atrous": 8, "rates": (1, 2)},
}


def kind_of(name: str) -> str:
    """starganv2+options -> starganv2: a method may stand in CONFIGS with other settings too."""
    return name.split("+")[0]


ELSEWHERE = {"finder", "landmarks", "motiongan"}
"""These learn from other tables than faces, and tests of their own (test_finder.py, ...) hold them to the contract."""

EVERY = [name for name in METHODS | READERS if name not in ELSEWHERE] + [name for name in CONFIGS if "+" in name]
EDITS = [name for name in EVERY if (METHODS | READERS)[kind_of(name)].condition]
QUIET = Console(quiet=True)


def tiny(name: str, seed: int = 0) -> Method:
    """A tiny instance of the method called ``name``."""
    if name not in CONFIGS:
        pytest.fail(
            f"the contract suite does not know how small {name!r} can be: add it to CONFIGS in tests/lab/tiny.py"
        )
    torch.manual_seed(seed)
    kind = (METHODS | READERS)[kind_of(name)]
    return kind(kind.Config(**CONFIGS[name]))


@lru_cache
def faces(path: Path, split: str = "train", size: int = 32) -> FaceTable:
    """Drawn faces with every field."""
    return load(path, split, frozenset({"image", "emotion", "blendshapes", "landmarks", "identity", "regions"}), size)


def trainer_of(method: Method, path: Path, out: Path, name: str = "test", **recipe: Any) -> Trainer:
    """A trainer on the drawn faces that the method reads, for steps of four faces unless told otherwise."""
    table = faces(path, size=method.config.size)
    table = FaceTable(table.faces.only(*method.reads), table.names, table.digest)
    small = {"batch": 4, "bf16": False, "device": "cpu", "log_every": 1, "steps": 4}
    return Trainer(kind_of(name), method, table, out, replace(method.recipe, **(small | recipe)))


@dataclass(frozen=True)
class ToyConfig:
    """size: side of the crop. poison: from this step on the loss is no number."""

    size: int = 32
    poison: int = 10**9


class Toy(Method):
    """The smallest method there is: one layer paints the wanted expression; a second player guesses brightness."""

    Config = ToyConfig
    reads: ClassVar[frozenset[str]] = frozenset({"image", "emotion"})
    condition: ClassVar[tuple[str, ...]] = ("emotion",)
    average: ClassVar[tuple[str, ...]] = ("painter",)
    recipe: ClassVar[Recipe] = Recipe(batch=4, steps=6)
    config: ToyConfig

    def __init__(self, config: ToyConfig) -> None:
        super().__init__(config)
        self.painter = nn.Conv2d(3 + len(EXPRESSIONS), 3, 3, padding=1)
        self.guesser = nn.Linear(1, 1)
        self.played: list[tuple[str, int, torch.dtype]] = []
        self.at = 0

    def turns(self, step: int) -> list[Turn]:
        self.at = step
        return [Turn("paint", ("painter",), self.paint), Turn("guess", ("guesser",), self.guess, every=3)]

    def edit(self, source: Faces, target: Faces, intensity: Tensor) -> Edit:
        label = torch.nn.functional.one_hot(target.emotion, len(EXPRESSIONS)).float()[:, :, None, None]
        painted = self.painter(torch.cat([source.image, label.expand(-1, -1, *source.image.shape[2:])], 1))
        self.played.append(("edit", self.at, painted.dtype))
        return Edit(source.image + intensity.view(-1, 1, 1, 1) * painted)

    def paint(self, source: Faces, target: Faces) -> Terms:
        image = self.edit(source, target, torch.ones(len(source))).image
        self.played.append(("paint", self.at, image.dtype))
        poison = torch.nan if self.at >= self.config.poison else 1.0
        return {"near": (image - target.image).abs().mean(), "boom": poison * image.square().mean() * 0.01}

    def guess(self, source: Faces, target: Faces) -> Terms:
        self.played.append(("guess", self.at, source.image.dtype))
        level = source.image.mean((1, 2, 3))[:, None]
        return {"level": (self.guesser(level) - level).square().mean()}
