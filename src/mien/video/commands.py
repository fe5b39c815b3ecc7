"""The commands of clips, ``edit``, ``perform`` and ``drive``: parse, call, print."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from mien import target as targets
from mien.editor import Editor, worn
from mien.errors import MienError
from mien.expressions import Expression
from mien.model import DEFAULT
from mien.options import Finding, Output, Signing, muscle_of
from mien.photo.read import read
from mien.photo.write import SUFFIXES
from mien.target import Target
from mien.video.clip import open_clip
from mien.video.curve import constant, parsed
from mien.video.dynamics import Part, played
from mien.video.edit import Outcome, Wish, edit_clip
from mien.video.kinds import CONTAINERS, is_clip
from mien.video.perform import drive as drive_photo
from mien.video.perform import frames_of, sit
from mien.video.perform import perform as perform_photo

OneClip = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="CLIP")]
OnePhoto = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="PHOTO")]
Muscles = tyro.conf.UseAppendAction[tuple[str, ...]]


def edit(
    clip: OneClip,
    finding: tyro.conf.OmitArgPrefixes[Finding],
    signing: tyro.conf.OmitArgPrefixes[Signing],
    to: Expression | None = None,
    intensity: float = 1.0,
    keys: str | None = None,
    muscle: Muscles = (),
    like: Path | None = None,
    neutral: bool = False,
    face: str = "all",
    out: Output = None,
    preview: Path | None = None,
    copy_if_unchanged: bool = False,
    model: str = DEFAULT,
    overwrite: bool = False,
    occlusion: bool = True,
    mark: bool = True,
) -> int:
    """Change the expression of the faces in a clip; its sound, timing and everything else stay as they are.

    Args:
        clip: The clip: MP4, MOV, MKV, WebM, GIF, animated WebP; AVI, MPEG, FLV, WMV and the like are read, too.
        to: The expression to change to.
        intensity: 0 leaves the clip as it is, 1 is the full expression, up to 1.5 exaggerates it.
        keys: In place of --intensity, what it is when: SECONDS:INTENSITY,... e.g. 0:0,1.5:1,3:0.
        muscle: A single muscle and its score, as NAME=0.8; may be given several times in place of --to.
        like: A photograph whose largest face wears the wanted expression, in place of --to.
        neutral: With --muscle: begin from the person's neutral face.
        face: all, largest, a number from 1 (by size, where the first faces show), or a point "x,y" inside it.
        out: The clip to write, in the format of its suffix; beside the source by default.
        preview: Also write a clip with before and after side by side.
        copy_if_unchanged: Where nothing was edited (intensity 0, no face), write the source's own streams.
        model: A model that `mien models` lists, or the path of an .onnx file.
        overwrite: Replace files that exist.
        occlusion: Leave what covers a face (a hand, a microphone) as it is.
        mark: Say in the written clip's metadata that it was edited.
    """
    if clip.suffix.lower() in SUFFIXES and not is_clip(clip):
        raise MienError(f"{clip} is a photograph: `mien perform` makes a clip of it; or give -o a photograph's name")
    if sum((bool(muscle), to is not None, like is not None)) != 1:
        raise MienError("say what to change to: one of --to EXPRESSION, --muscle NAME=SCORE or --like PHOTO")
    suffix = clip.suffix if clip.suffix.lower() in CONTAINERS else ".mp4"
    place = out or clip.with_name(f"{clip.stem}-{to or ('like-' + like.stem if like else 'muscles')}{suffix}")
    signer = signing.open(place)
    curve = parsed(keys) if keys is not None else constant(intensity)
    editor = Editor(model, finding.open(), occlusion)
    target = _worn(editor, like, finding.max_pixels) if like else _asked(to, muscle, neutral)
    with open_clip(clip, finding.max_pixels) as source, progress("editing", source.length) as advance:
        outcome = edit_clip(
            source,
            place,
            editor,
            Wish(target, curve, face),
            overwrite=overwrite,
            mark=mark,
            seal=signer.seal(place, clip) if signer else None,
            copy_if_unchanged=copy_if_unchanged,
            preview=preview,
            advance=advance,
        )
    for line in told(outcome, source.seconds):
        print(f"mien: {line}", file=sys.stderr)
    if outcome.copied:
        print(f"{place}  (nothing edited: the source's own streams)")
    else:
        speed = outcome.frames / max(outcome.seconds, 1e-9)
        faces = "1 face" if outcome.faces == 1 else f"{outcome.faces} faces"
        print(f"{place}  ({outcome.edited} of {outcome.frames} frames edited, {faces}, {speed:.1f} frames/s)")
    return 0


def perform(
    photo: OnePhoto,
    finding: tyro.conf.OmitArgPrefixes[Finding],
    signing: tyro.conf.OmitArgPrefixes[Signing],
    to: Expression | None = None,
    muscle: Muscles = (),
    seconds: float = 3.0,
    intensity: float = 1.0,
    keys: str | None = None,
    dynamics: Literal["learned", "smooth"] | None = None,
    seed: int = 0,
    rate: int = 25,
    face: str = "largest",
    out: Output = None,
    size: int = 1280,
    model: str = DEFAULT,
    overwrite: bool = False,
    mark: bool = True,
) -> int:
    """Make a clip of a photograph whose face takes on an expression, holds it, and goes back.

    Args:
        photo: The photograph.
        to: The expression.
        muscle: A single muscle and its score, as NAME=0.8; may be given several times in place of --to.
        seconds: Length of the clip.
        intensity: At the expression's height; up to 1.5.
        keys: In place of --intensity, what it is when: SECONDS:INTENSITY,... e.g. 0:0,1.5:1,3:0.
        dynamics: learned (of expressions, unless said otherwise): brows, eyes and mouth each in its own time, as in a
            motion of MotionGAN's. smooth: the whole face at once, as muscles and --keys move it.
        seed: Which of the learned motions; each expression has several, counted round.
        rate: Frames a second.
        face: largest, a number as `mien faces` counts, or a point "x,y" inside the face.
        out: The clip to write, in the format of its suffix: .mp4 (default), .mov, .mkv, .webm, .gif, .webp.
        size: Longer side of the clip in pixels, at most.
        model: A model that `mien models` lists, or the path of an .onnx file.
        overwrite: Replace files that exist.
        mark: Say in the written clip's metadata that it was made.
    """
    if bool(muscle) == (to is not None):
        raise MienError("say what to perform: one of --to EXPRESSION or --muscle NAME=SCORE")
    count = frames_of(seconds, rate)
    if keys is not None and dynamics == "learned":
        raise MienError("--dynamics learned has its own moments: leave --keys out")
    curve = played(to, seconds, intensity, dynamics, seed) if keys is None else parsed(keys)
    place = out or photo.with_name(f"{photo.stem}-{to or 'muscles'}.mp4")
    signer = signing.open(place)
    editor = Editor(model, finding.open())
    sitter, target = sit(photo, editor, face, size, finding.max_pixels), _asked(to, muscle)
    with progress("performing", count) as advance:
        perform_photo(
            sitter,
            target,
            curve,
            place,
            editor,
            frames=count,
            rate=rate,
            overwrite=overwrite,
            mark=mark,
            seal=signer.seal(place, photo) if signer else None,
            advance=advance,
        )
    print(f"{place}  ({count} frames)")
    return 0


def drive(
    photo: OnePhoto,
    by: Path,
    finding: tyro.conf.OmitArgPrefixes[Finding],
    signing: tyro.conf.OmitArgPrefixes[Signing],
    parts: str = "eyes,brows,mouth",
    strength: float = 1.0,
    start: Literal["first", "calmest"] = "first",
    face: str = "largest",
    out: Output = None,
    size: int = 1280,
    model: str = DEFAULT,
    overwrite: bool = False,
    mark: bool = True,
) -> int:
    """Make a clip of a photograph whose face moves as the face in another clip does, with that clip's sound.

    Args:
        photo: The photograph.
        by: The clip whose face, the largest where the first ones show, moves it.
        parts: What moves: eyes, brows, mouth, with commas.
        strength: How much of the clip's motion is taken, up to 3.
        start: The clip's frame that counts as rest: its first with a face, or its calmest (reads the clip twice).
        face: largest, a number as `mien faces` counts, or a point "x,y" inside the face.
        out: The clip to write, in the format of its suffix; .mp4 beside the photograph by default.
        size: Longer side of the clip in pixels, at most.
        model: A model that `mien models` lists, or the path of an .onnx file.
        overwrite: Replace files that exist.
        mark: Say in the written clip's metadata that it was made.
    """
    place = out or photo.with_name(f"{photo.stem}-by-{by.stem}.mp4")
    signer = signing.open(place)
    editor, moved = Editor(model, finding.open()), _parts(parts)
    sitter = sit(photo, editor, face, size, finding.max_pixels)
    with open_clip(by, finding.max_pixels) as clip:
        length = clip.length
    with progress("driving", length) as advance:
        count = drive_photo(
            sitter,
            by,
            place,
            editor,
            parts=moved,
            strength=strength,
            start=start,
            overwrite=overwrite,
            mark=mark,
            seal=signer.seal(place, photo, by) if signer else None,
            advance=advance,
        )
    print(f"{place}  ({count} frames)")
    return 0


def told(outcome: Outcome, claimed: float | None) -> list[str]:
    """What a user should know of an outcome beyond its figures, a line each."""
    lines = list(outcome.notes)
    if outcome.broken:
        lines.append(f"damaged, passed on unedited: {_frames(outcome.broken)}, at {_moments(outcome.broken)}")
    if outcome.missed:
        lines.append(
            f"{_frames(outcome.missed)} cannot be decoded: what was before stands longer, at {_moments(outcome.missed)}"
        )
    if claimed and not outcome.copied and outcome.clip_seconds < 0.9 * claimed - 0.5:
        lines.append(f"the file ends at {outcome.clip_seconds:.1f} s of the {claimed:.1f} s that it claims")
    return lines


@contextmanager
def progress(what: str, total: int | None) -> Iterator[Callable[[], None]]:
    """A bar with frames a second and the time left, on a terminal only."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda: None
        return
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), _Speed(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(what, total=total)
        yield lambda: bar.advance(task)


class _Speed(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.speed or 0:.1f} frames/s")


def _frames(seconds: list[float]) -> str:
    return "1 frame" if len(seconds) == 1 else f"{len(seconds)} frames"


def _moments(seconds: list[float], most: int = 5) -> str:
    text = ", ".join(f"{value:.2f}" for value in seconds[:most])
    return f"{text} s" if len(seconds) <= most else f"{text} s and later"


def _asked(to: Expression | None, muscle: tuple[str, ...], neutral: bool = False) -> Target:
    return targets.by_name(to) if to else targets.by_muscles(dict(muscle_of(text) for text in muscle), neutral)


def _worn(editor: Editor, like: Path, max_pixels: int) -> Target:
    photo = read(like, max_pixels)
    if not (models := editor.see(photo)):
        raise MienError("no face found in the photograph to be like; give one with a clearly visible face")
    return worn(photo, models[0])


def _parts(text: str) -> tuple[Part, ...]:
    found: list[Part] = []
    for word in text.split(","):
        if word not in ("eyes", "brows", "mouth"):
            raise MienError(f"--parts {text}: give some of eyes,brows,mouth")
        found.append(word)  # type: ignore[arg-type]
    return tuple(found)


COMMANDS: dict[str, Any] = {"edit": edit, "perform": perform, "drive": drive}


def main(name: str, words: list[str]) -> int:
    """Run one of the commands of clips."""
    os.environ.setdefault("MIEN_THREADS", "1")  # frames are edited side by side, each on one thread
    return tyro.cli(COMMANDS[name], prog=f"mien {name}", args=words, config=(tyro.conf.FlagCreatePairsOff,)) or 0
