"""Drawn faces with exact labels: enough of a signal to learn from, where no real faces are at hand.

The pixels follow the landmarks, and the landmarks follow the blendshapes in a line, by ``DISPLACEMENT``.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image, ImageDraw

from mien.expressions import BLENDSHAPES, TEMPLATE

SIDE = 64
PEOPLE, PHOTOS = 64, 4
EXPRESSION_OF = {
    "neutral": (),
    "happiness": ("mouthSmileLeft", "mouthSmileRight"),
    "surprise": ("jawOpen", "browInnerUp"),
    "sadness": ("mouthFrownLeft", "mouthFrownRight"),
}


def average_face() -> np.ndarray:
    """(68, 2) landmarks in iBUG order of a face that is the same in the mirror, its five points on ``TEMPLATE``."""
    angle = np.linspace(np.pi, 0, 17)
    jaw = np.stack([0.5 + 0.36 * np.cos(angle), 0.45 + 0.48 * np.sin(angle)], 1)
    brow = np.stack([np.linspace(0.22, 0.44, 5), 0.31 - 0.03 * np.sin(np.linspace(0, np.pi, 5))], 1)
    bridge = np.stack([np.full(4, 0.5), np.linspace(0.42, 0.6, 4)], 1)
    nostrils = np.stack([np.linspace(0.43, 0.57, 5), 0.64 + 0.01 * np.sin(np.linspace(0, np.pi, 5))], 1)
    eye = (
        np.array([(-0.07, 0), (-0.025, -0.03), (0.025, -0.03), (0.07, 0), (0.025, 0.03), (-0.025, 0.03)]) + TEMPLATE[0]
    )
    other = mirrored_points(eye)[[3, 2, 1, 0, 5, 4]]
    outer, inner = (np.linspace(np.pi, -np.pi, n, endpoint=False) for n in (12, 8))
    lips = [
        np.stack([0.5 + w * np.cos(a), 0.76 - h * np.sin(a)], 1)
        for a, w, h in ((outer, 0.125, 0.05), (inner, 0.1, 0.02))
    ]
    return np.concatenate([jaw, brow, mirrored_points(brow)[::-1], bridge, nostrils, eye, other, *lips])


def mirrored_points(points: np.ndarray) -> np.ndarray:
    """x -> 1 - x."""
    return np.stack([1 - points[:, 0], points[:, 1]], 1)


def displacement() -> np.ndarray:
    """(52, 68, 2): how far each landmark moves with each blendshape. Left is the person's own: right in the picture."""
    move = np.zeros((len(BLENDSHAPES), 68, 2))
    face = average_face()
    left = np.clip((face[48:, 0] - 0.5) / 0.125, 0, 1)[:, None]
    right = np.clip((0.5 - face[48:, 0]) / 0.125, 0, 1)[:, None]
    for name, part, x, y in (
        ("mouthSmileLeft", left, 0.04, -0.06), ("mouthSmileRight", right, -0.04, -0.06),
        ("mouthFrownLeft", left, 0.0, 0.05), ("mouthFrownRight", right, 0.0, 0.05),
    ):  # fmt: skip
        move[BLENDSHAPES.index(name), 48:] = part * (x, y)
    move[BLENDSHAPES.index("jawOpen"), [*range(55, 60), *range(65, 68)]] = 0, 0.11
    move[BLENDSHAPES.index("browInnerUp"), 17:27] = 0, -0.06
    return move


DISPLACEMENT = displacement()


def draw_face(points: np.ndarray, skin: tuple[int, ...], ground: np.ndarray, side: int = SIDE) -> np.ndarray:
    """(side, side, 3) uint8 of a face with these 68 landmarks before a soft ``ground`` (n, n, 3)."""
    scale = 4 * side
    picture = Image.fromarray(ground.astype(np.uint8)).resize((scale, scale), Image.Resampling.BICUBIC)
    pen = ImageDraw.Draw(picture)

    def fill(part: np.ndarray, colour: tuple[int, ...]) -> None:
        pen.polygon([tuple(p) for p in part * scale], fill=colour)

    fill(np.concatenate([points[:17], points[26:16:-1] - (0, 0.12)]), skin)
    for part in (points[17:22], points[22:27]):
        pen.line([tuple(p) for p in part * scale], fill=(60, 40, 30), width=scale // 32)
    pen.line([tuple(p) for p in points[27:31] * scale], fill=tuple(c * 3 // 4 for c in skin), width=scale // 40)
    for part in (points[36:42], points[42:48]):
        fill(part, (30, 30, 50))
    fill(points[48:60], (180, 70, 80))
    fill(points[60:68], (30, 5, 10))
    return np.asarray(picture.resize((side, side), Image.Resampling.BOX))


def openness(images) -> np.ndarray:
    """(B,) how dark it is where an open mouth's cavity is: what no network of ours had a say in."""
    side = images.shape[-1]
    box = images[:, 0, round(0.77 * side) : round(0.86 * side), round(0.44 * side) : round(0.57 * side)]
    return -box.mean((1, 2)).detach().numpy()


def manifest(path: Path, side: int = SIDE, leave_out: tuple[str, ...] = ()) -> Path:
    """Write a manifest in the form of the data card: four photographs each of 64 people, three in four to train on."""
    rng = np.random.default_rng(0)
    rows: dict[str, list] = {
        k: [] for k in ("name", "identity", "emotion", "split", "image", "landmarks", "blendshapes")
    }
    for person in range(PEOPLE):
        skin, ground = tuple(rng.integers(150, 250, 3).tolist()), rng.integers(0, 150, (6, 6, 3))
        own = rng.normal(0, 0.008, (68, 2)) * 0.3 + rng.normal(0, 0.008, (1, 2))
        for photo, emotion in enumerate(EXPRESSION_OF):
            shapes = np.zeros(len(BLENDSHAPES))
            shapes[[BLENDSHAPES.index(n) for n in EXPRESSION_OF[emotion]]] = rng.uniform(0.7, 1)
            points = average_face() + own + np.einsum("k,kld->ld", shapes, DISPLACEMENT) + rng.normal(0, 0.003, (1, 2))
            blob = io.BytesIO()
            Image.fromarray(draw_face(points, skin, ground, side)).save(blob, "WEBP", lossless=True)
            split = "train" if person % 4 else ("val", "test")[person // 4 % 2]
            values = (f"p{person:03d}_{photo}", f"p{person:03d}", emotion, split, blob.getvalue(),
                      points.ravel().astype(np.float16), shapes.astype(np.float16))  # fmt: skip
            for column, value in zip(rows, values, strict=True):
                rows[column].append(value)
    fields = {"landmarks": pa.list_(pa.float16(), 136), "blendshapes": pa.list_(pa.float16(), len(BLENDSHAPES))}
    columns = {k: pa.array(v, fields.get(k)) for k, v in rows.items() if k not in leave_out}
    meta = {"blendshapes": ",".join(BLENDSHAPES), "template": str([list(p) for p in TEMPLATE]), "size": str(side)}
    pq.write_table(pa.table(columns).replace_schema_metadata(meta), path)
    return path
