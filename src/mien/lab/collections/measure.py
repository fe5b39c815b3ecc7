"""One picture -> its face, aligned and measured, by the user wing's own finder and muscles."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from mien.errors import MienError
from mien.expressions import BLENDSHAPES
from mien.lab.collections.entry import REGIONS, Entry
from mien.model import Model, picture, shipped
from mien.photo import align
from mien.photo.find import Face, ShippedFinder
from mien.photo.read import read

ENLARGED, SMALL = 160, 256
"""Where nothing is found in a picture of no more than ``SMALL`` pixels, it is looked at again this large, on gray."""
WHOLE = "whole"

Muscles = Literal["measured", "table"]


@lru_cache(maxsize=1)
def _instruments() -> tuple[ShippedFinder, Model]:
    """In one thread each: there is a process a core already, and results must not depend on cores."""
    return ShippedFinder(threads=1), shipped("muscles", threads=1)


@dataclass(frozen=True)
class Measured:
    """A face, or why there is none.

    image: WebP. landmarks: (136,) in fractions of the crop; blendshapes: (52,); None where no face was found.
    regions: PNG of the indices into ``REGIONS``, None where the collection has no masks.
    thumbnail: 256 gray bytes. fate: "" for a face, ``WHOLE`` for a crop kept whole, else why it is left out.
    why: what more there is to say of that.
    """

    image: bytes | None = None
    landmarks: np.ndarray | None = None
    blendshapes: np.ndarray | None = None
    regions: bytes | None = None
    thumbnail: bytes | None = None
    fate: str = ""
    why: str = ""


def measure(entry: Entry, size: int, muscles: Muscles = "measured") -> Measured:
    """Find the face that ``entry`` means, align it into a crop of ``size`` pixels, and measure it."""
    if entry.unusable:
        return Measured(fate=entry.unusable)
    try:
        rgb = _pixels(entry)
    except MienError as error:
        return Measured(fate="cannot be read", why=str(error).removeprefix(str(entry.picture)).strip(" :"))
    face = find(rgb, entry.box)
    if face is None and not entry.cropped:
        return Measured(fate="no face found")
    if face is None:
        crop = np.asarray(Image.fromarray(rgb).resize((size, size), Image.Resampling.LANCZOS))
        shapes = _of_table(np.zeros(len(BLENDSHAPES)), entry) if muscles == "table" and entry.muscles else None
        return Measured(_webp(crop), None, shapes, None, _thumbnail(crop), WHOLE)
    matrix, reader = align.similarity(face.points), _instruments()[1]
    crop = align.crop(rgb, matrix, size)
    shapes = reader.run({"image": picture(align.crop(rgb, matrix, reader.size)[None])})["read"][0].clip(0, 1)
    if muscles == "table":
        shapes = _of_table(shapes, entry)
    try:
        regions = _regions(entry, rgb.shape, matrix, size) if entry.regions else None
    except MienError as error:
        return Measured(fate="its masks cannot be read", why=str(error))
    return Measured(_webp(crop), align.move(matrix, face.landmarks).ravel(), shapes, regions, _thumbnail(crop))


def find(rgb: np.ndarray, box: tuple[float, float, float, float] | None = None) -> Face | None:
    """The face that is meant, None where there is none.

    With a box, that whose landmarks share most of it; else, of the faces at least half as large as the largest, the
    one nearest the middle. A small picture in which nothing is found is looked at once more, enlarged on gray.
    """
    finder = _instruments()[0]
    faces = finder.find(rgb)
    if not faces and max(rgb.shape[:2]) <= SMALL:
        faces = _find_enlarged(rgb, finder)
    if box is not None:
        inside = [face for face in faces if _shared(face.box, box) > 0]
        return max(inside, key=lambda face: _shared(face.box, box), default=None)
    middle = np.array([rgb.shape[1], rgb.shape[0]]) / 2
    large = [face for face in faces if 2 * face.size >= faces[0].size]
    return min(large, key=lambda face: float(np.hypot(*(face.points.mean(0) - middle))), default=None)


def _find_enlarged(rgb: np.ndarray, finder: ShippedFinder) -> list[Face]:
    """The faces of a small picture, enlarged and with as much gray around as half of it."""
    height, width = rgb.shape[:2]
    scale = max(1.0, ENLARGED / max(height, width))
    large = Image.fromarray(rgb).resize((round(width * scale), round(height * scale)), Image.Resampling.BICUBIC)
    border = max(large.size) // 2
    frame = Image.new("RGB", (large.width + 2 * border, large.height + 2 * border), (128, 128, 128))
    frame.paste(large, (border, border))
    stretch = np.array([width / large.width, height / large.height])
    faces = []
    for face in finder.find(np.asarray(frame)):
        points = (face.landmarks - border) * stretch
        corners = *points.min(0).tolist(), *points.max(0).tolist()
        faces.append(Face((corners[0], corners[1], corners[2], corners[3]), points.astype(np.float32), face.score))
    return faces


def _shared(a: Sequence[float], b: Sequence[float]) -> float:
    """Intersection over union of two boxes."""
    inner = max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    both = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inner
    return inner / both if both > 0 else 0.0


def _pixels(entry: Entry) -> np.ndarray:
    if isinstance(entry.picture, Path):
        return read(entry.picture).rgb
    gray = entry.picture if entry.picture.ndim == 3 else np.repeat(entry.picture[:, :, None], 3, 2)
    return np.ascontiguousarray(gray)


def _of_table(shapes: np.ndarray, entry: Entry) -> np.ndarray:
    """``shapes`` (52,) with the values that the collection's own table gives."""
    given = entry.muscles or {}
    return np.array([given.get(name, value) for name, value in zip(BLENDSHAPES, shapes, strict=True)])


def _regions(entry: Entry, shape: tuple[int, ...], matrix: np.ndarray, size: int) -> bytes:
    """The crop of the entry's masks, which may be smaller or larger than the picture of ``shape`` (H, W, 3), as PNG.

    Each region is cropped as a picture is, and a pixel is of the one that covers it most. Raises MienError for masks
    that cannot be read or differ in size.
    """
    masks = [(region, read(file).rgb[:, :, 0] > 127) for region, file in entry.regions]
    if len({mask.shape for _, mask in masks}) > 1:
        raise MienError(f"the masks beside {entry.regions[0][1]} differ in size")
    label = np.zeros(masks[0][1].shape, np.uint8)
    for region, mask in masks:
        label[mask] = region
    high, wide = np.array(shape[:2]) / label.shape  # pixels of the picture to one of a mask
    planes = np.where(label[..., None] == np.arange(len(REGIONS)), 255, 0).astype(np.uint8)
    cover = [align.crop(np.ascontiguousarray(planes[..., i : i + 3]), matrix * (wide, high, 1), size) for i in (0, 3)]
    blob = io.BytesIO()
    Image.fromarray(np.concatenate(cover, 2).argmax(2).astype(np.uint8)).save(blob, "PNG")
    return blob.getvalue()


def _webp(crop: np.ndarray) -> bytes:
    blob = io.BytesIO()
    Image.fromarray(crop).save(blob, "WEBP", quality=95)
    return blob.getvalue()


def _thumbnail(crop: np.ndarray) -> bytes:
    return Image.fromarray(crop).convert("L").resize((16, 16), Image.Resampling.BOX).tobytes()
