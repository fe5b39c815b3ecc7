"""Pictures about pictures: numbered faces, and a grid of expressions and intensities."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

INK, PAPER = (24, 24, 24), (250, 250, 250)


def numbered(rgb: np.ndarray, boxes: Sequence[tuple[float, float, float, float]], labels: Sequence[str]) -> Image.Image:
    """The photograph (H, W, 3) with a box and a label on each face, both scaled to the picture."""
    picture = Image.fromarray(rgb)
    canvas = ImageDraw.Draw(picture)
    stroke = max(2, round(min(picture.size) / 300))
    for box, label in zip(boxes, labels, strict=True):
        size = max(11, round((box[2] - box[0]) / 7))
        font = ImageFont.load_default(size)
        canvas.rectangle(tuple(box), outline=(255, 210, 0), width=stroke)
        wide = canvas.textlength(label, font=font)
        corner = (box[0], max(0.0, box[1] - 1.35 * size))
        canvas.rectangle((*corner, corner[0] + wide + size / 2, corner[1] + 1.35 * size), fill=(255, 210, 0))
        canvas.text((corner[0] + size / 4, corner[1]), label, fill=INK, font=font)
    return picture


def grid(
    rows: Sequence[Sequence[np.ndarray]], across: Sequence[str], down: Sequence[str], cell: int = 224
) -> Image.Image:
    """Square pictures (any size, uint8) in a labelled grid, each shown at ``cell`` pixels."""
    size = max(12, cell // 13)
    font = ImageFont.load_default(size)
    measure = ImageDraw.Draw(Image.new("RGB", (1, 1)))
    left = int(max((measure.textlength(label, font=font) for label in down), default=0)) + size
    top, gap = 2 * size, 4
    sheet = Image.new("RGB", (left + len(across) * (cell + gap), top + len(rows) * (cell + gap)), PAPER)
    canvas = ImageDraw.Draw(sheet)
    for column, label in enumerate(across):
        canvas.text((left + column * (cell + gap) + cell / 2, top / 2), label, fill=INK, font=font, anchor="mm")
    for row, label in enumerate(down):
        canvas.text((size / 2, top + row * (cell + gap) + cell / 2), label, fill=INK, font=font, anchor="lm")
    for row, pictures in enumerate(rows):
        for column, picture in enumerate(pictures):
            shown = Image.fromarray(picture).resize((cell, cell), Image.Resampling.LANCZOS)
            sheet.paste(shown, (left + column * (cell + gap), top + row * (cell + gap)))
    return sheet


def around(
    box: tuple[float, float, float, float], width: int, height: int, reach: float = 1.9
) -> tuple[int, int, int, int]:
    """A square of ``reach`` times the face around ``box``, kept inside the photograph: x0, y0, x1, y1."""
    side = int(min(reach * max(box[2] - box[0], box[3] - box[1]), width, height))
    x = int(min(max((box[0] + box[2] - side) / 2, 0), width - side))
    y = int(min(max((box[1] + box[3] - side) / 2, 0), height - side))
    return x, y, x + side, y + side
