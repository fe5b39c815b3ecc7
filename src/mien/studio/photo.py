"""The photo tab: every control changes the visitor's wish, and the picture answers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr

from mien.editor import STRONGEST
from mien.errors import MienError
from mien.expressions import BLENDSHAPES, EXPRESSIONS, mirrored
from mien.studio.parts import EXAMPLE, Studio, friendly, picture, present
from mien.studio.sitting import STEPS, Sitting, liking
from mien.studio.wish import GROUPS, PRESETS, Wish, label, paired

Answer = Callable[[Sitting, bool], list[Any]]
STEADY = 0.3
"""Seconds without a change after which the strip is made anew."""
CLICK = "() => { const link = document.querySelector('#saved a, a#saved, #saved'); link && link.click(); }"


class PhotoTab:
    """The photo tab's components, and how they answer. ``sitting`` is the visitor's, for other tabs to use."""

    def __init__(self, studio: Studio, page: gr.Blocks) -> None:
        self.studio = studio
        self.busy = asyncio.Semaphore(studio.at_once)
        self.sitting = gr.State(time_to_live=60 * studio.keep)
        with gr.Row(elem_id="desk"):
            with gr.Column(scale=7, min_width=300, elem_id="easel"):
                self._lay_easel()
            with gr.Column(scale=5, min_width=300, elem_id="palette"):
                self._lay_palette()
        self.shown = [self.viewer, self.status, self.command, self.python]
        self.controls = [self.expression, self.intensity, self.model, *self.muscles.values()]
        self._connect(page)

    def _lay_easel(self) -> None:
        self.viewer = gr.ImageSlider(
            label="Before and after",
            show_label=False,
            interactive=False,
            type="filepath",
            max_height=620,
            slider_position=20,
            buttons=["fullscreen"],
            elem_id="viewer",
        )
        with gr.Row(elem_id="actions"):
            self.status = gr.Markdown(elem_id="status")
            self.closeup = gr.Checkbox(label="Close-up", value=True, container=False, min_width=100, elem_id="close-up")
            self.undo = gr.Button("Undo", min_width=80, elem_id="undo")
            self.reset = gr.Button("Reset", min_width=80, elem_id="reset")
            self.save = gr.Button("Download", variant="primary", min_width=120, elem_id="save")
            self.saved = gr.DownloadButton("Edited photograph", visible="hidden", elem_id="saved")
        self.strip = gr.Gallery(
            label="Intensities",
            show_label=False,
            columns=len(STEPS),
            height="auto",
            allow_preview=False,
            interactive=False,
            buttons=[],
            object_fit="cover",
            elem_id="strip",
        )

    def _lay_palette(self) -> None:
        self.photo = picture(label="Your photograph", height=150, elem_id="photo")
        self.faces = gr.Gallery(
            label="Faces",
            show_label=False,
            columns=6,
            height="auto",
            allow_preview=False,
            interactive=False,
            buttons=[],
            object_fit="cover",
            visible=False,
            elem_id="faces",
        )
        choices = [(name.capitalize(), name) for name in EXPRESSIONS]
        self.expression = gr.Radio(choices, label="Expression", elem_id="expression", elem_classes="pills")
        self.intensity = gr.Slider(0, STRONGEST, 1, step=0.05, label="Intensity", buttons=[], elem_id="intensity")
        self.model = self.studio.model("model")
        with gr.Accordion("Muscles", elem_id="muscles"):
            self._lay_muscles()
        with gr.Accordion("Copy another face", open=False, elem_id="reference"):
            self.like = picture(label="A face to be like", height=180)
        with gr.Accordion("The same from a shell or Python", open=False, elem_id="code"):
            self.command = gr.Code(label="Shell", language="shell", lines=1, interactive=False, wrap_lines=True)
            self.python = gr.Code(label="Python", language="python", lines=3, interactive=False, wrap_lines=True)

    def _lay_muscles(self) -> None:
        with gr.Row(elem_id="presets", elem_classes="chips"):
            self.presets = {name: gr.Button(name, size="sm", min_width=0) for name in PRESETS}
        self.linked = gr.Checkbox(label="Move left and right together", value=True, container=False, elem_id="linked")
        self.muscles: dict[str, gr.Slider] = {}
        with gr.Tabs():
            for group, starts in GROUPS.items():
                with gr.Tab(group):
                    for name in paired(name for name in BLENDSHAPES if name.startswith(starts)):
                        self.muscles[name] = gr.Slider(
                            0,
                            1,
                            step=0.01,
                            label=label(name, group),
                            buttons=[],
                            elem_id=name,
                            elem_classes="middle" if mirrored(name) == name else None,
                        )

    def _connect(self, page: gr.Blocks) -> None:
        how: dict[str, Any] = dict(
            concurrency_id="edit",
            concurrency_limit=self.studio.at_once,
            show_progress="hidden",
            trigger_mode="always_last",
            api_visibility="private",
        )
        now, everything = [self.sitting, self.closeup], [*self.shown, *self.controls]
        opened = [self.sitting, self.faces, *everything]
        asks = [
            page.load(self._first, None, opened, **how),
            self.photo.upload(self._open, [*now, self.photo], opened, **how),
            self.expression.input(partial(self._set, "to"), [*now, self.expression], everything, **how),
            self.model.input(partial(self._set, "model"), [*now, self.model], everything, **how),
            self.faces.select(self._choose_face, now, everything, **how),
            self.like.upload(self._be_like, [*now, self.like], everything, **how),
            self.undo.click(self._undo, now, everything, **how),
            self.reset.click(self._reset, now, everything, **how),
        ]
        asks += [b.click(partial(self._pose, name), now, everything, **how) for name, b in self.presets.items()]
        for name, slider in self.muscles.items():
            twin = [self.muscles[mirrored(name)]] if mirrored(name) != name else []
            moves = [*self.shown, self.expression, *twin]
            asks.append(slider.input(partial(self._move, name), [*now, slider, self.linked], moves, **how))
        for ask in asks:
            ask.then(self._strip, self.sitting, self.strip, show_progress="hidden", api_visibility="private",
                     concurrency_limit=None)  # fmt: skip
        self.intensity.input(partial(self._set, "intensity"), [*now, self.intensity], self.shown, **how)
        self.strip.select(self._choose_step, now, [*self.shown, self.intensity], **how)
        self.closeup.input(self._look, now, self.shown, **how)
        making = self.save.click(self._download, self.sitting, self.saved, **how | {"show_progress": "minimal"})
        making.success(None, js=CLICK)

    @friendly
    def _look(self, sitting: Sitting | None, closeup: bool) -> list[Any]:
        """The edit as it is wished now: picture, a line about it, and the two ways to ask for the same."""
        sitting = present(sitting)
        picture, wish = sitting.picture(closeup), sitting.wish
        return [picture, _status(sitting, wish), wish.command(sitting.name), wish.python(sitting.name)]

    def _all(self, sitting: Sitting, closeup: bool) -> list[Any]:
        """``_look``, and every control where the wish has it."""
        looks, wish = self._look(sitting, closeup), sitting.wish
        goal = dict(zip(BLENDSHAPES, wish.goal(sitting.start), strict=True))
        muscles = [round(float(goal[name]), 2) for name in self.muscles]
        return [*looks, wish.to, wish.intensity, wish.model, *muscles]

    def _ask(self, sitting: Sitting, closeup: bool, answer: Answer, control: str, **changes: Any) -> list[Any]:
        """Change the wish and answer; one that cannot be met is taken back with a message."""
        sitting.ask(control, **changes)
        try:
            return answer(sitting, closeup)
        except MienError as error:
            sitting.undo()
            gr.Warning(str(error), title="That did not work")
            return answer(sitting, closeup)

    @friendly
    def _first(self) -> list[Any]:
        sitting = self.studio.sit(EXAMPLE)
        sitting.wish = replace(sitting.wish, to="surprise")
        return [sitting, self._faces(sitting), *self._all(sitting, True)]

    @friendly
    def _open(self, old: Sitting | None, closeup: bool, path: str) -> list[Any]:
        sitting = self.studio.sit(Path(path))
        wish = old.wish if old else sitting.wish
        sitting.wish = replace(wish, face="all", muscles=(), to="happiness" if wish.muscles else wish.to)
        return [sitting, self._faces(sitting), *self._all(sitting, closeup)]

    @friendly
    def _set(self, name: str, sitting: Sitting | None, closeup: bool, value: Any) -> list[Any]:
        """An expression, a model or an intensity."""
        changes = {name: value} | ({"muscles": (), "like": None} if name == "to" else {})
        answer = self._look if name == "intensity" else self._all
        return self._ask(present(sitting), closeup, answer, name, **changes)

    @friendly
    def _move(self, name: str, sitting: Sitting | None, closeup: bool, value: float, linked: bool) -> list[Any]:
        """One muscle, and its twin with it where they are linked."""
        sitting = present(sitting)
        muscles = sitting.wish.moved(name, value, sitting.start, linked)
        looks = self._ask(sitting, closeup, self._look, name, to=None, like=None, muscles=muscles)
        twin = [value if linked else gr.skip()] if mirrored(name) != name else []
        return [*looks, None, *twin]

    @friendly
    def _pose(self, name: str, sitting: Sitting | None, closeup: bool) -> list[Any]:
        """A preset's muscles."""
        sitting = present(sitting)
        muscles = sitting.wish.posed(PRESETS[name], sitting.start)
        return self._ask(sitting, closeup, self._all, name, to=None, like=None, muscles=muscles)

    @friendly
    def _choose_face(self, sitting: Sitting | None, closeup: bool, event: gr.SelectData) -> list[Any]:
        face = str(event.index) if event.index else "all"
        return self._ask(present(sitting), closeup, self._all, f"face {face}", face=face)

    @friendly
    def _choose_step(self, sitting: Sitting | None, closeup: bool, event: gr.SelectData) -> list[Any]:
        step = STEPS[int(event.index)]
        return [*self._ask(present(sitting), closeup, self._look, f"step {step}", intensity=step), step]

    @friendly
    def _be_like(self, sitting: Sitting | None, closeup: bool, path: str) -> list[Any]:
        sitting = present(sitting)
        like = liking(Path(path), self.studio.editors[sitting.wish.model], self.studio.max_pixels)
        return self._ask(sitting, closeup, self._all, f"like {path}", to=None, muscles=(), like=like)

    @friendly
    def _undo(self, sitting: Sitting | None, closeup: bool) -> list[Any]:
        sitting = present(sitting)
        if not sitting.undo():
            gr.Info("Nothing to undo.")
        return self._all(sitting, closeup)

    @friendly
    def _reset(self, sitting: Sitting | None, closeup: bool) -> list[Any]:
        plain = Wish(face=present(sitting).wish.face, model=present(sitting).wish.model)
        return self._ask(present(sitting), closeup, self._all, "reset", **vars(plain))

    @friendly
    def _download(self, sitting: Sitting | None) -> str:
        return str(present(sitting).download())

    async def _strip(self, sitting: Sitting | None) -> Any:
        """The strip, once nothing has been asked for a moment."""
        turn = sitting.turn if sitting else 0
        await asyncio.sleep(STEADY)
        if sitting is None or sitting.turn != turn:
            return gr.skip()
        async with self.busy:
            return await asyncio.to_thread(sitting.strip)

    def _faces(self, sitting: Sitting) -> Any:
        shown = [(sitting.picture()[0], "all"), *((path, f"{n}") for n, path in enumerate(sitting.faces, 1))]
        return gr.Gallery(value=shown, selected_index=0, visible=len(sitting.faces) > 1)


def _status(sitting: Sitting, wish: Wish) -> str:
    """What is shown, in one line."""
    if not sitting.seen:
        return "**No face found.** One of 32 pixels or more, turned no further than profile, is needed."
    many = len(sitting.seen)
    face = "" if many == 1 else f" · all {many} faces" if wish.face == "all" else f" · face {wish.face} of {many}"
    width, height = sitting.size
    asked = "as it was" if wish.request is None else f"**{wish.title}**, intensity {wish.intensity:g}"
    return f"{asked}{face} · {width} × {height}"
