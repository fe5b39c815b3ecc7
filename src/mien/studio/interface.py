"""The programme interface: ``/edit`` and ``/faces``, which depend on nothing that a visitor did before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr

from mien.editor import STRONGEST, Seen
from mien.errors import MienError
from mien.expressions import BLENDSHAPES, EXPRESSIONS
from mien.studio.parts import Studio, friendly, upload
from mien.studio.sitting import edit_file, fitting, liking, named
from mien.studio.wish import Wish


def interface(studio: Studio) -> None:
    """Add the endpoints to the page; none of their parts is seen on it."""
    finder = next(iter(studio.editors.values()))

    first = studio.models[0][1]

    @friendly
    def edit(
        photo: str | None,
        to: str | None = None,
        muscles: dict[str, float] | None = None,
        like: str | None = None,
        intensity: float = 1.0,
        face: str = "all",
        model: str = first,
    ) -> str:
        given = _photo(photo)
        if sum((bool(to), bool(muscles), bool(like))) != 1:
            raise MienError("say what to change to: one of to, muscles or like")
        asked = Wish(
            to=to or None,
            muscles=tuple((muscles or {}).items()),
            like=liking(Path(like), finder, studio.max_pixels) if like else None,
            intensity=intensity,
            face=face,
            model=model,
        )
        source = named(given.name, given, studio.max_pixels)
        return str(edit_file(source, fitting(given.name, source), studio.editors, asked, studio.folder))

    @friendly
    def faces(photo: str | None) -> list[dict[str, Any]]:
        given = _photo(photo)
        return [_described(seen) for seen in finder.see(named(given.name, given, studio.max_pixels))]

    how: dict[str, Any] = dict(concurrency_id="edit", concurrency_limit=studio.at_once)
    with gr.Row(visible=False):
        photo, like = upload(label="The photograph"), upload(label="A photograph whose largest face to be like")
        to = gr.Textbox(label=f"One of {', '.join(EXPRESSIONS)}")
        muscles = gr.JSON(label="Muscles with their scores, 0 to 1")
        intensity = gr.Slider(0, STRONGEST, 1, label="Intensity")
        face = gr.Textbox("all", label='all, largest, a number from 1, or "x,y"')
        model = gr.Textbox(first, label=f"One of {', '.join(studio.editors)}")
        button, edited, listed = gr.Button(), gr.File(label="The edited photograph"), gr.JSON(label="The faces")
    words = [photo, to, muscles, like, intensity, face, model]
    button.click(edit, words, edited, api_name="edit", **how)
    button.click(faces, photo, listed, api_name="faces", **how)


def _photo(path: str | None) -> Path:
    if not path:
        raise MienError("give a photograph")
    return Path(path)


def _described(seen: Seen) -> dict[str, Any]:
    scores = zip(BLENDSHAPES[1:], seen.blendshapes[1:], strict=True)
    return {
        "box": [round(value) for value in seen.face.box],
        "expression": seen.expression,
        "blendshapes": {name: round(float(score), 3) for name, score in scores},
    }
