"""How well a finder finds: recall, false positives, landmark error, roll and time, on labelled photographs.

    python benchmarks/finder.py --data lfw-photos-125.parquet [--limit 500] [--finder shipped|mediapipe|yunet]
        [--faceless FOLDER] [--sheet found.png]

A face counts as found where a finder's box overlaps the box around its 68 labelled landmarks with an IoU of 0.5 or
more; its size is the longer side of that box. Intervals are 95 %, by bootstrap over photographs. YuNet (``--model
FILE.onnx``, needs OpenCV) gives five points only: the average face laid over them stands for its box and landmarks.
"""

from __future__ import annotations

import argparse
import io
import math
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
from PIL import Image, ImageDraw

from mien.photo.align import five_points, move, similarity
from mien.photo.find import Face, Finder, MediaPipeFinder, ShippedFinder, face_of

BINS = (0, 16, 24, 32, 48, 64, 96, 400)
Photo = tuple[np.ndarray, np.ndarray]
"""rgb (H, W, 3) and the labelled landmarks (F, 68, 2) in its pixels."""


def photographs(path: Path, split: str, limit: int | None) -> list[Photo]:
    """The labelled photographs of one split."""
    table = pq.read_table(path)
    table = table.filter(pc.equal(table["split"], split)).slice(0, limit)
    out = []
    for blob, flat in zip(table["image"].to_pylist(), table["landmarks"].to_pylist(), strict=True):
        rgb = np.asarray(Image.open(io.BytesIO(blob)).convert("RGB"))
        out.append((rgb, np.array(flat, np.float64).reshape(-1, 68, 2) * (rgb.shape[1], rgb.shape[0])))
    return out


def scaled(photo: Photo, factor: float) -> Photo:
    rgb, faces = photo
    size = (round(rgb.shape[1] * factor), round(rgb.shape[0] * factor))
    resized = Image.fromarray(rgb).resize(size, Image.Resampling.BICUBIC)
    return np.asarray(resized), faces * (size[0] / rgb.shape[1], size[1] / rgb.shape[0])


def rolled(photo: Photo, degrees: float) -> Photo:
    """Turned clockwise about the middle, on a larger canvas."""
    rgb, faces = photo
    turned = Image.fromarray(rgb).rotate(-degrees, Image.Resampling.BICUBIC, expand=True)
    a = math.radians(degrees)
    turn = np.array([[math.cos(a), -math.sin(a)], [math.sin(a), math.cos(a)]])
    old, new = np.array([rgb.shape[1], rgb.shape[0]]) / 2, np.array(turned.size) / 2
    return np.asarray(turned), (faces - old) @ turn.T + new


def box_of(landmarks: np.ndarray) -> np.ndarray:
    return np.concatenate([landmarks.min(0), landmarks.max(0)])


def iou(a: np.ndarray, b: np.ndarray) -> float:
    inner = np.prod((np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])).clip(min=0))
    return float(inner / (np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - inner))


def measure(finder: Finder, photos: list[Photo]) -> tuple[np.ndarray, np.ndarray]:
    """(labels, photographs), a row each.

    Labels: number of the photograph, size, found (0 or 1), mean landmark error / outer eye distance. Photographs: boxes
    on no labelled face, milliseconds.
    """
    labels, extra = [], []
    for number, (rgb, truth) in enumerate(photos):
        began = time.perf_counter()
        faces = finder.find(rgb)
        spent = 1000 * (time.perf_counter() - began)
        boxes = [box_of(landmarks) for landmarks in truth]
        for landmarks, box in zip(truth, boxes, strict=True):
            best = max(faces, key=lambda face: iou(np.array(face.box), box), default=None)
            hit = best is not None and iou(np.array(best.box), box) >= 0.5
            error = np.nan
            if hit and best is not None:
                eyes = np.linalg.norm(landmarks[36] - landmarks[45])
                error = np.linalg.norm(best.landmarks - landmarks, axis=1).mean() / eyes
            labels.append((number, (box[2:] - box[:2]).max(), hit, error))
        spare = sum(all(iou(np.array(face.box), box) < 0.3 for box in boxes) for face in faces)
        extra.append((spare, spent))
    return np.array(labels, float), np.array(extra, float)


def interval(values: np.ndarray, photo: np.ndarray) -> str:
    """``mean [low, high] (count)``: 95 % interval over 1000 resamplings of the photographs."""
    if not len(values):
        return "-"
    _, group = np.unique(photo, return_inverse=True)
    sums, counts = np.bincount(group, values), np.bincount(group)
    draw = np.random.default_rng(0).integers(0, len(sums), (1000, len(sums)))
    low, high = np.percentile(sums[draw].sum(1) / counts[draw].sum(1), [2.5, 97.5])
    return f"{values.mean():.4f} [{low:.4f}, {high:.4f}] ({len(values)})"


def by_size(labels: np.ndarray) -> Iterator[str]:
    for low, high in pairwise(BINS):
        rows = labels[(labels[:, 1] >= low) & (labels[:, 1] < high)]
        if len(rows):
            found = rows[rows[:, 2] > 0]
            yield (
                f"  {low:3d}..{high:3d} px  recall {interval(rows[:, 2], rows[:, 0])}"
                f"  landmark error {interval(found[:, 3], found[:, 0])}"
            )


def report(finder: Finder, photos: list[Photo], few: list[Photo]) -> None:
    """Print every figure of the card; ``few`` of the photographs for the resized and rolled runs."""
    labels, extra = measure(finder, photos)
    large = labels[labels[:, 1] >= 48]
    print(f"{len(photos)} photographs as they are")
    print(f"  faces >= 48 px: recall {interval(large[:, 2], large[:, 0])}")
    print(f"  boxes on no labelled face, a photograph: {interval(extra[:, 0], np.arange(len(extra)))}")
    print(f"  milliseconds a photograph: median {np.median(extra[:, 1]):.1f}")
    print("\n".join(by_size(labels)))
    for factor in (0.5, 0.75, 1.5, 3.0):
        labels, _ = measure(finder, [scaled(photo, factor) for photo in few])
        print(f"{len(few)} photographs x {factor}", *by_size(labels), sep="\n")
    for degrees in (0, 15, 30, 45):
        labels, _ = measure(finder, [rolled(scaled(photo, 2), degrees) for photo in few])
        main = labels[labels[:, 1] >= 64]
        print(
            f"roll {degrees} (x 2, faces >= 64 px): recall {interval(main[:, 2], main[:, 0])}"
            f"  error {interval(*main[main[:, 2] > 0][:, [3, 0]].T)}"
        )


def faceless(finder: Finder, folder: Path) -> None:
    """Print what is found in pictures that show no face."""
    files = sorted(file for file in folder.iterdir() if file.suffix.lower() in {".png", ".jpg", ".jpeg", ".tif"})
    total = 0
    for file in files:
        rgb = np.asarray(Image.open(file).convert("RGB"))
        faces = finder.find(rgb)
        total += len(faces)
        for face in faces:
            print(f"  {file.name}: {face.score:.2f} at {[round(v) for v in face.box]}")
    print(f"{total} faces found in {len(files)} faceless pictures")


def sheet(finder: Finder, photos: list[Photo], path: Path, columns: int = 6, side: int = 250) -> None:
    """Draw boxes and landmarks: found green, labelled red."""
    rows = math.ceil(len(photos) / columns)
    page = Image.new("RGB", (columns * side, rows * side))
    for i, (rgb, truth) in enumerate(photos):
        zoom = side / max(rgb.shape[:2])
        cell = Image.fromarray(rgb).resize((round(rgb.shape[1] * zoom), round(rgb.shape[0] * zoom)))
        pen = ImageDraw.Draw(cell)
        for landmarks in truth:
            pen.rectangle((box_of(landmarks) * zoom).tolist(), outline=(255, 60, 60))
        for face in finder.find(rgb):
            pen.rectangle([v * zoom for v in face.box], outline=(0, 255, 0))
            pen.text((face.box[0] * zoom, face.box[1] * zoom - 11), f"{face.score:.2f}", fill=(0, 255, 0))
            for x, y in face.landmarks * zoom:
                pen.ellipse([x - 1, y - 1, x + 1, y + 1], fill=(0, 255, 0))
        page.paste(cell, (i % columns * side, i // columns * side))
    page.save(path)


class YuNet:
    """OpenCV's detector; the average face (68, 2) is laid over its five points, so that its boxes mean the same."""

    def __init__(self, model: Path, average: np.ndarray) -> None:
        import cv2

        self.network, self.average = cv2.FaceDetectorYN.create(str(model), "", (320, 320), 0.6), average

    def find(self, rgb: np.ndarray) -> list[Face]:
        self.network.setInputSize((rgb.shape[1], rgb.shape[0]))
        _, rows = self.network.detect(np.ascontiguousarray(rgb[..., ::-1]))
        faces = []
        for row in rows if rows is not None else []:
            matrix = similarity(five_points(self.average), row[4:14].reshape(5, 2))
            faces.append(face_of(move(matrix, self.average), row[14]))
        return sorted(faces, key=lambda face: -face.size)


def average_face(photos: list[Photo]) -> np.ndarray:
    """(68, 2): the labelled faces, aligned and averaged."""
    faces = [face for _, truth in photos for face in truth]
    return np.mean([move(similarity(five_points(face)), face) for face in faces], 0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--split", default="test")
    parser.add_argument("--limit", type=int)
    parser.add_argument("--few", type=int, default=400)
    parser.add_argument("--finder", choices=("shipped", "mediapipe", "yunet"), default="shipped")
    parser.add_argument("--model", type=Path, help="the model file of mediapipe or yunet")
    parser.add_argument("--weights", type=Path, help="a folder with other finder.onnx and landmarks.onnx")
    parser.add_argument("--threshold", type=float, default=0.75)
    parser.add_argument("--faceless", type=Path)
    parser.add_argument("--sheet", type=Path)
    given = parser.parse_args()
    photos = photographs(given.data, given.split, given.limit)
    finder: Finder
    if given.finder == "shipped":
        finder = ShippedFinder(given.threshold, given.weights)
    elif given.finder == "mediapipe":
        finder = MediaPipeFinder(given.model)
    else:
        finder = YuNet(given.model, average_face(photos))
    step = max(1, len(photos) // given.few)
    report(finder, photos, photos[::step][: given.few])
    if given.faceless:
        faceless(finder, given.faceless)
    if given.sheet:
        sheet(finder, photos[:: max(1, len(photos) // 24)][:24], given.sheet)


if __name__ == "__main__":
    main()
