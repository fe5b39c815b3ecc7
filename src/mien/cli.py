"""``mien edit | faces | sheet | models | train | export``: parse, call, print."""

from __future__ import annotations

import glob
import json
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import tyro
from rich.console import Console
from rich.progress import Progress

from mien import __version__
from mien.editor import Edited, Editor, Seen, strongest
from mien.errors import MienError
from mien.expressions import BLENDSHAPES, EXPRESSIONS
from mien.model import DEFAULT, edit_models, shipped
from mien.photo.draw import around, grid, numbered
from mien.photo.find import MediaPipeFinder, ShippedFinder, choose
from mien.photo.read import MAX_PIXELS, Photo, read
from mien.photo.write import SUFFIXES, format_of, write, write_aside

Photos = Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="PHOTO [PHOTO ...]")]
OnePhoto = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="PHOTO")]
Output = Annotated[Path | None, tyro.conf.arg(aliases=["-o"])]


@dataclass(frozen=True)
class Finding:
    """Which finder looks for faces.

    Attributes:
        finder: mien's own, or MediaPipe's (needs `pip install "mien[mediapipe]"`).
        finder_model: MediaPipe's face_landmarker.task file.
        max_pixels: Refuse photographs with more pixels than this.
    """

    finder: Literal["mien", "mediapipe"] = "mien"
    finder_model: Path | None = None
    max_pixels: int = MAX_PIXELS

    def open(self) -> ShippedFinder | MediaPipeFinder:
        """The finder that was asked for."""
        return MediaPipeFinder(self.finder_model) if self.finder == "mediapipe" else ShippedFinder()


def edit(
    photos: Photos,
    finding: tyro.conf.OmitArgPrefixes[Finding],
    to: Literal["neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear"] | None = None,
    intensity: float = 1.0,
    muscle: tyro.conf.UseAppendAction[tuple[str, ...]] = (),
    like: Path | None = None,
    neutral: bool = False,
    face: str = "all",
    out: Output = None,
    model: str = DEFAULT,
    overwrite: bool = False,
    mark: bool = True,
    json: bool = False,
) -> int:
    """Change the expression of the faces in photographs; everything else stays as it is.

    Args:
        photos: Files, folders or patterns.
        to: The expression to change to.
        intensity: 0 leaves the photograph as it is, 1 is the full expression.
        muscle: A single muscle and its score, as NAME=0.8; may be given several times in place of --to.
        like: A photograph whose largest face wears the wanted expression, in place of --to.
        neutral: With --muscle: begin from the person's neutral face.
        face: all, largest, a number as `mien faces` counts, or a point "x,y" inside the face.
        out: The file to write, or the folder when there are several photographs.
        model: A model that `mien models` lists, or the path of an .onnx file.
        overwrite: Replace files that exist.
        mark: Say in the written picture's metadata that it was edited.
        json: Print what was done as JSON.
    """
    wish: Any = dict(_muscle(text) for text in muscle) or to
    if sum((bool(muscle), to is not None, like is not None)) != 1:
        raise MienError("say what to change to: one of --to EXPRESSION, --muscle NAME=SCORE or --like PHOTO")
    editor = Editor(model, finding.open())
    reference = read(like, finding.max_pixels) if like else None
    name = to or ("like-" + like.stem if like else "muscles")
    places = _places(photos, out, name)

    def one(path: Path) -> dict[str, Any]:
        photo = read(path, finding.max_pixels)
        result = editor.edit(photo, wish, intensity=intensity, like=reference, face=face, neutral=neutral)
        written = result.save(places[path], overwrite=overwrite, mark=mark)
        return {"output": str(written), "faces": len(result.seen), "edited": [i + 1 for i in result.chosen]}

    return _each(list(places), one, json, lambda done: f"{done['output']}  ({_count(len(done['edited']))} edited)")


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
    source = read(photo, finding.max_pixels)
    seen = Editor(finder=finding.open()).see(source)
    place = out or photo.with_name(f"{photo.stem}-faces.png")
    boxes = [tuple(float(v) for v in s.face.box) for s in seen]
    pixels = numbered(source.rgb, boxes, [f"{i + 1} {s.expression}" for i, s in enumerate(seen)])  # type: ignore[arg-type]
    write(Photo.from_pil(pixels), np.asarray(pixels), place, overwrite=overwrite, mark=False)
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
    to: tuple[Literal["neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear"], ...] = EXPRESSIONS,  # type: ignore[assignment]
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
        intensities: From 0 to 1.
        face: largest, a number as `mien faces` counts, or a point "x,y" inside the face.
        out: The picture to write; beside the photograph, named -sheet, by default.
        model: A model that `mien models` lists, or the path of an .onnx file.
        cell: Side of each picture in pixels.
        overwrite: Replace a file that exists.
    """
    editor, source = Editor(model, finding.open()), read(photo, finding.max_pixels)
    seen = editor.see(source)
    if not seen:
        raise MienError(f"{photo}: no face found")
    x0, y0, x1, y1 = around(tuple(seen[choose([s.face for s in seen], face)[0]].face.box), *source.rgb.shape[1::-1])  # type: ignore[arg-type]
    rows = []
    for name in to:
        row: list[Edited] = editor.sweep(source, name, intensities, face=face, seen=seen)
        rows.append([edited.rgb[y0:y1, x0:x1] for edited in row])
    place = out or photo.with_name(f"{photo.stem}-sheet.jpg")
    made = Photo.from_pil(grid(rows, [f"{v:g}" for v in intensities], list(to), cell))
    _save_made(made, place, overwrite)
    print(place)
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
        about = shipped(name).about
        default = "  (default)" if name == DEFAULT else ""
        reads = "expressions, muscles, reference photographs" if "blendshapes" in about["target"] else "expressions"
        print(
            f"{name}  {about['size']} px  {reads}  {about['licence']}  {shipped(name).path.stat().st_size / 1e6:.1f} MB{default}"
        )
    return 0


COMMANDS: dict[str, Callable[..., int]] = {"edit": edit, "faces": faces, "sheet": sheet, "models": models}
LAB = ("train", "export")
USAGE = f"""mien {__version__}: change the expression on any face in a photograph

  mien edit me.jpg --to happiness -o out.jpg     change the expression
  mien faces group.jpg                           list and number the faces
  mien sheet me.jpg                              every expression at several intensities
  mien models                                    the models that come with mien
  mien train NAME --data faces.parquet           train a method (needs the lab: pip install "mien[lab]")
  mien export RUN -o model.onnx                  make an edit model of a training run

mien COMMAND --help tells the options."""


def main(arguments: list[str] | None = None) -> None:
    """The program. Exit codes: 0 done, 2 a mistake that the message tells how to mend, 130 interrupted."""
    words = sys.argv[1:] if arguments is None else arguments
    warnings.filterwarnings("ignore", module="PIL")
    try:
        sys.exit(_dispatch(words))
    except MienError as error:
        print(f"mien: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("mien: interrupted; nothing half-written is left", file=sys.stderr)
        sys.exit(130)


def _dispatch(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help"):
        print(USAGE)
        return 0 if words else 2
    if words[0] == "--version":
        print(__version__)
        return 0
    name, rest = words[0], words[1:]
    if name in LAB:
        try:
            from mien.lab import commands
        except ImportError as error:
            raise MienError(
                f'`mien {name}` needs the lab ({error.name} is missing): pip install "mien[lab]"'
            ) from error
        return commands.main(name, rest)
    if name not in COMMANDS:
        raise MienError(f"no command {name!r}: choose one of {', '.join([*COMMANDS, *LAB])}")
    return tyro.cli(COMMANDS[name], prog=f"mien {name}", args=rest, config=(tyro.conf.FlagCreatePairsOff,)) or 0


def _each(
    paths: list[Path], one: Callable[[Path], dict[str, Any]], as_json: bool, say: Callable[[dict[str, Any]], str]
) -> int:
    """Do ``one`` for each file; a file that fails is named and skipped. Exit code 2 where any failed."""
    results, failed = [], 0
    with _progress(len(paths)) as (advance, printed):
        for path in paths:
            began = time.perf_counter()
            try:
                done = {"file": str(path)} | one(path) | {"seconds": round(time.perf_counter() - began, 3)}
                if not as_json:
                    printed(say(done))
            except MienError as error:
                failed += 1
                text = str(error) if str(path) in str(error) else f"{path}: {error}"
                done = {"file": str(path), "error": text}
                if not as_json:
                    print(f"mien: {text}", file=sys.stderr)
            results.append(done)
            advance()
    if as_json:
        _print_json(results)
    elif len(paths) > 1:
        print(f"{len(paths) - failed} of {len(paths)} photographs edited", file=sys.stderr)
    return 2 if failed else 0


@contextmanager
def _progress(count: int) -> Iterator[tuple[Callable[[], None], Callable[[str], None]]]:
    console = Console(stderr=True)
    if count < 2 or not console.is_terminal:
        yield (lambda: None), print
        return
    with Progress(console=console) as bar:
        task = bar.add_task("editing", total=count)
        yield (lambda: bar.advance(task)), print


def _places(photos: tuple[str, ...], out: Path | None, name: str) -> dict[Path, Path]:
    """Where each photograph's edit goes: ``out`` itself, into the folder ``out``, or beside the photograph."""
    paths = list(_expanded(photos))
    if not paths:
        raise MienError(
            f"no photograph found in {', '.join(photos) or 'nothing'}: give .jpg, .png, .webp, .tif or .bmp files"
        )
    many = len(paths) > 1 or any(Path(p).is_dir() for p in photos)
    folder = out is not None and (many or out.is_dir())
    if out is not None and many and out.suffix.lower() in SUFFIXES:
        raise MienError(f"{out} is one file, but there are {len(paths)} photographs: give a folder with -o")
    if out is not None and folder:
        try:
            out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise MienError(f"{out}: cannot be made a folder ({error.strerror}); give another -o") from error
        return _distinct({path: out / path.name for path in paths}, name)
    if out is not None:
        format_of(out)
        return {paths[0]: out}
    return {path: path.with_name(f"{path.stem}-{name}{path.suffix}") for path in paths}


def _distinct(places: dict[Path, Path], name: str) -> dict[Path, Path]:
    """Two photographs of one name from two folders must not end in one file."""
    if len(set(places.values())) < len(places):
        twice = sorted({p.name for p in places.values() if list(places.values()).count(p) > 1})
        raise MienError(f"several photographs are called {', '.join(twice)}: edit one folder at a time")
    return places


def _expanded(photos: tuple[str, ...]) -> Iterator[Path]:
    """Files as they are, folders as the photographs in them, patterns as what they match; each file once."""
    met = set()
    for text in photos:
        path = Path(text)
        if path.is_dir():
            found = sorted(p for p in path.iterdir() if p.suffix.lower() in SUFFIXES and not p.name.startswith("."))
        elif not path.exists() and glob.has_magic(text):
            found = [Path(p) for p in sorted(glob.glob(text, recursive=True))]
        else:
            found = [path]
        yield from (p for p in found if not (p in met or met.add(p)))  # type: ignore[func-returns-value]


def _muscle(text: str) -> tuple[str, float]:
    name, _, value = text.partition("=")
    try:
        return name, float(value)
    except ValueError:
        raise MienError(f"--muscle {text}: write it as NAME=SCORE, for example mouthSmileLeft=0.8") from None


def _described(item: Seen) -> dict[str, Any]:
    return {
        "box": [round(float(v)) for v in item.face.box],
        "size": round(float(item.face.size)),
        "score": round(float(item.face.score), 3),
        "expression": item.expression,
        "certainty": round(float(item.emotion.max()), 3),
        "blendshapes": {n: round(float(v), 3) for n, v in zip(BLENDSHAPES, item.blendshapes, strict=True)},
    }


def _save_made(made: Photo, place: Path, overwrite: bool) -> None:
    """Write a picture that mien drew, with the mark that its faces were edited."""
    from mien.photo.provenance import mark

    with write_aside(place, overwrite) as aside:
        form = format_of(place)
        options: dict[str, Any] = {"quality": 92, "subsampling": 0} if form == "JPEG" else {}
        from PIL import Image

        picture = Image.fromarray(made.rgb)
        if form in ("JPEG", "WEBP"):
            options["xmp"] = mark(None, f"mien {__version__}")
        picture.save(aside, form, **options)


def _count(number: int) -> str:
    return "1 face" if number == 1 else f"{number} faces"


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=1, ensure_ascii=False))


if __name__ == "__main__":
    main()
