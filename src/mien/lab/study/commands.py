"""``mien study``: parse, call, print."""

from __future__ import annotations

import json as json_module
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import tyro

from mien.errors import MienError
from mien.lab.study.questions import write_study
from mien.lab.study.tally import markdown, tally


def main(words: list[str]) -> int:
    """Runs the command from its words on the command line."""
    tyro.cli(study, prog="mien study", args=words, config=(tyro.conf.FlagCreatePairsOff,))
    return 0


def study(
    report: Annotated[Path | None, tyro.conf.Positional, tyro.conf.arg(metavar="REPORT")] = None,
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])] = Path("study"),
    each: int = 30,
    seed: int = 0,
    count: Annotated[tuple[Path, ...], tyro.conf.arg(name="tally", metavar="ANSWERS.json ...")] = (),
    key: Path = Path("study/key.json"),
    overwrite: bool = False,
    json: bool = False,
) -> None:
    """Make a page on which people judge the pictures of a comparison, or count their answers with --tally.

    Args:
        report: The folder that `mien compare` made.
        out: The folder for study.html, which goes to the raters, and key.json, which does not.
        each: Questions of each of the three kinds.
        seed: Another seed asks about other pictures in another order.
        count: Count these files of answers, which the page saved, instead.
        key: With --tally: the key.json that was written beside the page.
        overwrite: Replace a study that is there.
        json: With --tally: print the counts as JSON.
    """
    if (report is None) == (not count):
        raise MienError("give the folder of a comparison to make a study of, or --tally ANSWERS.json ... to count one")
    if report is not None:
        print(write_study(report, out, each, seed, overwrite))
        return
    found = tally(count, key)
    print(json_module.dumps(asdict(found), indent=1, ensure_ascii=False) if json else markdown(found))
