"""Files here or in an object store, by fsspec: listed, brought here, and put there whole or not at all."""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec

from mien.errors import MienError
from mien.photo.write import SUFFIXES, write_aside

ASIDE = ".mien-"
"""How the names of files that are still being written begin."""
ATOMIC = {"s3", "s3a", "gs", "gcs", "abfs", "az"}
"""Stores in which an object is there only when its upload is complete."""


@dataclass(frozen=True)
class Place:
    """A folder: a path, or a URL such as s3://bucket/folder."""

    url: str

    @property
    def fs(self) -> Any:
        """Its file system; opened once a process."""
        return self._opened()[0]

    @property
    def root(self) -> str:
        return str(self._opened()[1]).rstrip("/")

    @property
    def local(self) -> bool:
        return "file" in self._protocols()

    def _opened(self) -> tuple[Any, str]:
        try:
            return fsspec.core.url_to_fs(self.url)
        except (ImportError, ValueError) as error:
            raise MienError(f"{self.url}: {str(error).splitlines()[0]}") from error

    def _protocols(self) -> set[str]:
        protocol = self.fs.protocol
        return {protocol} if isinstance(protocol, str) else set(protocol)

    def names(self) -> list[str]:
        """Every file's name from here on, folders in it included, sorted; none where the folder is not there."""
        with told(self.url):
            self.fs.invalidate_cache()
            return sorted(str(path)[len(self.root) + 1 :] for path in self.fs.find(self.root))

    def photographs(self) -> list[str]:
        """The names that end as photographs do, hidden ones left out."""
        found = [name for name in self.names() if Path(name).suffix.lower() in SUFFIXES]
        return [name for name in found if not any(part.startswith(".") for part in name.split("/"))]

    def has(self, name: str) -> bool:
        with told(self.url):
            self.fs.invalidate_cache()
            return bool(self.fs.exists(f"{self.root}/{name}"))

    def text(self, name: str) -> str:
        with told(self.url):
            return str(self.fs.cat_file(f"{self.root}/{name}").decode())

    @contextmanager
    def brought(self, name: str) -> Iterator[Path]:
        """The file ``name`` as one on this machine."""
        if self.local:
            yield Path(self.root) / name
            return
        with tempfile.TemporaryDirectory() as folder:
            here = Path(folder) / Path(name).name
            with told(f"{self.url}/{name}"):
                self.fs.get_file(f"{self.root}/{name}", str(here))
            yield here

    @contextmanager
    def writing(self, name: str) -> Iterator[Path]:
        """A path on this machine to write; where the block ends without an error it becomes ``name``, whole."""
        if self.local:
            place = Path(self.root) / name
            with told(str(place)):
                place.parent.mkdir(parents=True, exist_ok=True)
            with write_aside(place, overwrite=True) as here:
                yield here
            return
        with tempfile.TemporaryDirectory() as folder:
            here = Path(folder) / Path(name).name
            yield here
            goal = f"{self.root}/{name}"
            aside = goal if self._protocols() & ATOMIC else f"{goal.rpartition('/')[0]}/{ASIDE}{secrets.token_hex(8)}"
            with told(f"{self.url}/{name}"):
                self.fs.makedirs(goal.rpartition("/")[0], exist_ok=True)
                self.fs.put_file(str(here), aside)
                if aside != goal:
                    self.fs.mv(aside, goal)

    def write(self, name: str, text: str) -> None:
        """A small file, replaced where it exists."""
        with self.writing(name) as here:
            here.write_text(text, encoding="utf-8", errors="backslashreplace")  # names may be no text

    def sweep(self) -> None:
        """Remove what killed processes had begun to write."""
        for name in self.names():
            if name.rpartition("/")[2].startswith(ASIDE):
                with told(self.url):
                    self.fs.rm_file(f"{self.root}/{name}")


def as_text(name: str) -> str:
    """A file's name as tables can hold it: bytes that are no text become ``\\udc..``."""
    return name.encode(errors="backslashreplace").decode()


@contextmanager
def told(where: str) -> Iterator[None]:
    """What a file system raises, in one line."""
    try:
        yield
    except MienError:
        raise
    except Exception as error:  # stores raise their own libraries' exceptions
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise MienError(f"{where}: {reason}; check the address, its permissions and the connection") from error
