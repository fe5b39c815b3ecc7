"""Raw collections -> a manifest: every picture's face found, aligned, measured, and put into a split with its person.

Pictures are measured in parts of a few, by as many processes as there are cores, each part a small file in a folder
beside the manifest. Begun again after whatever ended it, `mien prepare` goes on with the parts that are missing; when
the last is there they become the manifest, and the folder goes. The same collection always gives the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import shutil
import signal
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Thread
from typing import Annotated, Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import tyro
from rich.console import Console
from rich.progress import Progress

from mien.errors import MienError
from mien.expressions import BLENDSHAPES, TEMPLATE
from mien.lab.alone import alone
from mien.lab.collections import LAYOUTS, Entry, find_layout
from mien.lab.collections.measure import WHOLE, Muscles, measure
from mien.lab.collections.people import SHARES, people_of, splits_of
from mien.photo.write import write_aside

PART = 32
"""Pictures a part: what is lost, for each process, when it is interrupted."""
GROUP = 1024
"""Faces a row group of the manifest."""
FACE = pa.schema(
    {
        "image": pa.binary(),
        "landmarks": pa.list_(pa.float16(), 136),
        "blendshapes": pa.list_(pa.float16(), len(BLENDSHAPES)),
        "regions": pa.binary(),
    }
)
PARTS = pa.schema([*FACE, ("thumbnail", pa.binary()), ("fate", pa.string()), ("why", pa.string())])
MANIFEST = pa.schema([*((name, pa.string()) for name in ("name", "identity", "emotion", "split")), *FACE])

Splitting = Literal["official", "identity"]


@dataclass(frozen=True)
class Report:
    """What became of the pictures: ``dropped`` and ``whole`` hold, by reason, names with details."""

    pictures: int
    faces: int
    people: int
    splits: dict[str, int]
    dropped: dict[str, list[str]]
    whole: list[str]

    def __str__(self) -> str:
        splits = ", ".join(f"{name} {count:,}" for name, count in self.splits.items())
        said = [f"{self.pictures:,} pictures -> {self.faces:,} faces of {self.people:,} people ({splits})"]
        said += [f"left out {len(names):,}: {why} ({_examples(names)})" for why, names in self.dropped.items()]
        if self.whole:
            said.append(
                f"{len(self.whole):,} face crops with no face found in them, kept whole and unmeasured "
                f"({_examples(self.whole)})"
            )
        empty = [name for name, count in self.splits.items() if not count]
        return "\n".join(said + [f"no face in split {name}" for name in empty])


def _examples(names: Sequence[str], count: int = 3) -> str:
    return "; ".join(names[:count]) + (" ..." if len(names) > count else "")


def prepare(
    sources: Sequence[Path],
    out: Path,
    *,
    layout: str | None = None,
    size: int = 128,
    split: Splitting = "official",
    muscles: Muscles = "measured",
    workers: int | None = None,
    overwrite: bool = False,
    advance: Callable[[int, int], None] = lambda done, total: None,
) -> Report:
    """Write the manifest ``out`` of the faces in ``sources``; they themselves are only read.

    layout: of all sources, recognised where None. size: side of the crops in pixels. split: a collection's own splits
    where it has them, or by person always. muscles: measured, or the collection's own table where it has a column.
    workers: processes, one a core where None. advance: told how many of how many pictures are done.
    Raises MienError, before any work, for what cannot be read, recognised or written.
    """
    if not 16 <= size <= 2048:
        raise MienError(f"--size {size}: crops have 16 to 2048 pixels a side; 128 is usual")
    if workers is not None and workers < 1:
        raise MienError(f"--workers {workers}: give 1 or more, or leave it out to use every core")
    if out.is_dir():
        raise MienError(f"{out} is a folder; name a file in it")
    if out.exists() and not overwrite:
        raise MienError(f"{out} exists; give --overwrite or another -o")
    collections = gather(sources, layout)
    entries = [entry for collection in collections for entry in collection]
    if muscles == "table" and not any(entry.muscles for entry in entries):
        raise MienError("--muscles table: these collections have no table of muscles or action units; leave it out")
    folder, plan = _open_parts(out, entries, size, muscles)
    with alone(folder, ".mien-*"):
        _plan(folder, plan, out)
        _measure(entries, folder, size, muscles, workers or _cores(), advance)
        report = _merge(collections, folder, out, size, split, overwrite)
        shutil.rmtree(folder, ignore_errors=True)
    if not report.faces:
        raise MienError(f"no usable face in {report.pictures} pictures: {str(report).splitlines()[1]}")
    return report


def gather(sources: Sequence[Path], layout: str | None = None) -> list[list[Entry]]:
    """The pictures of each source. Of several sources, names and people begin with the source's name."""
    if not sources:
        raise MienError("nothing to prepare: name a folder of pictures or a table")
    collections = []
    for source in sources:
        try:
            entries = list(LAYOUTS[name := find_layout(source, layout)].read(source))
        except OSError as error:
            raise MienError(f"{source}: cannot be read ({error.strerror or error}); check its permissions") from error
        if not entries:
            raise MienError(f"{source}: no picture in it that fits layout {name}; check the folder or give --layout")
        if len(sources) > 1:
            prefix = source.resolve().name
            entries = [
                replace(e, name=f"{prefix}/{e.name}", identity=e.identity and f"{prefix}/{e.identity}") for e in entries
            ]
        collections.append(entries)
    twice = [name for name, count in Counter(source.resolve().name for source in sources).items() if count > 1]
    if twice:
        raise MienError(f"two sources are called {twice[0]}: prepare each by itself, `mien train --data` takes several")
    met: set[str] = set()
    return [[_named_once(entry, met) for entry in entries] for entries in collections]


def _named_once(entry: Entry, met: set[str]) -> Entry:
    known = entry.name in met
    met.add(entry.name)
    return replace(entry, unusable="a second picture of that name") if known else entry


# --- parts, by many processes --------------------------------------------------------------------------------------


def _open_parts(out: Path, entries: list[Entry], size: int, muscles: Muscles) -> tuple[Path, str]:
    """The folder of parts beside ``out``, made or found again, and the plan of this preparation."""
    folder, digest = (
        out.with_name(f"{out.name}.parts"),
        hashlib.sha256(f"{PART} {size} {muscles} {PARTS.names}".encode()),
    )
    for entry in entries:
        of = entry.picture
        given = os.path.abspath(of) if isinstance(of, Path) else hashlib.sha256(of.tobytes()).hexdigest()
        digest.update(
            repr((entry.name, given, entry.muscles, entry.box, entry.regions, entry.cropped, entry.unusable)).encode()
        )
    plan = json.dumps({"digest": digest.hexdigest(), "pictures": len(entries), "size": size, "muscles": muscles})
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise MienError(f"{out} cannot be written ({error.strerror or error}); choose another place") from error
    return folder, plan


def _plan(folder: Path, plan: str, out: Path) -> None:
    """Write ``plan`` down in ``folder``; MienError where the parts there belong to another one."""
    file = folder / "plan.json"
    try:
        if not file.exists():
            for part in folder.glob("*.parquet"):  # of what was being removed, and nobody knows whose
                part.unlink()
            with write_aside(file) as aside:
                aside.write_text(plan)
        if file.read_text(errors="replace") != plan:
            raise MienError(
                f"{folder} is left from another preparation: repeat that one's command, remove the folder, or choose "
                "another -o"
            )
    except OSError as error:
        raise MienError(f"{out} cannot be written ({error.strerror or error}); choose another place") from error


def _measure(
    entries: list[Entry], folder: Path, size: int, muscles: Muscles, workers: int, advance: Callable[[int, int], None]
) -> None:
    """Write the parts that are missing."""
    todo = {_part(folder, i): entries[i : i + PART] for i in range(0, len(entries), PART)}
    total, todo = len(entries), {path: some for path, some in todo.items() if not path.exists()}
    done = total - sum(len(some) for some in todo.values())
    advance(done, total)
    for count in _each(todo, size, muscles, min(workers, len(todo))):
        done += count
        advance(done, total)


def _each(todo: dict[Path, list[Entry]], size: int, muscles: Muscles, workers: int) -> Iterator[int]:
    """Do the parts here or, with several workers, elsewhere; yields how many pictures each had when it is done."""
    if workers < 2:
        for path, some in todo.items():
            yield _write_part(path, some, size, muscles)
        return
    context = multiprocessing.get_context("spawn")  # a fork would copy torch's threads, which then hang
    pool = ProcessPoolExecutor(workers, context, initializer=_start)
    try:
        tasks = [pool.submit(_write_part, path, some, size, muscles) for path, some in todo.items()]
        for task in as_completed(tasks):
            yield task.result()
    except BrokenProcessPool as error:
        raise MienError(
            "a process was killed, most likely for want of memory: run the same command with fewer --workers; "
            "it goes on where it stopped"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _start() -> None:
    """In a worker: leave interrupts to the parent, and end when it does, even if that is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _write_part(path: Path, entries: list[Entry], size: int, muscles: Muscles) -> int:
    measured = [measure(entry, size, muscles) for entry in entries]
    columns: dict[str, Any] = {name: [getattr(face, name) for face in measured] for name in PARTS.names}
    for name in ("landmarks", "blendshapes"):
        columns[name] = [None if value is None else value.astype(np.float16) for value in columns[name]]
    with write_aside(path, overwrite=True) as aside:
        pq.write_table(pa.table(columns, PARTS), aside)
    return len(entries)


def _part(folder: Path, index: int) -> Path:
    return folder / f"{index // PART:07d}.parquet"


def _cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


# --- people, splits, the manifest ----------------------------------------------------------------------------------


def _merge(
    collections: list[list[Entry]], folder: Path, out: Path, size: int, split: Splitting, overwrite: bool
) -> Report:
    """Parts -> manifest, and what to say of it."""
    entries = [entry for collection in collections for entry in collection]
    parts = [_part(folder, i) for i in range(0, len(entries), PART)]
    seen = pa.concat_tables(pq.read_table(path, columns=["thumbnail", "fate", "why"]) for path in parts)
    fates, thumbnails = seen["fate"].to_pylist(), seen["thumbnail"].to_pylist()
    people, splits, start = [""] * len(entries), [""] * len(entries), 0
    for collection in collections:
        rows = [start + i for i in range(len(collection)) if fates[start + i] in ("", WHOLE)]
        start += len(collection)
        names = people_of([entries[i] for i in rows], [thumbnails[i] for i in rows])
        homes = splits_of(names, [entries[i].split if split == "official" else None for i in rows])
        for i, person, home in zip(rows, names, homes, strict=True):
            people[i], splits[i] = person, home
            if not home:
                fates[i] = "the same person or picture stands in a split that is held out"
    dropped: dict[str, list[str]] = defaultdict(list)
    for entry, fate, why in zip(entries, fates, seen["why"].to_pylist(), strict=True):
        if fate not in ("", WHOLE):
            dropped[fate].append(f"{entry.name}: {why}" if why else entry.name)
    faces = sum(map(bool, splits))
    if faces:
        rows_of = ([e.name for e in entries], people, [e.emotion for e in entries], splits)
        _write_manifest(parts, [list(column) for column in rows_of], out, size, overwrite)
    counts = Counter(splits)
    return Report(
        pictures=len(entries),
        faces=faces,
        people=len({person for person, home in zip(people, splits, strict=True) if home}),
        splits={name: counts[name] for name in SHARES},
        dropped=dict(dropped),
        whole=[entry.name for entry, fate in zip(entries, fates, strict=True) if fate == WHOLE],
    )


def _write_manifest(parts: list[Path], columns: list[list[str]], out: Path, size: int, overwrite: bool) -> None:
    """``columns``: name, identity, emotion and split of every picture; those without a split are not written."""
    meta = {"blendshapes": ",".join(BLENDSHAPES), "template": str([list(p) for p in TEMPLATE]), "size": str(size)}
    schema, waiting, start = MANIFEST.with_metadata(meta), [], 0
    with write_aside(out, overwrite, parts[0].parent) as aside, pq.ParquetWriter(aside, schema) as writer:
        for path in parts:
            faces = pq.read_table(path, columns=FACE.names)
            texts = [pa.array(column[start : start + len(faces)], pa.string()) for column in columns]
            start += len(faces)
            rows = pa.table([*texts, *faces.columns], schema=schema)
            waiting.append(rows.filter(pa.array([bool(home) for home in texts[3].to_pylist()])))
            if sum(map(len, waiting)) >= GROUP:
                writer.write_table(pa.concat_tables(waiting).combine_chunks())
                waiting = []
        if sum(map(len, waiting)):
            writer.write_table(pa.concat_tables(waiting).combine_chunks())


# --- the command -----------------------------------------------------------------------------------------------------


def command(
    sources: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="SOURCE [SOURCE ...]")],
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])],
    layout: str | None = None,
    size: int = 128,
    split: Splitting = "official",
    workers: int | None = None,
    muscles: Muscles = "measured",
    overwrite: bool = False,
) -> None:
    """Make a manifest of raw collections: faces found, aligned, measured, split by person. Originals are only read.

    Started again after an interruption, the same command goes on where it stopped.

    Args:
        sources: Folders of pictures, or tables that name them.
        out: The manifest to write, a .parquet file.
        layout: The sources' layout, where it is not recognised; docs/data.md lists them.
        size: Side of the crops in pixels.
        split: official keeps a collection's own splits, where it has them; identity always splits by person.
        workers: Processes, one a core by default.
        muscles: measured on the picture, or, where the collection has a table of them, taken from the table.
        overwrite: Replace a manifest that exists.
    """
    with _bar() as advance:
        report = prepare(
            sources,
            out,
            layout=layout,
            size=size,
            split=split,
            muscles=muscles,
            workers=workers,
            overwrite=overwrite,
            advance=advance,
        )
    print(f"{report}\n{out}")


@contextmanager
def _bar() -> Iterator[Callable[[int, int], None]]:
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda done, total: None
        return
    with Progress(console=console) as bar:
        task = bar.add_task("measuring")
        yield lambda done, total: bar.update(task, completed=done, total=total)


def main(words: list[str]) -> int:
    """``mien prepare``, from its words on the command line."""
    tyro.cli(command, prog="mien prepare", args=words, config=(tyro.conf.FlagCreatePairsOff,))
    return 0
