"""Results of a long computation, kept in a folder until it is done, so that a killed one goes on where it was."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from mien.errors import MienError
from mien.photo.write import write_aside

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Kept:
    """Arrays by all that they depend on, a file each. Without a folder nothing is kept."""

    folder: Path | None = None

    def arrays(self, depends: tuple[object, ...], make: Callable[[], Arrays]) -> Arrays:
        """What ``make`` gives, from the folder where it was made before of the same ``depends`` (see ``digest``)."""
        if self.folder is None:
            return make()
        path = self.folder / f"{digest(*depends)}.npz"
        try:
            with np.load(path, allow_pickle=False) as file:
                return {name: file[name] for name in file.files}
        except (OSError, ValueError, EOFError, BadZipFile):  # not there, or cut off
            made = make()
        make_folder(self.folder)
        with write_aside(path, overwrite=True) as aside, aside.open("wb") as file:
            np.savez(file, **made)  # type: ignore[arg-type]
        return made

    def clear(self) -> None:
        """Delete the folder: the computation is done."""
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)


NOWHERE = Kept()
"""Keeps nothing."""


def make_folder(path: Path) -> None:
    """With those above it; MienError where that cannot be."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MienError(f"{path}: cannot be made a folder ({error.strerror}); choose another place") from error


def digest(*parts: object) -> str:
    """SHA-256 of arrays by their values, of bytes as they are, and of anything else as it prints."""
    found = hashlib.sha256()
    for part in parts:
        if isinstance(part, np.ndarray):
            found.update(repr((part.dtype.str, part.shape)).encode() + np.ascontiguousarray(part).tobytes())
        else:
            found.update(part if isinstance(part, bytes) else repr(part).encode())
        found.update(b"\0")
    return found.hexdigest()
