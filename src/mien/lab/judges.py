"""Who measures edited faces: outside networks that took no part in training, and mien's own readers, marked as such."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

import numpy as np
import onnxruntime as ort
from PIL import Image

from mien.errors import MienError
from mien.expressions import BLENDSHAPES, EXPRESSIONS, TEMPLATE
from mien.model import picture, shipped
from mien.photo import align

Kind = Literal["expression", "identity", "muscles", "features"]

FACE = (0.5 - 0.455, 0.584 - 0.455, 0.5 + 0.455, 0.584 + 0.455)
"""x0, y0, x1, y1 in fractions of an aligned crop: the square around a face, 1.1 of MediaPipe's mesh.

The median over 300 val faces of LFW; measured in aligned crops a face needs not be found again to be cut out.
"""
ARCFACE = ((38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041))
"""The five points, in pixels of 112, to which networks of the ArcFace family align a face."""


class Judge(Protocol):
    """Anything that measures faces.

    name: as the report calls it, unique. independent: it took no part in training any model, nor in labelling the data.
    kind: what ``read`` gives, a row a face; a row of NaN where it could see none:
    expression (N, 7) probabilities in the order of ``EXPRESSIONS``; identity (N, D) embeddings, compared by cosine;
    muscles (N, 52) scores in [0, 1] in the order of ``BLENDSHAPES``; features (N, D) of any network.
    """

    @property
    def name(self) -> str: ...
    @property
    def independent(self) -> bool: ...
    @property
    def kind(self) -> Kind: ...
    def read(self, images: np.ndarray) -> np.ndarray:
        """Measure aligned crops (N, S, S, 3) uint8."""
        ...


@runtime_checkable
class Filed(Protocol):
    """A judge that is known by its type and the file at ``path``, so that what it reads may be kept."""

    @property
    def path(self) -> Path: ...


@dataclass(frozen=True)
class Own:
    """A reader that mien ships: models are trained with it, or on the labels that it learned from."""

    reader: Literal["muscles", "emotion"]
    independent: bool = False

    @property
    def name(self) -> str:
        return f"mien {self.reader}"

    @property
    def path(self) -> Path:
        return shipped(self.reader).path

    @property
    def kind(self) -> Kind:
        return "muscles" if self.reader == "muscles" else "expression"

    def read(self, images: np.ndarray) -> np.ndarray:
        """See ``Judge.read``."""
        model = shipped(self.reader)
        crops = np.stack([align.crop(image, to_crop(image), model.size) for image in images])
        return np.concatenate([model.run({"image": picture(part)})["read"] for part in batches(crops)])


@dataclass(frozen=True)
class FaceApi:
    """The expression network of face-api (MIT): the face as RGB, 112 px, 0..255."""

    path: Path
    name: str = "face-api"
    independent: bool = True
    kind: Kind = "expression"

    def read(self, images: np.ndarray) -> np.ndarray:
        """See ``Judge.read``."""
        order = ("neutral", "happiness", "sadness", "anger", "fear", "disgust", "surprise")
        return in_our_order(run(self.path, faces(images, 112).astype(np.float32)), order)


@dataclass(frozen=True)
class Xception:
    """mini-Xception of FER2013 (Arriaga et al. 2017, MIT): the face in gray, 64 px, [-1, 1]."""

    path: Path
    name: str = "mini-Xception"
    independent: bool = True
    kind: Kind = "expression"

    def read(self, images: np.ndarray) -> np.ndarray:
        """See ``Judge.read``."""
        order = ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral")
        gray = faces(images, 64, "L").astype(np.float32)[:, None]
        return in_our_order(run(self.path, gray / 127.5 - 1), order)


@dataclass(frozen=True)
class MobileFaceNet:
    """An identity network of the ArcFace family (Apache-2.0): the face aligned to ``ARCFACE``, 112 px.

    Two photographs of one person of LFW have a cosine of 0.62 on average, those of two people 0.01.
    """

    path: Path
    name: str = "MobileFaceNet"
    independent: bool = True
    kind: Kind = "identity"

    def read(self, images: np.ndarray) -> np.ndarray:
        """See ``Judge.read``."""
        size, middle, spread = 112, np.array((0.485, 0.456, 0.406)), np.array((0.229, 0.224, 0.225))
        move = align.similarity(np.array(TEMPLATE), np.array(ARCFACE) / size)
        rows = []
        for image in images:
            matrix = np.column_stack([move[:, :2] / len(image), move[:, 2]])
            face = (align.crop(image, matrix, size) / 255 - middle) / spread
            rows.append(run(self.path, face.transpose(2, 0, 1)[None].astype(np.float32)))
        return np.concatenate(rows)


@dataclass(frozen=True)
class MediaPipe:
    """Google's FaceLandmarker (Apache-2.0): 52 blendshapes of the face that it finds.

    Not independent: the blendshapes on which mien's models are trained are its own.
    """

    path: Path
    name: str = "MediaPipe"
    independent: bool = False
    kind: Kind = "muscles"

    def read(self, images: np.ndarray) -> np.ndarray:
        """See ``Judge.read``."""
        import mediapipe
        from mediapipe.tasks.python import BaseOptions, vision

        options = vision.FaceLandmarkerOptions(
            base_options=BaseOptions(model_asset_buffer=self.path.read_bytes()),
            output_face_blendshapes=True,
            min_face_detection_confidence=0.3,
            min_face_presence_confidence=0.3,
        )
        scores = np.full((len(images), len(BLENDSHAPES)), np.nan)
        with vision.FaceLandmarker.create_from_options(options) as landmarker:
            for row, image in zip(scores, images, strict=True):
                crop = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=np.ascontiguousarray(image))
                found = landmarker.detect(crop).face_blendshapes
                row[:] = [shape.score for shape in found[0]] if found else np.nan
        return scores


OUTSIDE: dict[str, Callable[[Path], Judge]] = {
    "face-api-expression.onnx": FaceApi,
    "mini-xception-fer2013.onnx": Xception,
    "MobileFaceNet.onnx": MobileFaceNet,
    "face_landmarker.task": MediaPipe,
}
"""The files of outside judges. mien ships none of them: put those that you have into one folder."""


def find_judges(folder: Path | None) -> tuple[list[Judge], list[str]]:
    """Outside judges in ``folder`` and mien's own readers; and in words, which are not there and why.

    Raises MienError where ``folder`` is given and holds none.
    """
    found: list[Judge] = []
    absent: list[str] = []
    for file, kind in OUTSIDE.items():
        if folder is None or not (folder / file).is_file():
            absent.append(f"no {file}" + ("" if folder else " (--judges FOLDER says where the judges' files are)"))
        elif kind is MediaPipe and not installed("mediapipe"):
            absent.append(f'{file} needs MediaPipe: pip install "mien[mediapipe]"')
        else:
            found.append(kind(folder / file))
    if folder is not None and not found:
        raise MienError(f"{folder}: no judge in there; it may hold {', '.join(OUTSIDE)}")
    return [*found, Own("emotion"), Own("muscles")], absent


def installed(module: str) -> bool:
    """Whether ``module`` can be imported."""
    try:
        __import__(module)
    except ImportError:
        return False
    return True


def to_crop(image: np.ndarray) -> np.ndarray:
    """(2, 3) matrix from the pixels of a square crop to its fractions."""
    return np.array([[1 / len(image), 0, 0], [0, 1 / len(image), 0]])


def faces(images: np.ndarray, size: int, mode: Literal["RGB", "L"] = "RGB") -> np.ndarray:
    """(N, size, size, 3), or (N, size, size) where ``mode`` is L: the square ``FACE`` of aligned crops, uint8."""
    cut = []
    for image in images:
        pad = len(image) // 8  # the square reaches below the crop
        side, edged = len(image), np.pad(image, ((0, pad), (0, 0), (0, 0)), "edge")
        box = (FACE[0] * side, FACE[1] * side, FACE[2] * side, FACE[3] * side)
        face = Image.fromarray(edged).convert(mode)
        cut.append(np.asarray(face.resize((size, size), Image.Resampling.BILINEAR, box=box)))
    return np.stack(cut)


def in_our_order(probabilities: np.ndarray, order: Sequence[str]) -> np.ndarray:
    """Columns named ``order`` in the order of ``EXPRESSIONS``."""
    return probabilities[:, [order.index(name) for name in EXPRESSIONS]]


def batches(images: np.ndarray, most: int = 64) -> list[np.ndarray]:
    """``images`` in parts of ``most``, so that memory does not grow with their number."""
    return [images[i : i + most] for i in range(0, len(images), most)]


def run(path: Path, images: np.ndarray) -> np.ndarray:
    """The first output of the network at ``path`` for its only input."""
    session = opened(path)
    name = session.get_inputs()[0].name
    return np.concatenate([session.run(None, {name: part})[0] for part in batches(images)])


@functools.lru_cache(maxsize=8)
def opened(path: Path) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.log_severity_level = 4
    try:
        return ort.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own exceptions share no base class
        raise MienError(f"{path}: not a network that ONNX Runtime can open; get a fresh copy") from error
