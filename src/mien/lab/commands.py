"""The lab's commands, ``train`` to ``study``: parse, call, print."""

from __future__ import annotations

import argparse
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import torch
import tyro
from rich.console import Console

from mien.errors import MienError
from mien.lab import checkpoint, ranks
from mien.lab.alone import alone
from mien.lab.clean import Reader, clean, described, reader_of_method, reader_of_model
from mien.lab.compare import Wish, compare
from mien.lab.export import export, weights
from mien.lab.inception import Inception
from mien.lab.judges import find_judges
from mien.lab.kept import Kept
from mien.lab.method import Method, Recipe
from mien.lab.methods import METHODS, READERS
from mien.lab.prepare import main as prepare
from mien.lab.report import FILES, write
from mien.lab.study.commands import main as study
from mien.lab.synthetic import main as augment
from mien.lab.trainer import Trainer
from mien.model import DEFAULT, Model, shipped


@dataclass(frozen=True)
class Run:
    """Where the faces come from and where the run goes.

    Attributes:
        data: One or more Parquet manifests.
        out: The folder of the run, runs/NAME by default; the same command goes on with what is there.
        begin: Begin with the networks of another run of the same method, or of an .onnx file (which holds no critic);
            default: of the shipped model.
        reader: Runs of trained readers, for methods whose losses or networks look through one.
        recipe: Settings by name: default, or another that the method has (what is given beside it comes first).
        limit: Use only so many faces of each manifest, to try things out.
        private: Write no sample sheets, which show faces; log and checkpoint hold neither pictures nor paths.
    """

    data: list[Path] = field(default_factory=list)
    out: Path | None = None
    begin: Annotated[Path | None, tyro.conf.arg(name="from")] = None
    reader: list[Path] = field(default_factory=list)
    recipe: str = "default"
    limit: int | None = None
    private: bool = False


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
    if ranks.rank():
        console = Console(quiet=True)
    table, watch = kind.tables(run.data, config.size, run.limit)
    console.print(f"{name}: {len(table)} faces to learn from, {len(watch)} to watch, into {out}")
    torch.manual_seed(recipe.seed)
    method = kind(config)
    if run.begin is not None and (anew := bring_networks(name, method, run.begin)):
        console.print(f"{run.begin} does not hold {' and '.join(sorted(anew))}: begun anew")
    if not ranks.from_first((out / "checkpoint.safetensors").exists):
        bring_readers(method, run.reader)
    trainer = Trainer(name, method, table, out, recipe, begun=run.begin is not None)
    if trainer.progress.step:
        console.print(f"going on from step {trainer.progress.step}")
    done = trainer.run(None if run.private else watch, console)
    console.print(f"{done.step} steps, {done.images} images, {done.seconds / 60:.1f} minutes -> {out}")


def bring_networks(name: str, method: Method, begin: Path) -> set[str]:
    """Give ``method`` the networks that ``begin`` holds, a run, an ``.onnx`` file, or ``default``.

    Returns those that it does not hold, as an exported model its critic. Raises MienError where it is another method,
    of another size, or lacks what makes the edits.
    """
    if begin == Path("default"):
        other, state = weights(shipped(DEFAULT))
    elif begin.suffix == ".onnx":
        other, state = weights(Model(begin))
    else:
        trained, progress = restore(begin)
        other, state = progress.method, trained.state_dict()
    if other != name:
        raise MienError(f"{begin}: a {other}, not a {name}; begin with one of the same method")
    own = method.state_dict().keys()
    lacking = {key.split(".")[0] for key in own - state.keys()}
    if not lacking.isdisjoint(method.average):
        raise MienError(f"{begin}: a {name} with other networks; give its settings, or begin with the run itself")
    try:
        method.load_state_dict({k: v for k, v in state.items() if k in own and k.split(".")[0] not in lacking}, False)
    except RuntimeError as error:
        raise MienError(f"{begin}: a {name} whose networks have other shapes; give its settings") from error
    return lacking - method.readers.keys()


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
    try:
        method = kind(kind.Config(**config))
    except TypeError as error:
        raise MienError(f"{path}: settings that this version's {progress.method} does not know ({error})") from error
    state = {k.removeprefix("method/"): v for k, v in tensors.items() if k.startswith("method/")}
    state |= {k.removeprefix("average/"): v for k, v in tensors.items() if k.startswith("average/")}
    try:
        method.load_state_dict(state)
    except RuntimeError as error:
        raise MienError(
            f"{path}: its networks are not those of this version's {progress.method}; train anew"
        ) from error
    return method.eval(), progress


def expression_reader(by: str) -> Reader:
    """The shipped ``emotion``, a reader in an ``.onnx`` file, or the one that a training run holds."""
    if by == "emotion":
        return reader_of_model(shipped(by))
    if by.endswith(".onnx"):
        return reader_of_model(Model(Path(by)))
    if not Path(by).exists():
        raise MienError(f"no reader {by!r}: give emotion, an .onnx file of `mien export`, or a training run's folder")
    method, progress = restore(Path(by))
    return reader_of_method(progress.method, method)


def main(command: str, words: list[str]) -> int:
    """Runs the lab's ``command`` from its words on the command line."""
    known = {"train": _train, "export": _export, "clean": _clean, "compare": _compare}
    known |= {"prepare": prepare, "augment": augment, "study": study}
    return known[command](words)


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
        out = run.out or Path("runs") / words[0]
        strays = ".checkpoint.safetensors.*", ".mien-*", "samples/.mien-*"
        with ranks.joined(), nullcontext() if ranks.rank() or not run.data else alone(out, *strays):
            train(words[0], config, recipe, run, Console())

    call.__annotations__["config"] = Annotated[kind.Config, tyro.conf.OmitArgPrefixes]
    named = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    named.add_argument("--recipe", nargs="?", default="default")
    call.__defaults__ = (Run(), *kind.settings(named.parse_known_args(words)[0].recipe or "default"))
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


def _clean(words: list[str]) -> int:
    def call(
        manifest: Annotated[Path, tyro.conf.Positional],
        out: Annotated[Path, tyro.conf.arg(aliases=["-o"])],
        by: str = "emotion",
        confidence: float = 0.5,
        relabel: bool = False,
        keep_unlabelled: bool = False,
        splits: tuple[str, ...] = ("train", "val"),
        overwrite: bool = False,
    ) -> None:
        """Write a manifest anew without the labels that an expression reader does not confirm, and report on it.

        Args:
            manifest: The Parquet manifest, which stays as it is.
            out: The Parquet file to write; the report (.md) and a picture of examples (.jpg) come beside it.
            by: emotion, an .onnx reader of `mien export`, or the folder of a training run.
            confidence: A face stays where the reader gives its label the highest chance, and at least this one.
            relabel: Give faces that are as surely of another expression that label; else they are dropped.
            keep_unlabelled: Keep faces without one of the seven labels.
            splits: What to clean; other splits stay as they are.
            overwrite: Replace files that exist.
        """
        report = clean(
            manifest,
            out,
            expression_reader(by),
            confidence=confidence,
            relabel=relabel,
            keep_unlabelled=keep_unlabelled,
            splits=splits,
            overwrite=overwrite,
        )
        print(described(report, keep_unlabelled))
        print(f"{out}, {out.with_suffix('.md')}, {out.with_suffix('.jpg')}")

    tyro.cli(call, prog="mien clean", args=words, config=(tyro.conf.FlagCreatePairsOff,))
    return 0


def _compare(words: list[str]) -> int:
    def call(
        models: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="MODEL [MODEL ...]")],
        wish: tyro.conf.OmitArgPrefixes[Wish],
        out: Annotated[Path, tyro.conf.arg(aliases=["-o"])] = Path("report"),
        judges: Path | None = None,
        inception: Path | None = None,
        overwrite: bool = False,
    ) -> None:
        """Edit the same held-out faces with each model, have judges measure them, and write a report.

        Killed and started again, it goes on where it was.

        Args:
            models: Names that `mien models` lists, or paths of .onnx files.
            out: The folder for report.html, report.json, table.md, table.tex and pictures.parquet.
            judges: A folder with the files of outside judges; docs/compare.md names them.
            inception: Weights of the network of FID and KID as safetensors; docs/compare.md says how to get them.
            overwrite: Replace a report that is there.
        """
        there = [name for name in FILES if (out / name).exists()]
        if there and not overwrite:
            raise MienError(f"{out} holds {there[-1]}; give --overwrite or another --out")
        found, absent = find_judges(judges)
        if inception is None:
            absent.append("FID, KID: no weights of their network (--inception FILE)")
        else:
            found.append(Inception.open(inception))
        kept = Kept(out / ".kept")
        print(write(compare(models, wish, found, absent, kept=kept), out))
        kept.clear()

    tyro.cli(call, prog="mien compare", args=words, config=(tyro.conf.FlagCreatePairsOff,))
    return 0
