"""The command ``bulk``: what is still to do, who does it, and where it is written down."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from typing import Annotated, Any

import tyro
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from mien import target as targets
from mien.bulk import local
from mien.bulk.files import Place, as_text
from mien.bulk.tables import Tables
from mien.bulk.work import Job, Report
from mien.editor import STRONGEST
from mien.errors import MienError
from mien.expressions import Expression
from mien.model import DEFAULT
from mien.options import muscle_of
from mien.photo.read import MAX_PIXELS

ABOUT, ERRORS = "mien-bulk.json", "mien-errors.jsonl"


def bulk(
    src: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="SRC")],
    dst: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="DST")],
    to: Expression | None = None,
    intensity: float = 1.0,
    muscle: tyro.conf.UseAppendAction[tuple[str, ...]] = (),
    neutral: bool = False,
    measure: bool = False,
    face: str = "all",
    model: str = DEFAULT,
    workers: int | None = None,
    cluster: str | None = None,
    max_pixels: int = MAX_PIXELS,
    mark: bool = True,
    private: bool = False,
) -> int:
    """Edit or measure every photograph of a folder, subfolders included; run again, it does what is not done yet.

    Args:
        src: The folder of photographs: a path, or an address such as s3://bucket/folder.
        dst: The folder for the results, each under its photograph's name.
        to: The expression to change to.
        intensity: 0 leaves photographs as they are, 1 is the full expression, up to 1.5 exaggerates it.
        muscle: A single muscle and its score, as NAME=0.8; may be given several times in place of --to.
        neutral: With --muscle: begin from the person's neutral face.
        measure: Edit nothing; write Parquet tables of the faces, their expressions and muscles.
        face: all, largest, a number as `mien faces` counts, or a point "x,y" inside the face.
        model: A model that `mien models` lists, or the path of an .onnx file.
        workers: Processes, each with one thread; as many as there are cores by default.
        cluster: Run on the Ray cluster at this address; auto finds the one that this machine belongs to.
        max_pixels: Refuse photographs with more pixels than this.
        mark: Say in the written pictures' metadata that they were edited.
        private: Write no names or paths into the notes beside the results: photographs that failed are numbered there.
    """
    if sum((bool(muscle), to is not None, measure)) != 1:
        raise MienError("say what to do: one of --to EXPRESSION, --muscle NAME=SCORE or --measure")
    if workers is not None and workers < 1:
        raise MienError(f"--workers {workers}: give 1 or more")
    if not 0 <= intensity <= STRONGEST:
        raise MienError(f"--intensity {intensity}: give a number between 0 and {STRONGEST}")
    wish: Any = dict(muscle_of(text) for text in muscle) or to
    if muscle:
        targets.by_muscles(wish, neutral)
    job = Job(_full(src), _full(dst), wish, intensity, neutral, face, model, max_pixels, mark)
    source, out = Place(job.source), Place(job.out)
    if f"{out.root}/".startswith(f"{source.root}/") or f"{source.root}/".startswith(f"{out.root}/"):
        raise MienError(f"{dst} and {src} lie one in the other; give another folder for the results")
    photographs = source.photographs()
    if not photographs:
        raise MienError(f"{src}: no photograph found in it; give a folder of JPEG, PNG, WebP, TIFF or BMP files")
    tables = Tables(out) if measure else None
    ray_cluster = _joined(cluster) if cluster else None
    _claim(out, job, private)
    out.sweep()
    done = tables.done() if tables else set(out.names())
    left = [name for name in photographs if (as_text(name) if tables else name) not in done]
    if ray_cluster:
        reports = ray_cluster.run(job, left, workers)
    else:
        reports = local.run(job, left, min(workers or _cores(), max(len(left), 1)))
    errors = _gather(reports, len(left), tables)
    if private:
        errors = [_nameless(error, photographs, source) for error in errors]
    out.write(ERRORS, "".join(json.dumps(error, ensure_ascii=False) + "\n" for error in errors))
    _tell(len(photographs), len(left), errors, f"{dst.rstrip('/')}/{ERRORS}")
    return 2 if errors else 0


def _joined(address: str) -> Any:
    """The module that works on a cluster, once this process is part of the one at ``address``."""
    try:
        from mien.bulk import cluster
    except ImportError as error:
        raise MienError(f'--cluster needs {error.name}: pip install "mien[bulk]"') from error
    cluster.join(address)
    return cluster


def _gather(reports: Iterator[Report], count: int, tables: Tables | None) -> list[Report]:
    errors: list[Report] = []
    with _progress(count) as advance:
        for report in reports:
            if "error" in report:
                errors.append(report)
            elif tables:
                tables.add(report["rows"])
            advance(len(errors))
    if tables:
        tables.write()
    return sorted(errors, key=lambda error: str(error["file"]))


def _nameless(error: Report, photographs: list[str], source: Place) -> Report:
    """The error with the photograph's number, by name from 1, in place of its name."""
    name, text = str(error["file"]), str(error["error"])
    for known in (f"{source.root}/{name}", source.root, name):
        text = text.replace(known, "it").replace(str(MienError(known)), "it")
    return {"photograph": photographs.index(name) + 1, "error": text}


def _claim(out: Place, job: Job, private: bool) -> None:
    """Write down in ``out`` what is done there; MienError where that is something else."""
    about = job.about()
    if private:
        about["source"] = sha256(job.source.encode()).hexdigest()[:16]
    if not out.has(ABOUT):
        out.write(ABOUT, json.dumps(about, indent=1) + "\n")
        return
    try:
        was = dict(json.loads(out.text(ABOUT)))
    except (ValueError, TypeError, RecursionError) as error:
        raise MienError(
            f"{job.out}/{ABOUT} is damaged: nobody knows what was done there; give another folder"
        ) from error
    other = [name for name in about if was.get(name) != about[name]]
    if other:
        raise MienError(
            f"{job.out} holds results with another {', '.join(other)} ({', '.join(str(was.get(o)) for o in other)}); "
            "give another folder"
        )


def _tell(total: int, count: int, errors: list[Report], table: str) -> None:
    done = total - len(errors)
    text = f"{done} of {total} photographs done"
    if count < total:
        text += f", {total - count} of them before"
    print(text + (f"; what was wrong with the others: {table}" if errors else ""))


@contextmanager
def _progress(count: int) -> Iterator[Any]:
    """A bar on a terminal; elsewhere a line every half minute."""
    console = Console(stderr=True)
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    began = said = time.monotonic()
    number = 0
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("photographs", total=count)

        def advance(wrong: int) -> None:
            nonlocal number, said
            number += 1
            now = time.monotonic()
            bar.update(task, advance=1, description=f"{number / (now - began):.1f} photographs/s")
            if not console.is_terminal and now - said > 30:
                said = now
                rate = number / (now - began)
                print(f"{number} of {count}, {wrong} failed, {rate:.1f} photographs/s", file=sys.stderr, flush=True)

        yield advance


def _full(place: str) -> str:
    """An address as it is, a path from the root: workers may stand elsewhere."""
    return place if "://" in place else os.path.abspath(place)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def main(command: str, words: list[str]) -> int:
    """Runs ``bulk`` from its words on the command line."""
    return tyro.cli(bulk, prog=f"mien {command}", args=words, config=(tyro.conf.FlagCreatePairsOff,))
