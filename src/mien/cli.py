"""The program: which wing runs a command, and how it ends."""

from __future__ import annotations

import sys
import warnings
from importlib import import_module
from io import TextIOWrapper

from mien import __version__
from mien.errors import MienError
from mien.video.kinds import is_clip

VIDEO = ("mien.video.commands", "video")
COMMANDS: dict[str, tuple[str, str]] = {
    **dict.fromkeys(("edit", "faces", "sheet", "grid", "models", "inspect"), ("mien.commands", "")),
    **dict.fromkeys(
        ("train", "export", "clean", "compare", "prepare", "augment", "study"), ("mien.lab.commands", "lab")
    ),
    "perform": VIDEO,
    "drive": VIDEO,
    "record": ("mien.video.camera", "video"),
    "studio": ("mien.studio.serve", "studio"),
    "bulk": ("mien.bulk.commands", "bulk"),
}
"""The module whose ``main(name, words)`` runs a command, and the extra that it needs installed."""
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
    if name not in COMMANDS:
        raise MienError(f"no command {name!r}: choose one of {', '.join(COMMANDS)}")
    place, extra = VIDEO if name == "edit" and any(map(is_clip, rest)) else COMMANDS[name]
    try:
        commands = import_module(place)
    except ImportError as error:
        if not extra:
            raise
        raise MienError(f'`mien {name}` needs {error.name}: pip install "mien[{extra}]"') from error
    return commands.main(name, rest)


if __name__ == "__main__":
    main()
