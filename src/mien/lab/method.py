"""The protocol between a method and everything that trains, exports or compares it.

A method is an ``nn.Module`` in one file. It never touches an optimiser, a device or a file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor, nn

from mien.errors import MienError
from mien.expressions import EXPRESSIONS
from mien.lab.data import SPLITS, Sampler, Table, join, load, splits, weighted, without_twins
from mien.lab.faces import Faces

Terms = dict[str, Tensor]
"""Named scalar loss terms, weights included: their sum is what a turn minimises and what the log shows."""


@dataclass(frozen=True)
class Turn:
    """One player's move: while ``moves`` learn to lower ``loss(source, target)``, every other network is frozen."""

    name: str
    moves: tuple[str, ...]
    loss: Callable[[Faces, Faces], Terms]
    every: int = 1


@dataclass(frozen=True)
class Optimizer:
    """Adam's settings for one network (betas as in the method's paper)."""

    lr: float = 1e-4
    betas: tuple[float, float] = (0.5, 0.999)
    weight_decay: float = 0.0


@dataclass(frozen=True)
class Recipe:
    """How a method is trained, beside what its own config says; each method brings its defaults.

    Attributes:
        steps: Stop after so many steps; the same command with more goes on from there.
        minutes: Stop after so many minutes in this call, whichever comes first.
        batch: Faces a step.
        seed: Two runs with the same seed on one machine end at the same weights.
        balance: 0 draws faces as they come, 1 favours rare expressions and muscles fully; for the faces edited, and for
            those whose expressions are aimed at.
        decay: The last share of the steps, over which the learning rates fall to 0 in a line.
        flip: Mirror half of the faces.
        ema: How much of the moving average of the weights stays at each step.
        bf16: Compute in bfloat16 where it is safe.
        device: auto, cpu, cuda, ...
        log_every: Steps between lines of the log.
        save_every: Steps between checkpoints, each with a sample sheet.
    """

    steps: int = 100_000
    minutes: float = float("inf")
    batch: int = 16
    seed: int = 0
    balance: tuple[float, float] = (0.0, 0.0)
    decay: float = 0.0
    flip: bool = True
    ema: float = 0.997
    bf16: bool = True
    device: str = "auto"
    log_every: int = 50
    save_every: int = 1000


@dataclass(frozen=True)
class Edit:
    """What an edit gives back.

    image: (B, 3, S, S) in [-1, 1], the edited crop.
    flow: (B, 2, S, S), how far to the right and down of itself each pixel is fetched from, in fractions of the crop.
    delta: (B, 3, S, S), what is then added, on the scale of ``image``.

    Methods that give flow and delta are applied by the editor at the photograph's own resolution.
    """

    image: Tensor
    flow: Tensor | None = None
    delta: Tensor | None = None


@dataclass(frozen=True)
class Graph:
    """How a method is exported: ``module(*tensors)`` traced, inputs and outputs by name.

    dynamic: the axes that are free, by input or output name; the first of all of them where empty. about: metadata.
    """

    module: nn.Module
    tensors: list[Tensor]
    inputs: list[str]
    outputs: list[str]
    dynamic: dict[str, dict[int, str]] = field(default_factory=dict)
    about: dict[str, Any] = field(default_factory=dict)


class Method(nn.Module):
    """A way to learn an edit of faces. Subclasses set ``Config``, ``reads``, ``condition``, ``average``, ``recipe``.

    Config: a frozen dataclass; ``config.size`` is the side of the crop.
    reads: the fields of ``Faces`` that training needs.
    source_fields, condition: the fields of the source and of the target that ``edit`` reads.
    average: the networks whose moving average (EMA) is what is exported.
    channels_last: lay tensors out with channels last, which convolutions like and instance norm does not.
    recipe: how it is trained. recipes: others by name, each as the settings of ``Config`` and ``Recipe`` that differ.

    A child that is itself a method is a trained reader: it never learns, and ``mien train --reader RUN`` brings its
    weights.
    """

    Config: ClassVar[type]
    reads: ClassVar[frozenset[str]]
    source_fields: ClassVar[tuple[str, ...]] = ("image",)
    condition: ClassVar[tuple[str, ...]]
    average: ClassVar[tuple[str, ...]]
    channels_last: ClassVar[bool] = True
    recipe: ClassVar[Recipe] = Recipe()
    recipes: ClassVar[Mapping[str, Mapping[str, Any]]] = {}

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.config = config

    @classmethod
    def settings(cls, recipe: str = "default") -> tuple[Any, Recipe]:
        """The ``Config`` and the ``Recipe`` of a recipe by name; MienError with the choices where there is none."""
        if recipe not in {"default", *cls.recipes}:
            raise MienError(f"no recipe {recipe!r}: choose one of {', '.join(['default', *cls.recipes])}")
        changed = cls.recipes.get(recipe, {})
        mine = {f.name for f in fields(cls.Config)}
        return cls.Config(**{k: v for k, v in changed.items() if k in mine}), replace(
            cls.recipe, **{k: v for k, v in changed.items() if k not in mine}
        )

    @property
    def knows(self) -> tuple[str, ...]:
        """The expressions that ``edit`` can aim at, where it is asked by label."""
        return EXPRESSIONS

    @property
    def readers(self) -> dict[str, Method]:
        """The trained readers among the children, by name."""
        return {name: child for name, child in self.named_children() if isinstance(child, Method)}

    def train(self, mode: bool = True) -> Method:
        """Readers stay in evaluation mode: what they say of a face must not depend on its neighbours in the batch."""
        super().train(mode)
        for reader in self.readers.values():
            reader.eval()
        return self

    @classmethod
    def tables(cls, paths: Sequence[Path], size: int, limit: int | None = None) -> tuple[Table, Table]:
        """(faces to learn from, faces to watch): the splits train and val of all manifests together.

        Training pictures that stand in val or test too are left out. Where nobody is in val, as in a folder of a few
        photographs, those learned from are watched.
        """
        train, val, test = (
            [load(p, split, cls.reads, size, limit) for p in paths if split == "train" or split in splits(p)]
            for split in SPLITS
        )
        held_out = val + test
        faces = without_twins(join(train), join(held_out)) if held_out else join(train)
        return faces, join(val) if val else faces

    def sampler(self, table: Table, recipe: Recipe) -> Sampler:
        """Which faces meet in a step; here any meets any, by ``recipe.balance``.

        Raises MienError, before step 0, where the table has not the faces that the method learns from.
        """
        return weighted([table.weights(balance) for balance in recipe.balance], recipe.batch, recipe.seed)

    def turns(self, step: int) -> list[Turn]:
        """The moves of one step, in order; schedules are functions of ``step``, so that a resume repeats them."""
        raise TypeError(f"{type(self).__name__} defines no turns")

    def optimizer(self, network: str) -> Optimizer:
        """The settings with which ``network`` (the name of a child module) learns."""
        return Optimizer()

    def prepare(self, faces: Faces) -> None:
        """Called once before step 0 with a sample of the training faces, for what is fitted rather than learned."""

    def edit(self, source: Faces, target: Faces, intensity: Tensor) -> Edit:
        """Change ``source`` towards ``target``: intensity (B,) 0 returns the source itself, 1 the full target."""
        raise TypeError(f"{type(self).__name__} edits nothing")

    def graph(self) -> Graph | None:
        """What to export, where it is neither ``edit`` nor, for a reader of crops, ``forward``."""
        return None
