"""``mien train NAME`` and ``mien export``: parse nothing, print little, call the lab."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import torch
import tyro
from rich.console import Console

from mien.errors import MienError
from mien.lab import checkpoint
from mien.lab.export import export
from mien.lab.method import Method, Recipe
from mien.lab.methods import METHODS, READERS
from mien.lab.trainer import Trainer


@dataclass(frozen=True)
class Run:
    """Where the faces come from and where the run goes.

    Attributes:
        data: One or more Parquet manifests.
        out: The folder of the run, runs/NAME by default; the same command goes on with what is there.
        begin: Begin with the networks of this run of the same method, in a new run.
        reader: Runs of trained readers, for methods whose losses or networks look through one.
        limit: Use only so many faces of each manifest, to try things out.
    """

    data: list[Path] = field(default_factory=list)
    out: Path | None = None
    begin: Annotated[Path | None, tyro.conf.arg(name="from")] = None
    reader: list[Path] = field(default_factory=list)
    limit: int | None = None


def find_method(name: str) -> type[Method]:
    """The class called ``name``; raises MienError with the choices."""
    known = METHODS | READERS
    if name not in known:
        raise MienError(f"no method {name!r}: choose one of {', '.join(known)}")
    return known[name]


def train(name: str, config: Any, recipe: Recipe, run: Run, console: Console) -> None:
    """Train method ``name`` until the recipe's steps or minutes are used up; started again, it goes on."""
    kind = find_method(name)
    out = run.out or Path("runs") / name
    if not run.data:
        raise MienError("nothing to train on: give --data FILE.parquet")
    table, watch = kind.tables(run.data, config.size, run.limit)
    console.print(f"{name}: {len(table)} faces to learn from, {len(watch)} to watch, into {out}")
    torch.manual_seed(recipe.seed)
    method = started(kind(config), run.begin)
    if not (out / "checkpoint.safetensors").exists():
        bring_readers(method, run.reader)
    trainer = Trainer(name, method, table, out, recipe)
    if trainer.progress.step:
        console.print(f"going on from step {trainer.progress.step}")
    done = trainer.run(watch, console)
    console.print(f"{done.step} steps, {done.images} images, {done.seconds / 60:.1f} minutes -> {out}")


def started(method: Method, begin: Path | None) -> Method:
    """``method`` with the networks of the run at ``begin``; MienError where that is another method or another size."""
    if begin is not None:
        other, progress = restore(begin)
        try:
            missing, unknown = method.load_state_dict(other.state_dict(), strict=False)
            if unknown or any(key.split(".")[0] not in method.readers for key in missing):
                raise RuntimeError
        except RuntimeError as error:
            raise MienError(
                f"{begin}: a {progress.method} whose networks have other shapes; give its settings"
            ) from error
    return method


def bring_readers(method: Method, runs: list[Path]) -> None:
    """Give the readers that ``method`` looks through their trained weights; MienError where one is missing."""
    trained = {progress.method: (run, reader) for run in runs for reader, progress in [restore(run)]}
    for child in method.readers.values():
        kind = next(known for known, reader in READERS.items() if type(child) is reader)
        if kind not in trained:
            raise MienError(
                f"these settings need a trained {kind} reader: mien train {kind} ..., then --reader runs/{kind}"
            )
        run, reader = trained[kind]
        try:
            child.load_state_dict(reader.state_dict())
        except RuntimeError as error:
            raise MienError(f"{run}: its networks have other shapes than the {kind} reader wanted here") from error


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


def main(command: str, words: list[str]) -> int:
    """``mien train`` and ``mien export``, from their words on the command line."""
    return {"train": _train, "export": _export}[command](words)


def _train(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help"):
        print(
            "mien train NAME --data FILE.parquet [...] --out runs/NAME    (mien train NAME --help tells the options)\n"
        )
        print(f"methods: {', '.join(METHODS)}\nreaders: {', '.join(READERS)}")
        return 0 if words else 2
    kind = find_method(words[0])

    def call(
        run: tyro.conf.OmitArgPrefixes[Run],
        config: tyro.conf.OmitArgPrefixes[Any],
        recipe: tyro.conf.OmitArgPrefixes[Recipe],
    ) -> None:
        train(words[0], config, recipe, run, Console())

    call.__annotations__["config"] = Annotated[kind.Config, tyro.conf.OmitArgPrefixes]
    call.__defaults__ = (Run(), kind.Config(), kind.recipe)
    call.__doc__ = kind.__doc__
    tyro.cli(call, prog=f"mien train {words[0]}", args=words[1:], config=(tyro.conf.FlagCreatePairsOff,))
    return 0


def _export(words: list[str]) -> int:
    def call(run: Annotated[Path, tyro.conf.Positional], out: Annotated[Path, tyro.conf.arg(aliases=["-o"])]) -> None:
        """Write a training run as one .onnx file that `mien edit --model` takes.

        Args:
            run: The folder of the run, or its checkpoint.
            out: The .onnx file to write.
        """
        method, progress = restore(run)
        export(method, progress, out)
        print(out)

    tyro.cli(call, prog="mien export", args=words)
    return 0
