"""The way of a photograph: found faces -> aligned crops -> one run of the model -> blended back at full resolution."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mien import target as targets
from mien.errors import MienError
from mien.expressions import BLENDSHAPES, EXPRESSIONS
from mien.model import DEFAULT, Arrays, find_model, picture, shipped
from mien.photo import align, blend
from mien.photo.credentials import Signer
from mien.photo.find import Face, Finder, ShippedFinder, choose
from mien.photo.read import Photo, read
from mien.photo.write import write
from mien.target import Target

STRONGEST = 1.5
"""The largest intensity: half as much again as the full target."""
GRAY = 2.0
"""Mean difference of a pixel's channels, in levels of 255, below which a face is a gray one and is painted gray."""
REFERENCE = 256
"""Side in pixels of the crop that is kept of a face to be like."""

Picture = Photo | Path | str | np.ndarray | Image.Image
Request = str | Mapping[str, float] | Target


@dataclass(frozen=True)
class Seen:
    """A face found and measured: ``matrix`` (2, 3) maps the photograph's pixels to its crop's fractions.

    cover: (S, S) in [0, 1], the chance that something is before the face there; None where nobody has looked.
    """

    face: Face
    matrix: np.ndarray
    blendshapes: np.ndarray
    emotion: np.ndarray
    cover: np.ndarray | None = None

    @property
    def landmarks(self) -> np.ndarray:
        """(68, 2) in fractions of the crop."""
        return align.move(self.matrix, self.face.landmarks).astype(np.float32)

    @property
    def expression(self) -> str:
        """The likeliest of the seven expressions."""
        return EXPRESSIONS[int(self.emotion.argmax())]


@dataclass(frozen=True)
class Edited:
    """An edit's result: the source, its edited pixels (H, W, 3) uint8, all faces seen, the indices of those edited."""

    photo: Photo
    rgb: np.ndarray
    seen: list[Seen]
    chosen: list[int]

    @property
    def image(self) -> Image.Image:
        """The edited picture as Pillow knows it."""
        return Image.fromarray(self.rgb)

    def save(self, path: str | Path, *, overwrite: bool = False, mark: bool = True, sign: Signer | None = None) -> Path:
        """Write it in the format of ``path``'s suffix, marked as edited; what exists is kept unless ``overwrite``.

        sign: also with a signed manifest of what was done (C2PA, not BMP).
        """
        return write(self.photo, self.rgb, Path(path), overwrite=overwrite, mark=mark, sign=sign)


class Editor:
    """Edits photographs with one model. It holds open models only, so one editor serves any number of photographs.

    model: the name of a shipped model, or the path of an ``.onnx`` file. finder: what finds faces (mien's own).
    occlusion: leave what covers a face (a hand, a microphone) as it is; False paints over it.
    """

    def __init__(self, model: str = DEFAULT, finder: Finder | None = None, occlusion: bool = True) -> None:
        self.model = find_model(model)
        self.finder = finder or ShippedFinder()
        self.occlusion = occlusion

    def see(self, picture_: Picture) -> list[Seen]:
        """Find and measure every face, the largest first."""
        photo = as_photo(picture_)
        faces = self.finder.find(photo.rgb)
        if not faces:
            return []
        readers = [shipped(name) for name in ("muscles", "emotion", "occlusion")]
        matrices = [align.similarity(align.five_points(face.landmarks)) for face in faces]
        sizes = {reader.size for reader in readers}
        crops = {size: picture(np.stack([align.crop(photo.rgb, m, size) for m in matrices])) for size in sizes}
        scores, feelings, covers = (reader.run({"image": crops[reader.size]})["read"] for reader in readers)
        return [Seen(*each) for each in zip(faces, matrices, scores, feelings, covers[:, 0], strict=True)]

    def edit(
        self,
        photo: Picture,
        to: Request | None = None,
        *,
        intensity: float = 1.0,
        like: Picture | None = None,
        face: str = "all",
        neutral: bool = False,
        seen: list[Seen] | None = None,
    ) -> Edited:
        """Change the expression of the faces in ``photo``.

        to: an expression's name, or muscles by name with their scores, e.g. ``{"mouthSmileLeft": 0.8}``.
        like: in place of ``to``, a photograph whose largest face wears the wanted expression.
        intensity: 0 gives the photograph bit for bit, 1 the full target, up to 1.5 exaggerates it.
        face: all, largest, a number from 1, or "x,y".
        neutral: with muscles, begin from the person's neutral face. seen: what ``see`` gave for this photograph.
        Raises MienError where no face is found or a wish cannot be met.
        """
        return self.sweep(photo, to, [intensity], like=like, face=face, neutral=neutral, seen=seen)[0]

    def sweep(
        self,
        photo: Picture,
        to: Request | None = None,
        intensities: Sequence[float] = (0.25, 0.5, 0.75, 1.0),
        *,
        like: Picture | None = None,
        face: str = "all",
        neutral: bool = False,
        seen: list[Seen] | None = None,
    ) -> list[Edited]:
        """The same edit at several intensities, through the model as one batch."""
        for value in intensities:
            if not 0 <= value <= STRONGEST:
                raise MienError(f"intensity {value}: give a number between 0 and {STRONGEST}")
        source = as_photo(photo)
        target = self._target(to, like, neutral)
        seen = self.see(source) if seen is None else seen
        if not seen:
            raise MienError("no face found; one of 32 pixels or more, turned no further than profile, is needed")
        chosen = choose([s.face for s in seen], face)
        edits = self._run(source.rgb, [seen[i] for i in chosen], target, intensities)
        results = []
        for number, value in enumerate(intensities):
            rgb = source.rgb
            for slot, index in enumerate(chosen) if value else ():
                mine, cover = seen[index].matrix, seen[index].cover
                others = [s.matrix for s in seen if s is not seen[index]]
                flow, delta = (edits[name][slot * len(intensities) + number] for name in ("flow", "delta"))
                weight = blend.weights(mine, others, flow.shape[-1])
                if self.occlusion and cover is not None:
                    weight = weight * blend.uncovered(cover, flow.shape[-1])
                rgb = blend.apply(rgb, mine, weight, flow, delta)
            results.append(Edited(source, rgb, seen, chosen))
        return results

    def _target(self, to: Request | None, like: Picture | None, neutral: bool) -> Target:
        if (to is None) == (like is None):
            raise MienError("say what to change to: an expression, muscles, or a photograph to be like (one of them)")
        if like is not None:
            models = self.see(like)
            if not models:
                raise MienError("no face found in the photograph to be like; give one with a clearly visible face")
            return worn(as_photo(like), models[0])
        if isinstance(to, str):
            return targets.by_name(to)
        return to if isinstance(to, Target) else targets.by_muscles(dict(to or {}), neutral)

    def _run(self, rgb: np.ndarray, faces: list[Seen], target: Target, intensities: Sequence[float]) -> Arrays:
        """Every face at every intensity in one batch -> flow (B, 2, S, S) and delta (B, 3, S, S)."""
        about, count = self.model.about, len(intensities)
        if "emotion" in about["target"] and target.emotion is None:
            raise MienError(
                f"model {about['name']} edits by expression: it cannot move single muscles; use --model {DEFAULT}"
            )
        knows = about.get("knows", EXPRESSIONS)
        if "emotion" in about["target"] and EXPRESSIONS[target.emotion or 0] not in knows:
            raise MienError(
                f"model {about['name']} was not taught {EXPRESSIONS[target.emotion or 0]}, only {' and '.join(knows)}: "
                f"choose one of these, or use --model {DEFAULT}"
            )
        crops = np.stack([align.crop(rgb, face.matrix, self.model.size) for face in faces])
        inputs: dict[str, Any] = {
            "source_image": picture(crops),
            "source_blendshapes": np.stack([face.blendshapes for face in faces]),
            "source_landmarks": np.stack([face.landmarks for face in faces]),
            "source_emotion": np.array([face.emotion.argmax() for face in faces], np.int64),
            "target_blendshapes": np.stack([target.goal(face.blendshapes) for face in faces]),
            "target_emotion": np.full(len(faces), target.emotion or 0, np.int64),
            "target_image": np.repeat(_reference(target, self.model.size), len(faces), 0),
        }
        inputs = {name: np.repeat(value, count, 0) for name, value in inputs.items()}
        inputs["intensity"] = np.tile(np.asarray(intensities, np.float32), len(faces))
        outputs = self.model.run(inputs)
        if "image" in outputs:
            delta = outputs["image"] - inputs["source_image"]
            outputs = {"delta": delta, "flow": np.zeros_like(delta[:, :2])}
        gray = np.repeat(np.ptp(crops.astype(np.int16), axis=-1).mean((1, 2)) < GRAY, count).reshape(-1, 1, 1, 1)
        delta = outputs["delta"]
        return outputs | {"delta": np.where(gray, delta.mean(1, keepdims=True), delta)}


def worn(photo: Photo, seen: Seen) -> Target:
    """To be like ``seen``, a face in ``photo``."""
    face = align.crop(photo.rgb, seen.matrix, REFERENCE)
    return Target(scores=seen.blendshapes, emotion=int(seen.emotion.argmax()), face=face)


def _reference(target: Target, size: int) -> np.ndarray:
    """(1, 3, S, S) in [-1, 1]: the face to be like; where there is none, zeros, which no photograph is throughout."""
    if target.face is None:
        return np.zeros((1, 3, size, size), np.float32)
    return picture(np.asarray(Image.fromarray(target.face).resize((size, size), Image.Resampling.LANCZOS))[None])


def as_photo(given: Picture) -> Photo:
    """A photograph from a path, an (H, W, 3) uint8 array or a Pillow image."""
    if isinstance(given, Photo):
        return given
    if isinstance(given, (str, Path)):
        return read(Path(given))
    return Photo.from_pil(given) if isinstance(given, Image.Image) else Photo.from_array(given)


def strongest(scores: np.ndarray, count: int = 4) -> dict[str, float]:
    """The ``count`` highest blendshapes by name, gaze aside."""
    order = [i for i in np.argsort(-scores) if not BLENDSHAPES[i].startswith("eyeLook")][:count]
    return {BLENDSHAPES[i]: round(float(scores[i]), 2) for i in order}
