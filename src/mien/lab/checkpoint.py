"""Training state in one safetensors file: tensors in its body, JSON in its header, written aside and renamed."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
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
    """Write ``path`` whole or not at all; what was there before stays until the new file is on the disk."""
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        body = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        save_file(body, aside, metadata={"mien": json.dumps(asdict(progress))})
        with open(aside, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)


def load(path: Path) -> tuple[dict[str, Tensor], Progress]:
    """Tensors by name and the progress; raises MienError where ``path`` is no checkpoint of mien."""
    try:
        with safe_open(path, "pt") as file:
            header = (file.metadata() or {}).get("mien", "")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return tensors, Progress(**json.loads(header))
    except (OSError, SafetensorError, ValueError, TypeError) as error:
        raise MienError(f"{path}: not a checkpoint of mien ({error})") from error
