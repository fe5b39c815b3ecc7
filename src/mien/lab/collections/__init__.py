"""Every layout of raw collections that ``mien prepare`` reads: a function that recognises it, and one that reads it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from mien.errors import MienError
from mien.lab.collections import celebrities, crops, folders, posed, units
from mien.lab.collections.entry import Entry

__all__ = ["LAYOUTS", "Entry", "Layout", "find_layout"]


@dataclass(frozen=True)
class Layout:
    """``detect`` tells whether a file or folder is in this layout, ``read`` gives its pictures, in a fixed order."""

    detect: Callable[[Path], bool]
    read: Callable[[Path], Iterator[Entry]]


LAYOUTS: dict[str, Layout] = {
    "ferplus": Layout(crops.is_ferplus, crops.ferplus),
    "fer2013": Layout(crops.is_fer2013, crops.fer2013),
    "fer2013-folders": Layout(crops.is_fer2013_folders, crops.fer2013_folders),
    "affectnet": Layout(crops.is_affectnet, crops.affectnet),
    "celebamask-hq": Layout(celebrities.is_celebamask, celebrities.celebamask),
    "celeba": Layout(celebrities.is_celeba, celebrities.celeba),
    "lfw": Layout(celebrities.is_lfw, celebrities.lfw),
    "rafd": Layout(posed.is_rafd, posed.rafd),
    "kdef": Layout(posed.is_kdef, posed.kdef),
    "ck+": Layout(posed.is_ckplus, posed.ckplus),
    "mug": Layout(posed.is_mug, posed.mug),
    "oulu-casia": Layout(posed.is_oulu, posed.oulu),
    "emotionet": Layout(units.is_emotionet, units.emotionet),
    "openface": Layout(units.is_openface, units.openface),
    "py-feat": Layout(units.is_pyfeat, units.pyfeat),
    "csv": Layout(folders.is_csv, folders.csv),
    "folder": Layout(folders.is_folder, folders.folder),
}
"""By name; where several fit, the first is meant: the more particular stand before the more general."""


def find_layout(path: Path, name: str | None = None) -> str:
    """The layout called ``name``, or the one that ``path`` is in; MienError, with the choices, where there is none."""
    choices = ", ".join(LAYOUTS)
    if name is not None and name not in LAYOUTS:
        raise MienError(f"no layout {name!r}: choose one of {choices}")
    if not path.exists():
        raise MienError(f"{path} does not exist; check the name")
    found = name or next((known for known, layout in LAYOUTS.items() if layout.detect(path)), None)
    if found is None:
        raise MienError(f"{path}: in no layout that mien knows; force one with --layout: {choices}")
    return found
