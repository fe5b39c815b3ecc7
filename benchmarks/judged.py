"""Edit held-out photographs and lay them beside their originals, for a judge that had no part in training.

    python benchmarks/judged.py --photos lfw-photos-125.parquet --labels lfw-expressions-128.parquet --to happiness
    python benchmarks/judged.py --photos neutral_front --split test --to happiness --intensity 0.6 0.7 0.8
    judge.py out/judged/before out/judged/happiness-1 --to happiness

Photographs are drawn evenly from those of ``split`` labelled ``start``, enlarged by ``scale``, written as PNG. Those of
a folder are brought to ``side`` pixels; in the order of their names every second one is ``val``, the rest ``test``.
"""

from __future__ import annotations

import io
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import tyro
from PIL import Image

from mien import Editor, MienError, Photo


def main(
    photos: Path,
    labels: Path | None = None,
    to: str = "happiness",
    start: str = "neutral",
    split: str = "val",
    count: int = 200,
    scale: int = 2,
    side: int = 640,
    intensity: tuple[float, ...] = (1.0,),
    model: str = "flowfill",
    out: Path = Path("out/judged"),
    sheet: int = 24,
) -> None:
    """Write out/before and out/TO-INTENSITY, and a contact sheet of the first ``sheet`` people."""
    editor = Editor(model)
    pictures = drawn(photos, labels, start, split, count, scale) if labels else portraits(photos, split, side)
    cells, edited, spent = [], 0, 0.0
    for name, rgb in pictures:
        photo = Photo.from_array(rgb)
        try:
            seen = editor.see(photo)
            began = time.perf_counter()
            results = editor.sweep(photo, to, intensity, face="largest", seen=seen)
            spent += time.perf_counter() - began
        except MienError:
            continue
        edited += 1
        save(rgb, out / "before" / f"{name}.png")
        for value, result in zip(intensity, results, strict=True):
            save(result.rgb, out / f"{to}-{value:g}" / f"{name}.png")
        if len(cells) < sheet:
            cells.append(np.concatenate([rgb, *(result.rgb for result in results)], 1))
    rows = [np.concatenate(cells[i : i + 3], 1) for i in range(0, len(cells) - len(cells) % 3, 3)]
    Image.fromarray(np.concatenate(rows)).save(out / f"sheet-{to}.png")
    print(
        f"{edited} of {len(pictures)} photographs edited, {spent / edited * 1e3:.0f} ms each without finding -> {out}"
    )


def portraits(folder: Path, split: str, side: int) -> list[tuple[str, np.ndarray]]:
    """(name, (H, W, 3) uint8) of the val or test half of the pictures in ``folder``, or of all; ``side`` pixels."""
    files = sorted(f for f in folder.iterdir() if f.suffix.lower() in {".jpg", ".png"} and not f.name.startswith("."))
    result = []
    for file in files[{"val": slice(0, None, 2), "test": slice(1, None, 2), "all": slice(None)}[split]]:
        picture = Image.open(file).convert("RGB")
        size = (np.array(picture.size) * side / max(picture.size)).round().astype(int)
        result.append((file.stem, np.asarray(picture.resize(tuple(size.tolist()), Image.Resampling.LANCZOS))))
    return result


def drawn(photos: Path, labels: Path, start: str, split: str, count: int, scale: int) -> list[tuple[str, np.ndarray]]:
    """(name, (H, W, 3) uint8) of ``count`` photographs, evenly spread over the sorted names."""
    known = pq.read_table(labels, columns=["name", "emotion", "split"]).to_pylist()
    wanted = sorted(row["name"] for row in known if row["split"] == split and row["emotion"] == start)
    wanted = [wanted[i] for i in np.linspace(0, len(wanted) - 1, min(count, len(wanted))).astype(int)]
    table = pq.read_table(photos, columns=["name", "image"], filters=[("name", "in", wanted)])
    blobs = dict(zip(table["name"].to_pylist(), table["image"].to_pylist(), strict=True))
    result = []
    for name in wanted:
        picture = Image.open(io.BytesIO(blobs[name])).convert("RGB")
        size = (picture.width * scale, picture.height * scale)
        result.append((Path(name).stem, np.asarray(picture.resize(size, Image.Resampling.LANCZOS))))
    return result


def save(rgb: np.ndarray, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(rgb).save(path)


if __name__ == "__main__":
    tyro.cli(main)
