"""One visitor's photograph: found and measured once, then shown again and again as the wish changes."""

from __future__ import annotations

import shutil
import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp
from typing import Any

import numpy as np
from PIL import Image

from mien.editor import Editor, Seen, worn
from mien.errors import MienError
from mien.photo.draw import around
from mien.photo.find import face_of
from mien.photo.read import Photo, read
from mien.photo.write import SUFFIXES
from mien.studio.wish import Like, Wish

SHOWN = 1600
"""Longest side of the shown picture, in pixels. What is downloaded has the photograph's own size."""
LEAST = 256
"""Side of the smallest close-up, in the photograph's pixels: less would show blurred."""
THUMBNAIL = 224
STEPS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5)
"""The intensities of the strip."""
KEPT = 40
"""Shown pictures that lie on the disk for one visitor, and wishes that can be undone."""


@dataclass(frozen=True)
class View:
    """A part of a photograph at a size to be shown, with the faces where they lie in it."""

    photo: Photo
    seen: list[Seen]


class Sitting:
    """A photograph in the studio. Its files lie in a folder of their own that goes when the sitting does.

    path: the uploaded file, of which a copy is kept. editors: by the name of their model. folder: where that folder
    is made. Raises MienError, which names the file only, for what is no photograph.
    """

    def __init__(self, path: Path, editors: Mapping[str, Editor], folder: Path, max_pixels: int) -> None:
        self.name, self.editors, self.max_pixels = path.name, editors, max_pixels
        self.lock = threading.RLock()
        self._room = TemporaryDirectory(dir=folder, ignore_cleanup_errors=True)
        self._shown: deque[Path] = deque()
        self._count = 0
        self._views: dict[str, View] = {}
        shutil.copyfile(path, self.folder / "photo")
        photo = self.photo()
        self.name = fitting(self.name, photo)
        self.seen = next(iter(editors.values())).see(photo)
        self.size = (photo.rgb.shape[1], photo.rgb.shape[0])
        self.faces = [
            _save(self._part(photo, str(number), THUMBNAIL).photo.rgb, self.folder / f"face-{number}.jpg")
            for number in range(1, len(self.seen) + 1)
        ]
        self._views["whole"] = view(photo, self.seen, (0, 0, *self.size), SHOWN)
        self.wish = Wish(model=next(iter(editors)))
        self.turn = 0  # counts what changes the strip: all but the intensity
        self._past: list[tuple[str, Wish]] = []
        self._before: dict[str, str] = {}

    @property
    def folder(self) -> Path:
        """The folder of this sitting's files."""
        return Path(self._room.name)

    @property
    def start(self) -> np.ndarray:
        """(52,) scores measured on the chosen face, of all on the largest."""
        return self.seen[self._number - 1].blendshapes if self.seen else np.zeros(52, np.float32)

    @property
    def _number(self) -> int:
        return 1 if self.wish.face == "all" else int(self.wish.face)

    def photo(self) -> Photo:
        """The photograph at its own size."""
        return named(self.name, self.folder / "photo", self.max_pixels)

    def ask(self, control: str, **changes: Any) -> None:
        """Change the wish. What one control does in a row is one step for ``undo``."""
        with self.lock:
            wish = replace(self.wish, **changes)
            if wish.model not in self.editors:
                raise MienError(f"no model {wish.model!r} here: choose one of {', '.join(self.editors)}")
            if not self._past or self._past[-1][0] != control:
                self._past = [*self._past[-KEPT:], (control, self.wish)]
            self.wish, self.turn = wish, self.turn + (changes.keys() != {"intensity"})

    def undo(self) -> bool:
        """Back to the wish before the last step; False where there is none."""
        with self.lock:
            if not self._past:
                return False
            self.wish, self.turn = self._past.pop()[1], self.turn + 1
            return True

    def _part_shown(self, closeup: bool) -> str:
        one = self.seen and (self.wish.face != "all" or len(self.seen) == 1)
        return f"close-up {self._number}" if closeup and one else "whole"

    def picture(self, closeup: bool = False) -> tuple[str, str]:
        """Files of what is shown, before and after the edit."""
        with self.lock:
            part = self._part_shown(closeup)
            shown = self._view(part)
            if part not in self._before:
                self._before[part] = _save(shown.photo.rgb, self.folder / f"{part}.jpg")
            after = self._edited(shown, [self.wish.intensity], self.wish.face)[0]
            return self._before[part], self._before[part] if after is shown.photo.rgb else self.show(after)

    def strip(self) -> list[tuple[str, str]]:
        """Files of the chosen face at each of ``STEPS``, with what to write below them."""
        with self.lock:
            if not self.seen:
                return []
            tile = self._view(f"tile {self._number}")
            pictures = self._edited(tile, STEPS, str(self._number))
            return [(self.show(rgb), f"{step:g}") for rgb, step in zip(pictures, STEPS, strict=True)]

    def compare(self, closeup: bool = False) -> list[tuple[str, str]]:
        """Files of the shown picture as it was and through every model, with what to write below them."""
        with self.lock:
            shown, wish, found = self._view(self._part_shown(closeup)), self.wish, []
            for model in self.editors:
                try:
                    pixels = self._edited(shown, [wish.intensity], wish.face, model)[0]
                    found.append((self.show(pixels), Path(model).stem))
                except MienError as error:
                    found.append((self.show(shown.photo.rgb), f"{Path(model).stem}: {error}"))
            return [(self.show(shown.photo.rgb), "before"), *found]

    def download(self) -> Path:
        """The edit at the photograph's own size, in a file like that of ``mien edit``."""
        with self.lock:
            wish = self.wish
        if wish.request is None:
            raise MienError("nothing is changed yet: choose an expression, move a muscle or copy a face")
        return edit_file(self.photo(), self.name, self.editors, wish, self.folder, self.seen)

    def show(self, rgb: np.ndarray) -> str:
        """Save pixels to be shown; the oldest such file goes."""
        with self.lock:
            self._count += 1
            path = Path(_save(rgb, self.folder / f"{self._count}.jpg"))
            self._shown.append(path)
            if len(self._shown) > KEPT:
                self._shown.popleft().unlink(missing_ok=True)
            return str(path)

    def _edited(self, shown: View, steps: Any, face: str, model: str | None = None) -> list[np.ndarray]:
        request, editor = self.wish.request, self.editors[model or self.wish.model]
        if request is None or not shown.seen:
            return [shown.photo.rgb] * len(steps)
        return [done.rgb for done in editor.sweep(shown.photo, request, steps, face=face, seen=shown.seen)]

    def _view(self, part: str) -> View:
        if part not in self._views:
            longest = THUMBNAIL if part.startswith("tile") else SHOWN
            made = self._part(self.photo(), part.split()[1], longest)
            self._views = {"whole": self._views["whole"]} if len(self._views) > 6 else self._views
            self._views[part] = made
        return self._views[part]

    def _part(self, photo: Photo, number: str, longest: int) -> View:
        height, width = photo.rgb.shape[:2]
        face = self.seen[int(number) - 1].face
        reach = 1.9 if longest == THUMBNAIL else max(2.6, LEAST / face.size)
        return view(photo, self.seen, around(face.box, width, height, reach), longest)


def _save(rgb: np.ndarray, path: Path) -> str:
    Image.fromarray(rgb).save(path, "JPEG", quality=92)
    return str(path)


def view(photo: Photo, seen: list[Seen], region: tuple[int, int, int, int], longest: int) -> View:
    """The pixels of ``region`` (x0, y0, x1, y1), reduced to ``longest`` where they are more."""
    x0, y0, x1, y1 = region
    image = Image.fromarray(np.ascontiguousarray(photo.rgb[y0:y1, x0:x1]))
    scale = min(1.0, longest / max(image.size))
    if scale < 1:
        size = round(image.width * scale), round(image.height * scale)
        image = image.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)
    factor, corner = np.array(image.size) / (x1 - x0, y1 - y0), np.array([x0, y0], float)
    moved = [
        replace(
            one,
            face=face_of((one.face.landmarks - corner) * factor, one.face.score),
            matrix=np.column_stack([one.matrix[:, :2] / factor, one.matrix[:, :2] @ corner + one.matrix[:, 2]]),
        )
        for one in seen
    ]
    return View(Photo.from_array(np.asarray(image)), moved)


def named(name: str, path: Path, max_pixels: int) -> Photo:
    """``read``, with ``name`` in place of the server's path in what goes wrong."""
    try:
        return read(path, max_pixels)
    except MienError as error:
        raise MienError(str(error).replace(str(path), name)) from None


def liking(path: Path, editor: Editor, max_pixels: int) -> Like:
    """The largest face in the photograph at ``path``, to be like."""
    photo = named(path.name, path, max_pixels)
    models = editor.see(photo)
    if not models:
        raise MienError(f"no face found in {path.name}; give one with a clearly visible face")
    return Like(path.name, worn(photo, models[0]))


def fitting(name: str, photo: Photo) -> str:
    """``name`` with a suffix that mien writes: a photograph from a camera or the clipboard may have another or none."""
    return name if Path(name).suffix.lower() in SUFFIXES else f"{Path(name).stem}.{(photo.format or 'png').lower()}"


def edit_file(
    photo: Photo, name: str, editors: Mapping[str, Editor], wish: Wish, folder: Path, seen: list[Seen] | None = None
) -> Path:
    """Edit ``photo`` and write it into a fresh folder within ``folder``, named as ``mien edit`` names it."""
    if wish.model not in editors:
        raise MienError(f"no model {wish.model!r} here: choose one of {', '.join(editors)}")
    done = editors[wish.model].edit(photo, wish.request, intensity=wish.intensity, face=wish.face, seen=seen)
    return done.save(Path(mkdtemp(dir=folder)) / wish.file(name))
