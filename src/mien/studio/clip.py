"""The clip tab: an expression that comes and goes along a clip. It is there where the wing for clips is (PyAV)."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import gradio as gr
import numpy as np

from mien import target as targets
from mien.editor import STRONGEST
from mien.errors import MienError
from mien.expressions import EXPRESSIONS
from mien.studio.parts import Studio, friendly, upload
from mien.video.clip import open_clip
from mien.video.curve import Curve, parsed, performance
from mien.video.edit import Wish, edit_clip
from mien.video.kinds import CONTAINERS

LONGEST = 120.0
"""Seconds of a clip that the studio takes; `mien edit` takes any length."""
MOST = 2_100_000
"""Pixels of a frame that the studio takes: 1080p."""
TICK = 0.5
"""Seconds between two words on how far it is."""


def clip_tab(studio: Studio) -> None:
    """Lay out the tab and connect it."""
    with gr.Row():
        with gr.Column(min_width=300):
            clip = upload(label="A clip: drop or choose one", height=140, elem_id="clip")
            choices = [(name.capitalize(), name) for name in EXPRESSIONS]
            to = gr.Radio(choices, value="happiness", label="Expression", elem_classes="pills")
            keys = gr.Textbox(
                "0:1",
                label="Intensity in time",
                info="SECONDS:INTENSITY, separated by commas. It moves smoothly from each to the next.",
                elem_id="keys",
            )
            line = gr.HTML(_drawn(Curve(((0.0, 1.0),)), 3.0), elem_id="timeline")
            with gr.Row():
                steady = gr.Button("Steady", size="sm")
                coming = gr.Button("Comes and goes", size="sm")
            face = gr.Radio(
                [("Every face", "all"), ("The largest", "1")], value="all", label="Faces", elem_classes="pills"
            )
            model = studio.model()
            with gr.Row():
                go = gr.Button("Edit the clip", variant="primary", elem_id="clip-go")
                stop = gr.Button("Stop")
        with gr.Column(min_width=300):
            report = gr.Markdown("The clip comes back in its own format, with its sound and its clock.")
            shown = gr.Video(label="Before and after", interactive=False, buttons=[], elem_id="clip-preview")
            out = gr.File(label="The edited clip", interactive=False, elem_id="clip-out")

    @friendly
    def draw(text: str, path: str | None) -> str:
        return _drawn(parsed(text), _seconds(path))

    def run(*asked: Any) -> Iterator[tuple[Any, ...]]:
        yield from edited(studio, *asked)

    quick: dict[str, Any] = dict(show_progress="hidden", api_visibility="private")
    shape = [keys, clip]
    steady.click(lambda: "0:1", None, keys, **quick).then(draw, shape, line, **quick)
    coming.click(friendly(_coming), clip, keys, **quick).then(draw, shape, line, **quick)
    gr.on([keys.submit, keys.blur, clip.upload], draw, shape, line, **quick)
    running = go.click(
        run, [clip, to, keys, face, model], [report, shown, out], concurrency_limit=1, api_visibility="private"
    )
    stop.click(None, cancels=[running])


def edited(
    studio: Studio, path: str | None, to: str, keys: str, face: str, model: str
) -> Iterator[tuple[str, str | None, str | None]]:
    """Edit a clip; yields how far it is and at the end both files. Closed early, it stops and leaves no clip."""
    if not path:
        yield "Give a clip first.", None, None
        return
    source, room = Path(path), Path(mkdtemp(dir=studio.folder))
    suffix = source.suffix if source.suffix.lower() in CONTAINERS else ".mp4"
    place, preview = room / f"{source.stem}-{to}{suffix}", room / "before-and-after.mp4"
    stopped, done = threading.Event(), []

    def advance() -> None:
        done.append(1)
        if stopped.is_set():
            raise MienError("stopped")

    try:
        with open_clip(source, MOST) as clip, ThreadPoolExecutor(1) as worker:
            if (clip.seconds or 0) > LONGEST:
                raise MienError(f"{source} takes {clip.seconds:.0f} s; the studio takes {LONGEST:g}: use `mien edit`")
            wish = Wish(targets.by_name(to), parsed(keys), face)
            work = worker.submit(edit_clip, clip, place, studio.editors[model], wish, preview=preview, advance=advance)
            try:
                while not wait([work], TICK).done:
                    yield f"{len(done)} of {clip.length or '?'} frames", None, None
            finally:
                stopped.set()
            outcome = work.result()
    except MienError as error:
        yield f"**That did not work:** {str(error).replace(str(source), source.name)}", None, None
        return
    speed = outcome.frames / max(outcome.seconds, 1e-9)
    told = f"**{outcome.edited} of {outcome.frames} frames edited**, {speed:.1f} frames a second"
    yield told, str(preview), str(place)


def _seconds(path: str | None) -> float:
    """How long the clip is; 3 s while there is none."""
    if not path:
        return 3.0
    with open_clip(path, MOST) as clip:
        return clip.seconds or 3.0


def _coming(path: str | None) -> str:
    keys = performance(_seconds(path)).keys
    return ", ".join(f"{time:.2f}:{value:g}" for time, value in keys)


def _drawn(curve: Curve, seconds: float) -> str:
    """The curve along the clip, as a drawing with its words."""
    end = max(seconds, curve.keys[-1][0])
    times = np.linspace(0, end, 120)
    line = " ".join(f"{600 * time / end:.1f},{100 - 60 * curve(float(time)):.1f}" for time in times)
    dots = "".join(f'<circle cx="{600 * t / end:.1f}" cy="{100 - 60 * v:.1f}" r="5"/>' for t, v in curve.keys)
    words = ", ".join(f"{value:g} at {time:g} seconds" for time, value in curve.keys)
    marks = "".join(
        f'<text x="{x}" y="118" text-anchor="{a}">{t:g} s</text>'
        for x, a, t in ((0, "start", 0), (600, "end", round(end, 2)))
    )
    top = 100 - 60 * STRONGEST
    return (
        f'<svg viewBox="-8 0 616 124" role="img" aria-label="Intensity {words}">'
        f'<path d="M0 100H600M0 40H600M0 {top:g}H600" class="rule"/><polyline points="{line}"/>{dots}{marks}</svg>'
    )
