"""``mien edit | faces | sheet | grid | models | train | export | clean | compare | prepare``: parse, call, print."""

from __future__ import annotations

import json as json_module
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import tyro

from mien import __version__
from mien.batch import Report, each, places
from mien.editor import Editor, Seen, strongest
from mien.errors import MienError
from mien.expressions import BLENDSHAPES, EXPRESSIONS, Expression
from mien.grid import frames as film
from mien.grid import matrix, moments, sitters, video_format, write_video
from mien.model import DEFAULT, edit_models, shipped
from mien.photo.credentials import Signer, check_format
from mien.photo.draw import around, grid, numbered
from mien.photo.find import Finder, MediaPipeFinder, ShippedFinder
from mien.photo.inspect import inspect as look
from mien.photo.inspect import told
from mien.photo.read import MAX_PIXELS, Photo, read
from mien.photo.write import format_of, write
from mien.video.kinds import container_of, is_clip

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

    def open(self) -> Finder:
        """The finder that was asked for."""
        return MediaPipeFinder(self.finder_model) if self.finder == "mediapipe" else ShippedFinder()


@dataclass(frozen=True)
class Signing:
    """Whether what is written is signed, too.

    Attributes:
        sign: Also sign what was done, as C2PA content credentials, with this certificate (PEM; needs `mien[c2pa]`).
        sign_key: The private key of the certificate (PEM).
    """

    sign: Path | None = None
    sign_key: Path | None = None

    def open(self, clip: Path | None = None) -> Signer | None:
        """Who signs, if anybody. clip: what will be written; MienError where no clip is, or is signed, as that."""
        kind = container_of(clip) if clip else None
        if self.sign is None and self.sign_key is None:
            return None
        if self.sign is None or self.sign_key is None:
            raise MienError("signing takes two files: --sign CERTIFICATE.pem and --sign-key KEY.pem")
        if clip and kind:
            check_format(clip, kind)
        return Signer(self.sign, self.sign_key)


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
VIDEO = ("mien.video.commands", "video")
WINGS: dict[str, tuple[str, str]] = dict.fromkeys(
    ("train", "export", "clean", "compare", "prepare", "augment", "study"), ("mien.lab.commands", "lab")
) | {
    "perform": VIDEO,
    "drive": VIDEO,
    "record": ("mien.video.camera", "video"),
    "studio": ("mien.studio.serve", "studio"),
    "bulk": ("mien.bulk.commands", "bulk"),
}
"""Commands of the wings that need more installed: the module whose ``main(name, words)`` runs them, and the extra."""
USAGE = f"""mien {__version__}: change the expression on any face in a photograph

  mien edit me.jpg --to happiness -o out.jpg     change the expression
  mien edit me.mp4 --to happiness -o out.mp4     the same in a clip (clips need: pip install "mien[video]")
  mien perform me.jpg --to happiness             a clip in which the face takes on an expression
  mien drive me.jpg --by clip.mp4                a clip in which the face moves as another one does
  mien record --to happiness                     the camera's picture with another expression, as a clip
  mien faces group.jpg                           list and number the faces
  mien sheet me.jpg                              every expression at several intensities
  mien grid --src FACES --ref EXPRESSIONS        each source's face with each reference's expression
  mien bulk FOLDER RESULTS --to happiness        millions of photographs, here or on a cluster (mien[bulk])
  mien models                                    the models that come with mien
  mien inspect me-happiness.jpg                  what a picture says about itself: edited, by what, C2PA
  mien studio                                    a page with all of this (pip install "mien[studio]")
  mien prepare FOLDER -o faces.parquet           make a manifest of raw pictures of faces
  mien train NAME --data faces.parquet           train a method (needs the lab: pip install "mien[lab]")
  mien export RUN -o model.onnx                  make an edit model of a training run
  mien compare MODEL ... --data faces.parquet --to happiness    measure models side by side, as a report
  mien study REPORT                              a blind page on which people judge a comparison's pictures
  mien clean faces.parquet -o cleaned.parquet    keep the labels that an expression reader confirms
  mien augment faces.parquet --balance -o balanced.parquet      add edited faces of rare expressions

mien COMMAND --help tells the options."""


def main(arguments: list[str] | None = None) -> None:
    """The program. Exit codes: 0 done, 2 a mistake that the message tells how to mend, 130 interrupted."""
    words = sys.argv[1:] if arguments is None else arguments
    warnings.filterwarnings("ignore", module="PIL")
    if isinstance(sys.stdout, TextIOWrapper):  # names of files may hold what the terminal cannot show
        sys.stdout.reconfigure(errors="backslashreplace")
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
    wing = VIDEO if name == "edit" and any(map(is_clip, rest)) else WINGS.get(name)
    if wing:
        place, extra = wing
        try:
            commands = import_module(place)
        except ImportError as error:
            raise MienError(f'`mien {name}` needs {error.name}: pip install "mien[{extra}]"') from error
        return commands.main(name, rest)
    if name not in COMMANDS:
        raise MienError(f"no command {name!r}: choose one of {', '.join([*COMMANDS, *WINGS])}")
    return tyro.cli(COMMANDS[name], prog=f"mien {name}", args=rest, config=(tyro.conf.FlagCreatePairsOff,)) or 0


def _check_side(option: str, side: int) -> None:
    if not 16 <= side <= 2048:
        raise MienError(f"--{option} {side}: give 16 pixels or more, and 2048 at most")


def _write_sheet(pixels: np.ndarray, place: Path, overwrite: bool) -> Path:
    paper = Photo.from_array(np.full_like(pixels, 255))  # a sheet is an edit of blank paper, and marked as one
    return write(paper, pixels, place, overwrite=overwrite)


def muscle_of(text: str) -> tuple[str, float]:
    """``"NAME=0.8"`` -> the name and the score."""
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


def _count(number: int) -> str:
    return "1 face" if number == 1 else f"{number} faces"


def _print_json(value: Any) -> None:
    print(json_module.dumps(value, indent=1, ensure_ascii=False))


if __name__ == "__main__":
    main()
