"""Contact sheets of a method in training: people down, expressions across."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from mien.expressions import EXPRESSIONS
from mien.lab.data import Table
from mien.lab.kept import make_folder
from mien.lab.method import Method
from mien.photo.write import write_aside


@torch.no_grad()
def sample_sheet(method: Method, table: Table, path: Path, device: torch.device, people: int = 8) -> None:
    """Write ``people`` faces of ``table``, each as it is and edited to one face of every expression found there."""
    label = table.faces.emotion
    if label is None or not (label >= 0).any():
        aims = torch.arange(min(len(EXPRESSIONS), len(table)))
    else:
        aims = torch.tensor([_clearest(table, label, k) for k in range(len(EXPRESSIONS)) if (label == k).any()])
    sources = table.take(torch.linspace(0, len(table) - 1, people).long(), device)
    targets = table.take(aims, device)
    columns = [sources.image]
    for k in range(len(targets)):
        target = targets[torch.full((len(sources),), k, device=device)]
        columns.append(method.edit(sources, target, torch.ones(len(sources), device=device)).image)
    cells = torch.stack([column for column in columns if column is not None], 1)
    write_grid(torch.cat([torch.cat([torch.full_like(cells[:1, 0], 1), targets.image])[None], cells]), path)


def write_grid(cells: Tensor, path: Path) -> None:
    """Write (rows, columns, 3, S, S) pictures in [-1, 1] as one JPEG."""
    rows, columns, _, side, _ = cells.shape
    grid = cells.permute(0, 3, 1, 4, 2).reshape(rows * side, columns * side, 3)
    make_folder(path.parent)
    pixels = ((grid.float().clamp(-1, 1) + 1) * 127.5).round().byte().cpu().numpy()
    with write_aside(path, overwrite=True) as aside:
        Image.fromarray(np.ascontiguousarray(pixels)).save(aside, quality=90)


def _clearest(table: Table, label: Tensor, k: int) -> int:
    """The face of expression ``k`` whose blendshapes lie farthest from the average face."""
    index = (label == k).nonzero()[:, 0]
    shapes = table.faces.blendshapes
    if shapes is None:
        return int(index[0])
    away = (shapes[index] - shapes.mean(0)).norm(dim=1)
    return int(index[away.argsort()[len(away) * 3 // 4]])
