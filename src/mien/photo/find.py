"""Photograph -> faces: where they are, how large, and their 68 landmarks.

Coordinates are continuous photo pixels, as in ``align``: a picture W wide spans [0, W]. Every finder gives its faces
from the largest to the smallest.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image

from mien.errors import MienError
from mien.model import Model, picture, shipped
from mien.photo.align import crop, five_points, inverse, move, similarity

FINEST = 1920
"""Longest side, in pixels, at which a photograph is searched; 12 megapixels take about 0.2 s on two cores."""
USUAL = 640
"""Photographs smaller than this are enlarged up to it, by at most a factor of two."""
SMALLEST_VIEW = 96
SMALLEST = 18.0
"""Least size of a face in a view, in pixels; below it the finder was not taught."""
POSSIBLE, CERTAIN = 0.2, 0.98
"""Least chance of a face that the second network must give, at its first look and at its second, better placed."""


@dataclass(frozen=True)
class Face:
    """One face. box: x0, y0, x1, y1 around the landmarks. landmarks: (68, 2) float32, iBUG order. score: in [0, 1]."""

    box: tuple[float, float, float, float]
    landmarks: np.ndarray
    score: float

    @property
    def points(self) -> np.ndarray:
        """(5, 2): the eyes' centres, nose tip and mouth corners, in the order of ``mien.expressions.TEMPLATE``."""
        return five_points(self.landmarks)

    @property
    def size(self) -> float:
        """The longer side of the box, in pixels."""
        return max(self.box[2] - self.box[0], self.box[3] - self.box[1])


def face_of(landmarks: np.ndarray, score: float) -> Face:
    """The face with these (68, 2) landmarks."""
    x0, y0, x1, y1 = (float(v) for v in (*landmarks.min(0), *landmarks.max(0)))
    return Face((x0, y0, x1, y1), landmarks.astype(np.float32), float(score))


class Finder(Protocol):
    """Anything that finds faces."""

    def find(self, rgb: np.ndarray) -> list[Face]:
        """Faces of ``rgb`` (H, W, 3) uint8, from the largest to the smallest; an empty list where there are none."""
        ...


class ShippedFinder:
    """mien's own two networks: one finds boxes and five points, the other places 68 landmarks and confirms the face.

    The photograph is searched at two to four sizes, each a quarter of the one before. Found are faces from about 24
    pixels up (longer side of the box around the landmarks) in photographs of up to 1920 pixels, from an eightieth of
    the long side in larger ones, up to the whole frame, and with any roll up to 45 degrees.

    threshold: least score of a face, which is the overlap that the finder expects its box to have. folder: where else
    the two ``.onnx`` lie. threads: see ``Model``.
    """

    def __init__(self, threshold: float = 0.75, folder: Path | None = None, threads: int = 0) -> None:
        self.threshold = threshold
        self._finder, self._reader = (
            Model(folder / f"{name}.onnx", threads) if folder else shipped(name, threads)
            for name in ("finder", "landmarks")
        )

    def find(self, rgb: np.ndarray) -> list[Face]:
        """See ``Finder.find``."""
        found = np.concatenate([self._search(view, scale) for view, scale in views(rgb)])
        found = found[keep_best(found[:, 1:5], found[:, 0])]
        scores, points = found[:, 0], found[:, 5:].reshape(-1, 5, 2)
        for least in (POSSIBLE, CERTAIN):
            if not len(points):
                return []
            landmarks, chance = read_landmarks(self._reader, rgb, points)
            kept = chance >= least
            landmarks, scores = landmarks[kept], np.minimum(scores, chance)[kept]
            points = np.array([five_points(face) for face in landmarks])
        faces = [face_of(face, score) for face, score in zip(landmarks, scores, strict=True)]
        boxes = np.array([face.box for face in faces]).reshape(-1, 4)
        faces = [faces[i] for i in keep_best(boxes, scores)]
        return sorted(faces, key=lambda face: -face.size)

    def _search(self, view: Image.Image, scale: np.ndarray) -> np.ndarray:
        """Candidates (N, 15) of one view: score, box and points in photo pixels. scale: photo / view, (2,)."""
        width, height = view.size
        image = np.zeros((1, 3, -height % 32 + height, -width % 32 + width), np.float32)
        pixels = image[0, :, :height, :width]
        pixels[:] = np.asarray(view).transpose(2, 0, 1)
        pixels /= 127.5
        pixels -= 1
        found = self._finder.run({"image": image})["faces"]
        sizes = (found[0, :, 3:5] - found[0, :, 1:3]).max(1)
        found = found[0][(found[0, :, 0] >= self.threshold) & (sizes >= SMALLEST)]
        found = found[keep_best(found[:, 1:5], found[:, 0])]
        found[:, 1:] *= np.tile(scale, 7).astype(np.float32)
        return found


def read_landmarks(reader: Model, rgb: np.ndarray, points: Iterable[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Landmarks (N, 68, 2) in photo pixels and the chance that each is a face (N,), by the landmark network ``reader``.

    points: where each face is, (5, 2) as ``Face.points``, in photo pixels; at least one.
    """
    template = np.array(reader.about["template"])
    matrices = [similarity(five, template) for five in points]
    crops = np.stack([crop(rgb, matrix, reader.size) for matrix in matrices])
    read = reader.run({"image": picture(crops)})
    places = [move(inverse(m), p) for m, p in zip(matrices, read["landmarks"], strict=True)]
    return np.stack(places), read["face"]


def views(rgb: np.ndarray) -> list[tuple[Image.Image, np.ndarray]]:
    """The photograph at the sizes at which it is searched, finest first, each with photo / view as (x, y)."""
    photo = Image.fromarray(np.ascontiguousarray(rgb))
    longest = max(photo.size)
    side = min(FINEST, max(longest, min(2 * longest, USUAL)))
    found: list[tuple[Image.Image, np.ndarray]] = []
    view = photo
    while not found or side >= SMALLEST_VIEW:
        size = tuple(max(1, round(length * side / longest)) for length in photo.size)
        view = view.resize((size[0], size[1]), Image.Resampling.BILINEAR, reducing_gap=2.0)
        found.append((view, np.array(photo.size) / np.array(size)))
        side //= 4
    return found


def keep_best(boxes: np.ndarray, scores: np.ndarray, overlap: float = 0.5) -> list[int]:
    """Indices, best first, of the boxes (N, 4) that share no more than ``overlap`` with any better kept one.

    Shares are of the smaller box: no face lies within a face, but an eye may look like a small one.
    """
    kept: list[int] = []
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    left = np.argsort(-scores, kind="stable")
    while len(left):
        best, left = int(left[0]), left[1:]
        kept.append(best)
        inner = np.minimum(boxes[left, 2:], boxes[best, 2:]) - np.maximum(boxes[left, :2], boxes[best, :2])
        shared = inner.clip(min=0).prod(1)
        left = left[shared <= overlap * np.minimum(area[left], area[best])]
    return kept


MESH_TO_LANDMARKS = (
    *(127, 234, 93, 132, 58, 172, 150, 176, 152, 400, 379, 397, 288, 361, 323, 454, 356),
    *(70, 63, 105, 66, 107, 336, 296, 334, 293, 300),
    *(168, 197, 5, 4, 75, 97, 2, 326, 305),
    *(33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380),
    *(61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181),
    *(78, 82, 13, 312, 308, 317, 14, 87),
)
"""Which of MediaPipe's 478 mesh points stands for each of the 68 iBUG landmarks."""


class MediaPipeFinder:
    """Google's FaceLandmarker (MediaPipe Tasks); needs ``pip install "mien[mediapipe]"`` and its model file.

    model: path of ``face_landmarker.task``; else the environment variable MIEN_MEDIAPIPE_MODEL. most: faces at most.
    """

    def __init__(self, model: Path | None = None, most: int = 50) -> None:
        named = model or (Path(value) if (value := os.environ.get("MIEN_MEDIAPIPE_MODEL")) else None)
        if named is None or not named.is_file():
            where = f"{named} is not there" if named else "no model file given"
            raise MienError(
                f"MediaPipe needs its face_landmarker.task ({where}): download it from MediaPipe's model page "
                "and give --finder-model FILE or set MIEN_MEDIAPIPE_MODEL"
            )
        self.model, self.most = named, most

    def find(self, rgb: np.ndarray) -> list[Face]:
        """See ``Finder.find``; every face has score 1, because MediaPipe's Tasks tell none."""
        try:
            import mediapipe
            from mediapipe.tasks.python import BaseOptions, vision
        except ImportError as error:
            raise MienError('the MediaPipe finder is not installed: pip install "mien[mediapipe]"') from error
        options = vision.FaceLandmarkerOptions(
            base_options=BaseOptions(model_asset_buffer=self.model.read_bytes()), num_faces=self.most
        )
        height, width = rgb.shape[:2]
        photo = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=np.ascontiguousarray(rgb))
        with vision.FaceLandmarker.create_from_options(options) as landmarker:
            meshes = landmarker.detect(photo).face_landmarks
        faces = []
        for mesh in meshes:
            points = np.array([(mesh[i].x * width, mesh[i].y * height) for i in MESH_TO_LANDMARKS])
            faces.append(face_of(points, 1.0))
        return sorted(faces, key=lambda face: -face.size)


def choose(faces: list[Face], which: str) -> list[int]:
    """Indices of the faces that ``which`` names: ``all``, ``largest``, a number from 1, or ``x,y`` inside a face.

    Raises MienError, saying what there is, where it names none.
    """
    if not faces:
        raise MienError("no face was found in this photograph")
    if which == "all":
        return list(range(len(faces)))
    if which == "largest":
        return [max(range(len(faces)), key=lambda i: faces[i].size)]
    have = ", ".join(
        f"{i + 1} at {(f.box[0] + f.box[2]) / 2:.0f},{(f.box[1] + f.box[3]) / 2:.0f}" for i, f in enumerate(faces)
    )
    try:
        numbers = [float(part) for part in which.split(",")]
    except ValueError:
        raise MienError(f"face {which!r}: say all, largest, a number or x,y; found: {have}") from None
    if len(numbers) == 2:
        return _at(faces, numbers[0], numbers[1], have)
    if len(numbers) != 1 or numbers[0] not in range(1, len(faces) + 1):
        raise MienError(f"there is no face {which}; found: {have}")
    return [int(numbers[0]) - 1]


def _at(faces: list[Face], x: float, y: float, have: str) -> list[int]:
    """The smallest face whose box holds the point."""
    hit = [i for i, f in enumerate(faces) if f.box[0] <= x <= f.box[2] and f.box[1] <= y <= f.box[3]]
    if not hit:
        raise MienError(f"no face at {x:g},{y:g}; found: {have}")
    return [min(hit, key=lambda i: faces[i].size)]
