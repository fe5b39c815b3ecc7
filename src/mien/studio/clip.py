"""The clip tab: an expression that comes and goes along a clip. It is there where the wing for clips is (PyAV)."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import gradio as gr

from mien import target as targets
from mien.errors import MienError
from mien.expressions import EXPRESSIONS
from mien.studio.foot import FILES
from mien.studio.parts import Studio, friendly, progress, run_and_stop, upload
from mien.video.clip import open_clip
from mien.video.curve import parsed, performance
from mien.video.edit import Wish, edit_clip
from mien.video.kinds import CONTAINERS

LONGEST = 120.0
"""Seconds of a clip that the studio takes; `mien edit` takes any length."""
MOST = 2_100_000
"""Pixels of a frame that the studio takes: 1080p."""
TICK = 0.5
"""Seconds between two words on how far it is."""
UNKNOWN = 3.0
"""Seconds of the timeline while there is no clip."""
TIMELINE = """<h3>Intensity along the clip</h3><svg role="group" aria-label="Intensity along the clip"></svg>
<p>Click to add a key, drag it or use the arrows to move it; a double click or Delete takes it away.</p>"""
IDLE = "The clip comes back in its own format, with its sound and its clock."


def clip_tab(studio: Studio) -> None:
    """Lay out the tab and connect it."""
    with gr.Row(elem_classes="bench"):
        with gr.Column(scale=7, min_width=300):
            clip = upload(label="A clip: drop or choose one", height=160, elem_id="clip")
            report = gr.Markdown(IDLE, elem_id="clip-report", elem_classes="report last")
            shown = gr.Video(
                label="Before and after",
                show_label=False,
                interactive=False,
                buttons=[],
                visible=False,
                elem_id="clip-preview",
                elem_classes="last",
            )
            out = gr.File(
                label="The edited clip", interactive=False, visible=False, elem_id="clip-out", elem_classes="last"
            )
        with gr.Column(scale=5, min_width=300):
            choices = [(name.capitalize(), name) for name in EXPRESSIONS]
            to = gr.Radio(choices, value="happiness", label="Expression", elem_classes="pills")
            with gr.Group(elem_classes="intensities"):
                line = gr.HTML(
                    {"keys": "0:1", "seconds": UNKNOWN},
                    html_template=TIMELINE,
                    js_on_load=(FILES / "timeline.js").read_text("utf-8"),
                    elem_id="timeline",
                    apply_default_css=False,
                )
                with gr.Row(elem_classes="chips"):
                    steady = gr.Button("Steady", size="sm", min_width=0)
                    coming = gr.Button("Comes and goes", size="sm", min_width=0)
                keys = gr.Textbox(
                    "0:1", label="In words", info="SECONDS:INTENSITY, with commas between", elem_id="keys"
                )
            face = gr.Radio(
                [("Every face", "all"), ("The largest", "1")], value="all", label="Faces", elem_classes="pills"
            )
            model = studio.model()
            with gr.Row():
                go = gr.Button("Edit the clip", variant="primary", elem_id="clip-go")
                stop = gr.Button("Stop", interactive=False, elem_id="clip-stop")

    @friendly
    def timed(path: str | None, text: str) -> dict[str, Any]:
        return {"keys": text, "seconds": _seconds(path)}

    def run(*asked: Any) -> Generator[Any]:
        for told, preview, place in edited(studio, *asked):
            yield told, gr.Video(preview, visible=bool(preview)), gr.File(place, visible=bool(place))

    # not through the queue: its stream may close on the work that is begun right after one of these
    quick: dict[str, Any] = dict(show_progress="hidden", api_visibility="private", queue=False)
    steady.click(lambda: "0:1", None, keys, **quick)
    coming.click(friendly(_coming), clip, keys, **quick)
    gr.on([clip.upload, clip.clear], timed, [clip, keys], line, **quick)
    keys.submit(friendly(_checked), keys, None, **quick | {"queue": True})  # else its error is not shown
    keys.change(None, [keys, line], line, js="(keys, line) => ({...line, keys})", **quick)
    line.input(None, line, keys, js="line => line.keys", **quick)
    run_and_stop(go, stop, run, [clip, to, keys, face, model], [report, shown, out])


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
    halt, done = threading.Event(), []

    def advance() -> None:
        done.append(1)
        if halt.is_set():
            raise MienError("stopped")

    try:
        with open_clip(source, MOST) as clip, ThreadPoolExecutor(1) as worker:
            if (clip.seconds or 0) > LONGEST:
                raise MienError(f"{source} takes {clip.seconds:.1f} s; the studio takes {LONGEST:g}: use `mien edit`")
            wish = Wish(targets.by_name(to), parsed(keys), face)
            work = worker.submit(edit_clip, clip, place, studio.editors[model], wish, preview=preview, advance=advance)
            try:
                while not wait([work], TICK).done:
                    yield progress(len(done), clip.length, "frames"), None, None
            finally:
                halt.set()
            outcome = work.result()
    except MienError as error:
        yield f"**That did not work:** {str(error).replace(str(source), source.name)}", None, None
        return
    speed = outcome.frames / max(outcome.seconds, 1e-9)
    told = f"**{outcome.edited} of {outcome.frames} frames edited**, {speed:.1f} a second. Left before, right after."
    yield told, str(preview), str(place)


def _seconds(path: str | None) -> float:
    """How long the clip is; ``UNKNOWN`` while there is none."""
    if not path:
        return UNKNOWN
    with open_clip(path, MOST) as clip:
        return clip.seconds or UNKNOWN


def _coming(path: str | None) -> str:
    keys = performance(_seconds(path)).keys
    return ", ".join(f"{time:.4g}:{value:g}" for time, value in keys)


def _checked(text: str) -> None:
    """MienError where the words are no curve."""
    try:
        parsed(text)
    except MienError as error:
        raise MienError(str(error).removeprefix("--keys").lstrip(": ")) from None
