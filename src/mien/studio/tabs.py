"""The tabs beside the photo tab: one photograph through several models, and many photographs at once."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Generator, Iterator
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import gradio as gr

from mien.editor import STRONGEST
from mien.errors import MienError
from mien.expressions import EXPRESSIONS
from mien.photo.write import write
from mien.studio.parts import Studio, friendly, present, progress, run_and_stop, upload
from mien.studio.sitting import Sitting, fitting, named

MOST = 200
"""Photographs of one batch."""
IDLE = "The edited photographs come back in one zip file, under their own names."


def compare_tab(studio: Studio, opened: gr.Tab, sitting: gr.State, closeup: gr.Checkbox) -> None:
    """What the photo tab shows, through every model, whenever the tab is opened."""
    gr.Markdown("What the Photo tab shows, through every model of this studio.")
    pictures = gr.Gallery(
        label="Before, and through every model",
        show_label=False,
        columns=3,
        height="auto",
        buttons=[],
        elem_id="compared",
    )

    @friendly
    def compare(of: Sitting | None, close: bool) -> list[tuple[str, str]]:
        return present(of).compare(close)

    how: dict[str, Any] = dict(concurrency_id="edit", concurrency_limit=studio.at_once, api_visibility="private")
    opened.select(compare, [sitting, closeup], pictures, **how)


def batch_tab(studio: Studio) -> None:
    """Many files in, a zip out."""
    with gr.Row(elem_classes="bench"):
        with gr.Column(scale=7, min_width=300):
            files = upload(label="Photographs: drop or choose them", file_count="multiple", height=260)
            report = gr.Markdown(IDLE, elem_id="batch-report", elem_classes="report last")
            out = gr.File(
                label="Edited photographs", interactive=False, visible=False, elem_id="batch-zip", elem_classes="last"
            )
        with gr.Column(scale=5, min_width=300):
            choices = [(name.capitalize(), name) for name in EXPRESSIONS]
            to = gr.Radio(choices, value="happiness", label="Expression", elem_classes="pills")
            intensity = gr.Slider(0, STRONGEST, 1, step=0.05, label="Intensity", buttons=[])
            face = gr.Radio(
                [("Every face", "all"), ("The largest", "largest")], value="all", label="Faces", elem_classes="pills"
            )
            model = studio.model()
            with gr.Row():
                go = gr.Button("Edit all", variant="primary", elem_id="batch-go")
                stop = gr.Button("Stop", interactive=False, elem_id="batch-stop")

    def run(paths: list[str] | None, *wish: Any) -> Generator[Any]:
        for told, packed in edit_all(studio, [Path(path) for path in paths or ()], *wish):
            yield told, gr.File(packed, visible=bool(packed))

    run_and_stop(go, stop, run, [files, to, intensity, face, model], [report, out])


def edit_all(
    studio: Studio, paths: list[Path], to: str, intensity: float, face: str, model: str
) -> Iterator[tuple[str, str | None]]:
    """Edit each file into a zip; yields how far it is and, at the end, the zip. One that fails is named and skipped."""
    if not 0 < len(paths) <= MOST:
        yield f"Give 1 to {MOST} photographs.", None
        return
    room, failed, used = Path(mkdtemp(dir=studio.folder)), [], set[str]()
    try:
        with zipfile.ZipFile(room / f"mien-{to}.zip", "w") as packed:
            for number, path in enumerate(paths):
                yield progress(number, len(paths), "photographs"), None
                try:
                    photo = named(path.name, path, studio.max_pixels)
                    done = studio.editors[model].edit(photo, to, intensity=intensity, face=face)
                    name = _unused(fitting(path.name, photo), used)
                    write(photo, done.rgb, edited := room / name)
                    packed.write(edited, name)
                    edited.unlink()
                except MienError as error:
                    failed.append(f"- {path.name}: {str(error).replace(f'{path.name}: ', '').replace(path.name, 'it')}")
    except GeneratorExit:
        shutil.rmtree(room)
        raise
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
