"""What the occlusion reader sees of covers drawn on held-out people, and where it sees some that were not drawn.

    python benchmarks/occlusion.py --data lfw-expressions-128.parquet --split test

Writes OUT/drawn.png (drawn covers) and OUT/found.png (the untouched faces with the largest covers in the middle), each
row of pictures above the weight that is left to an edit.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import tyro
from PIL import Image

from mien.lab.data import load
from mien.lab.readers.covers import covered
from mien.lab.readers.occlusion import on_face
from mien.model import Model, shipped
from mien.photo import blend

PARTS = ("mouth", "left eye", "right eye")


def main(
    data: Path, split: str = "val", model: Path | None = None, out: Path = Path("out/occlusion"), count: int = 60
) -> None:
    """Print shares with 95 % intervals over faces, and write the two sheets of ``count`` faces each."""
    reader = Model(model) if model else shipped("occlusion")
    table = load(data, split, frozenset({"image"}), reader.size)
    untouched = table.take(torch.arange(len(table))).image
    torch.manual_seed(7)
    drawn, truth = (torch.cat(each) for each in zip(*(covered(b) for b in untouched.split(64)), strict=True))
    before, after = read(reader, untouched), read(reader, drawn)
    face = on_face(untouched)[0, 0].numpy() == 1
    cover = (truth[:, 0].numpy() > 0.5) & face
    for chance in (blend.MAYBE, blend.SURE):
        found = (after > chance) & face
        pairs = np.stack([(found & cover).sum((1, 2)), (found | cover).sum((1, 2))], 1)
        pairs, enough = pairs[cover.sum((1, 2)) > 0], cover.sum((1, 2))[cover.sum((1, 2)) > 0] > 20
        print(f"chance above {chance}: IoU {interval(pairs)}, half of the faces above",
              f"{np.median(pairs[enough, 0] / pairs[enough, 1]):.3f}")  # fmt: skip
    weights = [np.stack([blend.uncovered(c, reader.size) for c in each]) for each in (before, after)]
    for name, part in zip(PARTS, parts(reader.size), strict=True):
        lost = 1 - weights[0][:, part].mean(1) > 0.1
        hidden = cover[:, part].mean(1) > 0.5
        left = 1 - weights[1][hidden][:, part].mean(1) > 0.8
        print(f"{name}: loses a tenth of its weight in {interval(lost)} of untouched faces,",
              f"four fifths in {interval(left)} of {len(left)} that are half covered")  # fmt: skip
    any_ = np.stack([1 - weights[0][:, part].mean(1) > 0.1 for part in parts(reader.size)]).any(0)
    print(f"any of them loses a tenth: {interval(any_)}; by the middle of the face, the most covered:")
    middle = np.hypot(*(np.mgrid[: reader.size, : reader.size] / reader.size - 0.55)) < 0.35
    order = np.argsort(weights[0][:, middle].mean(1))[:count]
    print(", ".join(table.names[i] for i in order[:20]))
    out.mkdir(parents=True, exist_ok=True)
    sheet(drawn[:count], weights[1]).save(out / "drawn.png")
    sheet(untouched[order], weights[0][order]).save(out / "found.png")


def read(reader: Model, images: torch.Tensor) -> np.ndarray:
    """(N, S, S): the chance of a cover everywhere."""
    return np.concatenate([reader.run({"image": part.numpy()})["read"][:, 0] for part in images.split(128)])


def parts(size: int) -> list[np.ndarray]:
    """Which pixels are mouth, left and right eye."""
    y, x = (np.mgrid[:size, :size] + 0.5) / size
    return [((x - a) / w) ** 2 + ((y - b) / h) ** 2 < 1 for a, b, w, h in blend.PARTS]


def interval(values: np.ndarray) -> str:
    """The mean of (N,) values, or the ratio of the sums of (N, 2), with a bootstrap 95 % interval."""
    rng = np.random.default_rng(0)
    draws = values[rng.integers(0, len(values), (1000, len(values)))].sum(1, dtype=float)
    whole = values.sum(0, dtype=float)
    if values.ndim == 1:
        draws, whole = draws / len(values), whole / len(values)
    else:
        draws, whole = draws[:, 0] / draws[:, 1], whole[0] / whole[1]
    low, high = np.quantile(draws, (0.025, 0.975))
    return f"{whole:.4f} [{low:.4f}, {high:.4f}]"


def sheet(images: torch.Tensor, weights: np.ndarray, across: int = 12) -> Image.Image:
    """Rows of faces, each above its weights."""
    rows = []
    for i in range(0, len(images), across):
        faces = ((images[i : i + across] + 1) * 127.5).byte().permute(0, 2, 3, 1).numpy()
        shown = np.repeat((255 * weights[i : i + len(faces)]).astype(np.uint8)[..., None], 3, 3)
        blank = np.zeros_like(faces[:1]).repeat(across - len(faces), 0)
        rows += [np.concatenate([*faces, *blank], 1), np.concatenate([*shown, *blank], 1)]
    return Image.fromarray(np.concatenate(rows))


if __name__ == "__main__":
    tyro.cli(main)
