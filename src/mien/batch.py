"""Many photographs in one process: which files, where each edit goes, and on past those that fail."""

from __future__ import annotations

import glob
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress

from mien.errors import MienError
from mien.photo.write import SUFFIXES, format_of

Report = dict[str, Any]


def places(photos: Sequence[str], out: Path | None, name: str) -> dict[Path, Path]:
    """Where each photograph's edit goes: ``out`` itself, into the folder ``out``, or beside it with ``-name``.

    photos: files, folders and patterns. Raises MienError where nothing is found, or two edits would be one file.
    """
    paths = list(_expanded(photos))
    if not paths:
        raise MienError(
            f"no photograph found in {', '.join(photos) or 'nothing'}: give JPEG, PNG, WebP, TIFF or BMP files"
        )
    if out is None:
        return {path: path.with_name(f"{path.stem}-{name}{path.suffix}") for path in paths}
    many = len(paths) > 1 or any(Path(text).is_dir() for text in photos)
    if many and out.suffix.lower() in SUFFIXES:
        raise MienError(f"{out} is one file, but there are {len(paths)} photographs: give a folder with -o")
    if not (many or out.is_dir()):
        format_of(out)
        return {paths[0]: out}
    twice = [name for name, count in Counter(path.name for path in paths).items() if count > 1]
    if twice:
        raise MienError(f"several photographs are called {', '.join(twice)}: edit one folder at a time")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MienError(f"{out}: cannot be made a folder ({error.strerror}); give another -o") from error
    return {path: out / path.name for path in paths}


def each(paths: Iterable[Path], one: Callable[[Path], Report], say: Callable[[Report], None]) -> list[Report]:
    """Do ``one`` for each file and ``say`` what came of it; a file that fails is named on stderr and skipped.

    A report holds ``file``, ``seconds`` and what ``one`` gave, or ``file`` and ``error``.
    """
    reports = []
    with _progress(paths := list(paths)) as advance:
        for path in paths:
            began = time.perf_counter()
            try:
                report = {"file": str(path)} | one(path) | {"seconds": round(time.perf_counter() - began, 3)}
                say(report)
            except MienError as error:
                text = str(error if str(path) in error.args[0] else MienError(f"{path}: {error}"))
                report = {"file": str(path), "error": text}
                print(f"mien: {text}", file=sys.stderr)
            reports.append(report)
            advance()
    return reports


@contextmanager
def _progress(paths: list[Path]) -> Iterator[Callable[[], None]]:
    console = Console(stderr=True)
    if len(paths) < 2 or not console.is_terminal:
        yield lambda: None
        return
    with Progress(console=console) as bar:
        task = bar.add_task("editing", total=len(paths))
        yield lambda: bar.advance(task)


def _expanded(photos: Sequence[str]) -> Iterator[Path]:
    """Files as they are, folders as the photographs in them, patterns as what they match; each file once."""
    met: set[Path] = set()
    for text in photos:
        path = Path(text)
        found = [path]
        if path.is_dir():
            found = sorted(p for p in path.iterdir() if p.suffix.lower() in SUFFIXES and not p.name.startswith("."))
        elif not path.exists() and glob.has_magic(text):
            found = [Path(match) for match in sorted(glob.glob(text, recursive=True))]
        yield from (p for p in found if p not in met)
        met.update(found)
