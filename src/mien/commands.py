"""The commands of photographs, ``edit`` to ``inspect``: parse, call, print."""

from __future__ import annotations

import json as json_module
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro

from mien.batch import Report, each, places
from mien.editor import Editor, Seen, strongest
from mien.errors import MienError
from mien.expressions import BLENDSHAPES, EXPRESSIONS, Expression
from mien.grid import frames as film
from mien.grid import matrix, moments, sitters, video_format, write_video
from mien.model import DEFAULT, edit_models, shipped
from mien.options import Finding, OnePhoto, Output, Photos, Signing, muscle_of
from mien.photo.draw import around, grid, numbered
from mien.photo.inspect import inspect as look
from mien.photo.inspect import told
from mien.photo.read import Photo, read
from mien.photo.write import format_of, write


def edit(
    photos: Photos,
    finding: tyro.conf.OmitArgPrefixes[Finding],
    signing: tyro.conf.OmitArgPrefixes[Signing],
    to: Expression | None = None,
    intensity: float = 1.0,
    muscle: tyro.conf.UseAppendAction[tuple[str, ...]] = (),
    like: Path | None = None,
    neutral: bool = False,
    face: str = "all",
    out: Output = None,
    model: str = DEFAULT,
    overwrite: bool = False,
    occlusion: bool = True,
    mark: bool = True,
    json: bool = False,
) -> int:
    """Change the expression of the faces in photographs; everything else stays as it is.

    Args:
        photos: Files, folders or patterns.
        to: The expression to change to.
        intensity: 0 leaves the photograph as it is, 1 is the full expression, up to 1.5 exaggerates it.
        muscle: A single muscle and its score, as NAME=0.8; may be given several times in place of --to.
        like: A photograph whose largest face wears the wanted expression, in place of --to.
        neutral: With --muscle: begin from the person's neutral face.
        face: all, largest, a number as `mien faces` counts, or a point "x,y" inside the face.
        out: The file to write, or the folder when there are several photographs.
        model: A model that `mien models` lists, or the path of an .onnx file.
        overwrite: Replace files that exist.
        occlusion: Leave what covers a face (a hand, a microphone) as it is.
        mark: Say in the written picture's metadata that it was edited.
        json: Print what was done as JSON.
    """
    wish: Any = dict(muscle_of(text) for text in muscle) or to
    if sum((bool(muscle), to is not None, like is not None)) != 1:
        raise MienError("say what to change to: one of --to EXPRESSION, --muscle NAME=SCORE or --like PHOTO")
    signer = signing.open()
    editor = Editor(model, finding.open(), occlusion)
    reference = read(like, finding.max_pixels) if like else None
    name = to or ("like-" + like.stem if like else "muscles")
    goes = places(photos, out, name)

    def one(path: Path) -> Report:
        photo = read(path, finding.max_pixels)
        result = editor.edit(photo, wish, intensity=intensity, like=reference, face=face, neutral=neutral)
        written = result.save(goes[path], overwrite=overwrite, mark=mark, sign=signer)
        return {"output": str(written), "faces": len(result.seen), "edited": [i + 1 for i in result.chosen]}

    def say(report: Report) -> None:
        if not json:
            print(f"{report['output']}  ({_count(len(report['edited']))} edited)")

    reports = each(goes, one, say)
    failed = sum("error" in report for report in reports)
    if json:
        _print_json(reports)
    elif len(reports) > 1:
        print(f"{len(reports) - failed} of {len(reports)} photographs edited", file=sys.stderr)
    return 2 if failed else 0


def faces(
    photo: OnePhoto,
    finding: tyro.conf.OmitArgPrefixes[Finding],
    out: Output = None,
    json: bool = False,
    overwrite: bool = False,
) -> int:
    """List the faces in a photograph and write a copy in which they are numbered.

    Args:
        photo: The photograph.
        out: The numbered picture; beside the photograph, named -faces, by default.
        json: Print the list as JSON.
        overwrite: Replace a file that exists.
    """
    place = out or photo.with_name(f"{photo.stem}-faces.png")
    format_of(place)
    source = read(photo, finding.max_pixels)
    seen = Editor(finder=finding.open()).see(source)
    labels = [f"{number} {item.expression}" for number, item in enumerate(seen, 1)]
    pixels = np.asarray(numbered(source.rgb, [item.face.box for item in seen], labels))
    write(Photo.from_array(pixels), pixels, place, overwrite=overwrite, mark=False)
    if json:
        _print_json({"file": str(photo), "picture": str(place), "faces": [_described(s) for s in seen]})
        return 0
    for number, item in enumerate(seen, 1):
        about = _described(item)
        muscles = ", ".join(f"{k} {v}" for k, v in strongest(item.blendshapes).items())
        print(
            f"{number}  box {about['box']}  {about['size']} px  {item.expression} {about['certainty']:.2f}  {muscles}"
        )
    print(f"{_count(len(seen))} -> {place}")
    return 0


def sheet(
    photo: OnePhoto,
    finding: tyro.conf.OmitArgPrefixes[Finding],
    to: tuple[Expression, ...] = EXPRESSIONS,
    intensities: tuple[float, ...] = (0.0, 0.25, 0.5, 0.75, 1.0),
    face: str = "largest",
    out: Output = None,
    model: str = DEFAULT,
    cell: int = 224,
    overwrite: bool = False,
) -> int:
    """Write one picture of a face in several expressions (down) and intensities (across).

    Args:
        photo: The photograph.
        to: The expressions.
        intensities: From 0 to 1.5.
        face: largest, a number as `mien faces` counts, or a point "x,y" inside the face.
        out: The picture to write; beside the photograph, named -sheet, by default.
        model: A model that `mien models` lists, or the path of an .onnx file.
        cell: Side of each picture in pixels.
        overwrite: Replace a file that exists.
    """
    place = out or photo.with_name(f"{photo.stem}-sheet.jpg")
    format_of(place)
    _check_side("cell", cell)
    editor, source = Editor(model, finding.open()), read(photo, finding.max_pixels)
    seen = editor.see(source)
    rows = []
    for name in to:
        row = editor.sweep(source, name, intensities, face=face, seen=seen)
        height, width = source.rgb.shape[:2]
        x0, y0, x1, y1 = around(seen[row[0].chosen[0]].face.box, width, height)
        rows.append([edited.rgb[y0:y1, x0:x1] for edited in row])
    pixels = np.asarray(grid(rows, [f"{value:g}" for value in intensities], list(to), cell))
    print(_write_sheet(pixels, place, overwrite))
    return 0


def reference_grid(
    src: Path,
    ref: Path,
    finding: tyro.conf.OmitArgPrefixes[Finding],
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])] = Path("grid.png"),
    model: str = DEFAULT,
    size: int = 128,
    video: Path | None = None,
    frames: Path | None = None,
    frames_between: int = 8,
    overwrite: bool = False,
) -> int:
    """Write one picture of the faces of a folder (down) with the expressions of another folder's faces (across).

    Args:
        src: The folder of photographs whose largest faces are edited; subfolders are looked into.
        ref: The folder of photographs whose largest faces wear the expressions.
        out: The picture to write.
        model: A model that `mien models` lists, or the path of an .onnx file.
        size: Side of each cell in pixels.
        video: Also write an animation (.gif or .webp) from each reference's expression to the next one's.
        frames: Also write the animation's frames as PNG files into this folder.
        frames_between: Frames between two references.
        overwrite: Replace files that exist.
    """
    format_of(out)
    _check_side("size", size)
    if video:
        video_format(video)
    for place in (out, *([video] if video else [])):
        if place.exists() and not overwrite:
            raise MienError(f"{place} exists; give --overwrite or another name")
    if frames and frames.exists() and not (frames.is_dir() and (overwrite or not any(frames.iterdir()))):
        raise MienError(f"{frames} is not an empty folder; give --overwrite or another --frames")
    editor = Editor(model, finding.open())
    sources, references = (sitters(folder, editor, finding.max_pixels) for folder in (src, ref))
    steps = moments(references, frames_between) if video or frames else []
    print(_write_sheet(matrix(editor, sources, references, size), out, overwrite))
    pictures = list(film(editor, sources, steps, size))
    if video:
        print(write_video(pictures, [not step.share for step in steps], video, overwrite))
    if frames:
        try:
            frames.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise MienError(f"{frames}: cannot be made a folder ({error.strerror}); give another --frames") from error
        for number, pixels in enumerate(pictures):
            _write_sheet(pixels, frames / f"{number:05d}.png", overwrite)
        print(f"{len(pictures)} frames -> {frames}")
    return 0


def models(muscles: bool = False) -> int:
    """List the models that come with mien.

    Args:
        muscles: List the names that --muscle takes instead.
    """
    if muscles:
        print("\n".join(BLENDSHAPES[1:]))
        return 0
    for name in edit_models():
        about, megabytes = shipped(name).about, shipped(name).path.stat().st_size / 1e6
        reads = "expressions, muscles, reference photographs" if "blendshapes" in about["target"] else "expressions"
        default = "  (default)" if name == DEFAULT else ""
        print(f"{name}  {about['size']} px  {reads}  {about['licence']}  {megabytes:.1f} MB{default}")
    return 0


def inspect(file: Annotated[Path, tyro.conf.Positional], trust: Path | None = None, json: bool = False) -> int:
    """Tell what a picture or clip says about itself: format, edited mark, C2PA (checked with `mien[c2pa]`), EXIF, ICC.

    Args:
        file: The picture or clip, which is only read.
        trust: The certificates (PEM) of signers whom you trust, or of those who vouch for them.
        json: Print it as JSON.
    """
    about = look(file, trust)
    _print_json(about) if json else print(told(about))
    return 0


COMMANDS: dict[str, Callable[..., int]] = {
    "edit": edit,
    "faces": faces,
    "sheet": sheet,
    "grid": reference_grid,
    "models": models,
    "inspect": inspect,
}


def main(name: str, words: list[str]) -> int:
    """Runs command ``name`` from its words on the command line."""
    return tyro.cli(COMMANDS[name], prog=f"mien {name}", args=words, config=(tyro.conf.FlagCreatePairsOff,)) or 0


def _check_side(option: str, side: int) -> None:
    if not 16 <= side <= 2048:
        raise MienError(f"--{option} {side}: give 16 pixels or more, and 2048 at most")


def _write_sheet(pixels: np.ndarray, place: Path, overwrite: bool) -> Path:
    paper = Photo.from_array(np.full_like(pixels, 255))  # a sheet is an edit of blank paper, and marked as one
    return write(paper, pixels, place, overwrite=overwrite)


def _described(item: Seen) -> dict[str, Any]:
    return {
        "box": [round(float(v)) for v in item.face.box],
        "size": round(float(item.face.size)),
        "score": round(float(item.face.score), 3),
        "expression": item.expression,
        "certainty": round(float(item.emotion.max()), 3),
        "blendshapes": {n: round(float(v), 3) for n, v in zip(BLENDSHAPES, item.blendshapes, strict=True)},
    }


def _count(number: int) -> str:
    return "1 face" if number == 1 else f"{number} faces"


def _print_json(value: Any) -> None:
    print(json_module.dumps(value, indent=1, ensure_ascii=False))
