"""What is done to one photograph, and the worker that does it to one after the other."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from mien import __version__
from mien.bulk.files import Place, told
from mien.errors import MienError
from mien.expressions import EXPRESSIONS
from mien.model import DEFAULT, find_model
from mien.photo.read import MAX_PIXELS

Report = dict[str, Any]
"""``file`` with ``rows`` (one a face) where it was measured, or with ``error``; of an edited one ``file`` alone."""


@dataclass(frozen=True)
class Job:
    """What is to be done; the same in every process. target: an expression's name, or muscles by name."""

    source: str
    out: str
    target: str | dict[str, float] | None
    intensity: float = 1.0
    neutral: bool = False
    face: str = "all"
    model: str = DEFAULT
    max_pixels: int = MAX_PIXELS
    mark: bool = True

    @property
    def measures(self) -> bool:
        """Nothing is edited; faces are measured."""
        return self.target is None

    def about(self) -> dict[str, Any]:
        """All that decides about the output, the model's bytes included."""
        digest = sha256(find_model(self.model).path.read_bytes()).hexdigest()[:16]
        return asdict(self) | {"out": None, "model": f"{Path(self.model).name} {digest}", "version": __version__}


class Worker:
    """Holds open models. One process has one worker, which computes on one thread."""

    def __init__(self, job: Job) -> None:
        os.environ["MIEN_THREADS"] = "1"
        from mien.editor import Editor

        self.job, self.editor = job, Editor(job.model)
        self.source, self.out = Place(job.source), Place(job.out)

    def __call__(self, name: str) -> Report:
        """Do the photograph called ``name``; what is wrong with it stands in the report, and is not raised."""
        try:
            with self.source.brought(name) as path:
                try:
                    return {"file": name} | self._one(name, path)
                except MienError as error:
                    return {"file": name, "error": str(error).replace(str(path), name)}
        except MienError as error:
            return {"file": name, "error": str(error)}
        except Exception as error:  # no photograph stops the rest
            return {"file": name, "error": f"{type(error).__name__}: {error}"}

    def _one(self, name: str, path: Path) -> Report:
        from mien.photo.read import read

        job = self.job
        if job.measures:
            return {"rows": self._rows(name, self.editor.see(read(path, job.max_pixels)))}
        if self.out.has(name):  # by a worker that was lost before it could say so
            return {}
        photo = read(path, job.max_pixels)
        edited = self.editor.edit(photo, job.target, intensity=job.intensity, face=job.face, neutral=job.neutral)
        if self.out.local:
            place = Path(self.out.root) / name
            with told(str(place)):
                place.parent.mkdir(parents=True, exist_ok=True)
            edited.save(place, mark=job.mark)
        else:
            with self.out.writing(name) as here:
                edited.save(here, mark=job.mark)
        return {}

    def _rows(self, name: str, seen: list[Any]) -> list[Report]:
        """A row a face, from the largest; of a photograph without one, a row whose ``face`` is 0."""
        if not seen:
            return [{"file": name, "face": 0}]
        return [
            {
                "file": name,
                "face": number,
                "box": [float(v) for v in item.face.box],
                "score": float(item.face.score),
                "expression": item.expression,
                "chances": dict(zip(EXPRESSIONS, map(float, item.emotion), strict=True)),
                "blendshapes": item.blendshapes.tolist(),
            }
            for number, item in enumerate(seen, 1)
        ]
