"""What all tabs share: the studio itself, uploads that stay uploads, and mistakes that become messages."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass
from functools import wraps
from importlib import resources
from pathlib import Path
from typing import Any

import gradio as gr

from mien.editor import Editor
from mien.errors import MienError
from mien.studio.sitting import Sitting

EXAMPLE = Path(str(resources.files("mien") / "studio" / "astronaut.jpg"))


@dataclass(frozen=True)
class Studio:
    """What all visitors share. editors: by the name of their model. folder: private, all files lie in it.

    max_pixels: of one photograph. at_once: edits that are computed at a time. keep: minutes that an idle visit lasts.
    """

    editors: Mapping[str, Editor]
    folder: Path
    max_pixels: int
    at_once: int
    keep: float

    def sit(self, path: Path) -> Sitting:
        """A sitting for an uploaded photograph."""
        return Sitting(path, self.editors, self.folder, self.max_pixels)

    @property
    def models(self) -> list[tuple[str, str]]:
        """Choices of a list of models."""
        return [(Path(name).stem, name) for name in self.editors]

    def model(self, elem_id: str | None = None) -> gr.Radio:
        """The choice of a model, in sight where there is one."""
        choices = self.models
        return gr.Radio(
            choices,
            value=choices[0][1],
            label="Model",
            visible=len(choices) > 1,
            elem_id=elem_id,
            elem_classes="pills",
        )


def upload(**how: Any) -> gr.File:
    """Files from the visitor's own machine."""
    return _sealed(gr.File(**how))


def picture(**how: Any) -> gr.Image:
    """A photograph from the visitor's machine, clipboard or camera. Only ``mien.photo.read`` looks into it."""
    hint = "Drop, paste, choose or take a photograph"
    image = gr.Image(type="filepath", sources=["upload", "clipboard", "webcam"], placeholder=hint, buttons=[], **how)
    image.preprocess = lambda payload: payload.path if payload else None
    return _sealed(image)


def _sealed(component: Any) -> Any:
    """``component``, which fetches no address from the network for a visitor.

    Changed in place: of a subclass Gradio would write a stub beside this file.
    """
    take = component.async_move_resource_to_block_cache

    async def take_local(path: str | Path | None) -> str | None:
        if str(path).lower().startswith(("http:", "https:")):
            raise gr.Error("send the file itself, not an address", print_exception=False)
        return await take(path)

    component.async_move_resource_to_block_cache = take_local
    return component


def friendly(handler: Callable[..., Any]) -> Callable[..., Any]:
    """What the user can mend becomes a message on the page, or the error of a request."""

    @wraps(handler)
    def wrapped(*args: Any) -> Any:
        try:
            return handler(*args)
        except MienError as error:
            raise gr.Error(str(error), title="That did not work", print_exception=False) from None

    return wrapped


def present(sitting: Sitting | None) -> Sitting:
    """The visitor's sitting; MienError where it was deleted meanwhile."""
    if sitting is None:
        raise MienError("this page was left alone for long, and its photograph is deleted: give it again")
    return sitting


def progress(done: int, of: int | None, what: str) -> str:
    """How far a long work is, as a line with a bar."""
    return f'<progress value="{done}" max="{of}"></progress> {done} of {of} {what}' if of else f"{done} {what}"


def run_and_stop(
    go: gr.Button, stop: gr.Button, work: Callable[..., Generator[Any]], inputs: list[Any], outputs: list[Any]
) -> None:
    """Connect a long work with its two buttons. It yields values of ``outputs``, the first a line on how far it is.

    One visitor's work runs at a time. Stop closes the generator after its next step (Gradio's own cancelling leaves
    the page in error, and what was worked on open).
    """
    asked = set[str | None]()

    def run(request: gr.Request, *words: Any) -> Iterator[Any]:
        visitor, steps, rest = request.session_hash, work(*words), [gr.skip()] * (len(outputs) - 1)
        asked.discard(visitor)
        values: tuple[Any, ...] = ()
        for values in steps:
            if visitor in asked:
                steps.close()
                yield "Stopped. Nothing is left of it.", *rest, gr.Button(interactive=False)
                return
            yield *values, gr.Button(interactive=True)
        yield (
            *values,
            gr.Button(interactive=False),
        )  # of two in a row, a page may show the last alone

    def halt(request: gr.Request) -> None:
        asked.add(request.session_hash)

    how: dict[str, Any] = dict(api_visibility="private", show_progress="minimal", show_progress_on=outputs[0])
    go.click(run, inputs, [*outputs, stop], concurrency_limit=1, **how)
    stop.click(halt, None, None, queue=False, api_visibility="private")
