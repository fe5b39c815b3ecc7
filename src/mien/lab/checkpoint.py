"""Training state in one safetensors file: tensors in its body, JSON in its header, written aside and renamed."""

from __future__ import annotations

import json
import os
import zlib
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as read
from safetensors.torch import save as serialized
from torch import Tensor

from mien.errors import MienError


@dataclass(frozen=True)
class Progress:
    """Where a run stands, and what it is: all that a resume or a card needs beside the tensors."""

    method: str
    config: dict[str, Any]
    data: str
    version: str
    step: int = 0
    images: int = 0
    seconds: float = 0.0


def save(path: Path, tensors: dict[str, Tensor], progress: Progress) -> None:
    """Write ``path`` whole or not at all; what was there before stays until the new file is on the disk.

    Raises MienError where it cannot be written.
    """
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        body = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        about = {"mien": json.dumps(asdict(progress)), "crc32": str(_checksum(body))}
        with open(aside, "wb") as file:  # save_file would write under a name of its own, which stays after a kill
            file.write(serialized(body, about))
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
    except (OSError, SafetensorError) as error:
        reason = str(error).splitlines()[0]
        raise MienError(f"{path} cannot be written ({reason}); the one before stays: make room, go on") from error
    finally:
        with suppress(OSError):
            aside.unlink()


def load(path: Path) -> tuple[dict[str, Tensor], Progress]:
    """Tensors by name and the progress; raises MienError where ``path`` is no checkpoint of mien."""
    if path.exists() and not path.is_file():  # a pipe would block
        raise MienError(f"{path}: not a checkpoint of mien (not a regular file)")
    try:
        with open(path, "rb") as file:  # once: a training may put a newer one in its place between two openings
            content = file.read()
        tensors, header = read(content), content[8 : 8 + int.from_bytes(content[:8], "little")]
        about = json.loads(header).get("__metadata__", {})
        progress = Progress(**json.loads(about.get("mien", "")))
        if not (isinstance(progress.config, dict) and isinstance(progress.method, str)):
            raise TypeError("its header is wrong")
    except (OSError, SafetensorError, ValueError, TypeError, RecursionError) as error:
        raise MienError(f"{path}: not a checkpoint of mien ({str(error).splitlines()[0]})") from error
    if about.get("crc32", kept := str(_checksum(tensors))) != kept:  # those of version 0.1 have none
        raise MienError(f"{path}: damaged, its checksum is wrong; go back to a copy, or begin in another --out")
    return tensors, progress


def _checksum(tensors: dict[str, Tensor]) -> int:
    """CRC-32 of names and values, in the order of the names."""
    crc = 0
    for name, tensor in sorted(tensors.items()):
        crc = zlib.crc32(name.encode(), crc)
        if tensor.numel():
            crc = zlib.crc32(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data, crc)
    return crc
