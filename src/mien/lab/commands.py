"""``mien train NAME`` and ``mien export``: parse nothing, print little, call the lab."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from mien.errors import MienError
from mien.lab import checkpoint
from mien.lab.data import FaceTable, join, load, without_twins
from mien.lab.method import Method, Recipe
from mien.lab.methods import METHODS, READERS
from mien.lab.trainer import Trainer


@dataclass(frozen=True)
class Run:
    """Where the faces come from and where the run goes.

    data: one or more Parquet manifests. out: the folder of the run; the same command goes on with what is there.
    limit: use only so many faces of each manifest, to try things out.
    """

    data: list[Path] = field(default_factory=list)
    out: Path | None = None
    limit: int | None = None


def find_method(name: str) -> type[Method]:
    """The class called ``name``; raises MienError with the choices."""
    known = METHODS | READERS
    if name not in known:
        raise MienError(f"no method {name!r}: choose one of {', '.join(known)}")
    return known[name]


def tables(kind: type[Method], data: list[Path], size: int, limit: int | None) -> tuple[FaceTable, FaceTable]:
    """(train, val) of all manifests together; training pictures that have a twin in val or test are left out."""
    if not data:
        raise MienError("nothing to train on: give --data FILE.parquet")
    split = {
        name: join([load(path, name, kind.reads, size, limit) for path in data]) for name in ("train", "val", "test")
    }
    return without_twins(split["train"], join([split["val"], split["test"]])), split["val"]


def train(name: str, config: Any, recipe: Recipe, run: Run, console: Console) -> None:
    """Train method ``name`` until the recipe's steps or minutes are used up; started again, it goes on."""
    kind = find_method(name)
    out = run.out or Path("runs") / name
    table, watch = tables(kind, run.data, config.size, run.limit)
    console.print(f"{name}: {len(table)} faces to learn from, {len(watch)} to watch, into {out}")
    torch.manual_seed(recipe.seed)
    trainer = Trainer(name, kind(config), table, out, recipe)
    if trainer.progress.step:
        console.print(f"going on from step {trainer.progress.step}")
    done = trainer.run(watch, console)
    console.print(f"{done.step} steps, {done.images} images, {done.seconds / 60:.1f} minutes -> {out}")


def restore(path: Path) -> tuple[Method, checkpoint.Progress]:
    """A trained method in its averaged weights, ready to edit; ``path``: a run's folder or its checkpoint."""
    tensors, progress = checkpoint.load(path / "checkpoint.safetensors" if path.is_dir() else path)
    kind = find_method(progress.method)
    config = {k: tuple(v) if isinstance(v, list) else v for k, v in progress.config.items()}
    method = kind(kind.Config(**config))
    state = {k.removeprefix("method/"): v for k, v in tensors.items() if k.startswith("method/")}
    state |= {k.removeprefix("average/"): v for k, v in tensors.items() if k.startswith("average/")}
    method.load_state_dict(state)
    return method.eval(), progress


