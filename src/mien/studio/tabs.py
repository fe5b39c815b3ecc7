"""The tabs beside the photo tab: one photograph through several models, and many photographs at once."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import gradio as gr

from mien.editor import STRONGEST
from mien.errors import MienError
from mien.expressions import EXPRESSIONS
from mien.photo.write import write
from mien.studio.parts import Studio, friendly, present, upload
from mien.studio.sitting import Sitting, fitting, named

MOST = 200
"""Photographs of one batch."""


def compare_tab(studio: Studio, sitting: gr.State) -> None:
    """The photo tab's photograph and wish through every model."""
    gr.Markdown("The photograph, the face and the expression of the Photo tab, through every model of this studio.")
    button = gr.Button("Compare", variant="primary")
    pictures = gr.Gallery(label="Before and after", show_label=False, columns=3, height="auto", buttons=[])

    @friendly
    def compare(of: Sitting | None) -> list[tuple[str, str]]:
        return present(of).compare()

    button.click(
        compare, sitting, pictures, concurrency_id="edit", concurrency_limit=studio.at_once, api_visibility="private"
    )


def batch_tab(studio: Studio) -> None:
    """Many files in, a zip out."""
    with gr.Row():
        with gr.Column(min_width=300):
            files = upload(label="Photographs: drop or choose them", file_count="multiple", height=220)
            choices = [(name.capitalize(), name) for name in EXPRESSIONS]
            to = gr.Radio(choices, value="happiness", label="Expression", elem_classes="pills")
            intensity = gr.Slider(0, STRONGEST, 1, step=0.05, label="Intensity", buttons=[])
            face = gr.Radio(
                [("Every face", "all"), ("The largest", "largest")], value="all", label="Faces", elem_classes="pills"
            )
            model = studio.model()
            with gr.Row():
                go = gr.Button("Edit all", variant="primary", elem_id="batch-go")
                stop = gr.Button("Stop")
        with gr.Column(min_width=300):
            report = gr.Markdown("The edited photographs come back in one zip file, under their own names.")
            out = gr.File(label="Edited photographs", interactive=False, elem_id="batch-zip")

    def run(paths: list[str] | None, *wish: Any) -> Iterator[tuple[str, str | None]]:
        yield from edit_all(studio, [Path(path) for path in paths or ()], *wish)

    running = go.click(
        run, [files, to, intensity, face, model], [report, out], concurrency_limit=1, api_visibility="private"
    )
    stop.click(None, cancels=[running])


def edit_all(
    studio: Studio, paths: list[Path], to: str, intensity: float, face: str, model: str
) -> Iterator[tuple[str, str | None]]:
    """Edit each file into a zip; yields how far it is and, at the end, the zip. One that fails is named and skipped."""
    if not 0 < len(paths) <= MOST:
        yield f"Give 1 to {MOST} photographs.", None
        return
    room, failed, used = Path(mkdtemp(dir=studio.folder)), [], set[str]()
    with zipfile.ZipFile(room / f"mien-{to}.zip", "w") as packed:
        for number, path in enumerate(paths, 1):
            yield f"{number} of {len(paths)}: {path.name}", None
            try:
                photo = named(path.name, path, studio.max_pixels)
                done = studio.editors[model].edit(photo, to, intensity=intensity, face=face)
                name = _unused(fitting(path.name, photo), used)
                write(photo, done.rgb, edited := room / name)
                packed.write(edited, name)
                edited.unlink()
            except MienError as error:
                failed.append(f"- {path.name}: {str(error).replace(f'{path.name}: ', '').replace(path.name, 'it')}")
    lines = [f"**{len(paths) - len(failed)} of {len(paths)} photographs edited.**", *failed]
    yield "\n".join(lines), str(room / f"mien-{to}.zip") if len(failed) < len(paths) else None


def _unused(name: str, used: set[str]) -> str:
    """``name``, or with a number where another file of the batch had it."""
    path, number, free = Path(name), 1, name
    while free in used:
        number += 1
        free = f"{path.stem}-{number}{path.suffix}"
    used.add(free)
    return free
