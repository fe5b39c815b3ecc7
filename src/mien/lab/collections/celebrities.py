"""CelebA, CelebAMask-HQ and LFW: photographs of known people, hardly labelled with expressions.

Naming. CelebA (Liu et al. 2015, its README): ``Anno/list_attr_celeba.txt`` (a count, a line of names, then
``000001.jpg -1 1 ...``), ``Anno/identity_CelebA.txt`` (``000001.jpg 2880``), ``Eval/list_eval_partition.txt``
(``000001.jpg 0``; 0 train, 1 val, 2 test), ``Img/img_align_celeba/000001.jpg``; also all in one folder, as
torchvision keeps it. CelebAMask-HQ (switchablenorms/CelebAMask-HQ, README): ``CelebA-HQ-img/0.jpg``,
``CelebAMask-HQ-attribute-anno.txt`` in the form of CelebA's, ``CelebA-HQ-to-CelebA-mapping.txt`` (idx, orig_idx,
orig_file), ``CelebAMask-HQ-mask-anno/0/00000_skin.png`` (2000 pictures a folder). LFW (Huang et al. 2007, README):
``lfw/Aaron_Eckhart/Aaron_Eckhart_0001.jpg``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from mien.errors import MienError
from mien.lab.collections.entry import REGIONS, Entry, first, lines, needed, pictures, some

CELEBA_SPLITS = {"0": "train", "1": "val", "2": "test"}
HQ_SPLITS = ((162_770, "train"), (182_637, "val"), (202_599, "test"))
"""The last file number of each of CelebA's splits, which lie in a row."""
MASKS = {
    **{"skin": "skin", "nose": "nose", "eye_g": "background", "l_eye": "eyes", "r_eye": "eyes", "l_brow": "brows"},
    **{"r_brow": "brows", "mouth": "mouth", "u_lip": "mouth", "l_lip": "mouth", "hair": "background"},
    **{"hat": "background", "neck": "background", "cloth": "background"},
}
"""CelebAMask-HQ's classes -> regions, in the order in which its own code paints them; others never lie on a face."""


def _celeba_list(path: Path, name: str) -> Path | None:
    return first(path, f"Anno/{name}", f"Eval/{name}", name, f"celeba/{name}")


def is_celeba(path: Path) -> bool:
    """Whether ``path`` holds CelebA's list of attributes."""
    return path.is_dir() and _celeba_list(path, "list_attr_celeba.txt") is not None


def celeba(path: Path) -> Iterator[Entry]:
    """CelebA in its own splits; a smile counts as happiness, a shut mouth without one as neutral, others as unlabelled.

    People are those of ``identity_CelebA.txt``, which CelebA gives out apart; without it nobody is named.
    """
    attributes = _attributes(_celeba_list(path, "list_attr_celeba.txt") or path / "list_attr_celeba.txt")
    people, splits = (_pairs(_celeba_list(path, n)) for n in ("identity_CelebA.txt", "list_eval_partition.txt"))
    places = [f"{up}{name}" for name in ("img_align_celeba", "img_celeba") for up in ("Img/", "", "celeba/")]
    images = needed(path, *places)
    images = first(images, images.name) or images  # unpacked with its own name inside
    for name, have in attributes.items():
        yield Entry(name, images / name, _smile(have), people.get(name), CELEBA_SPLITS.get(splits.get(name, "")))


def _attributes(path: Path) -> dict[str, dict[str, bool]]:
    """Picture -> attribute -> whether it has it."""
    rows = lines(path)
    if len(rows) < 2:
        raise MienError(f"{path}: no list of attributes (a count, a line of names, then a line a picture)")
    names = rows[1]
    return {row[0]: dict(zip(names, (cell == "1" for cell in row[1:]), strict=False)) for row in rows[2:]}


def _smile(have: Mapping[str, bool]) -> str:
    if have.get("Smiling"):
        return "happiness"
    shut = have.get("Smiling") is False and have.get("Mouth_Slightly_Open") is False
    return "neutral" if shut else ""


def _pairs(path: Path | None) -> dict[str, str]:
    return {row[0]: row[1] for row in lines(path) if len(row) > 1} if path else {}


def is_celebamask(path: Path) -> bool:
    """Whether ``path`` holds CelebAMask-HQ's pictures."""
    return (path / "CelebA-HQ-img").is_dir()


def celebamask(path: Path) -> Iterator[Entry]:
    """CelebAMask-HQ in CelebA's splits. Put CelebA's ``identity_CelebA.txt`` beside it, and people are known, too.

    Its masks become the manifest's regions; hair, hats and glasses before the face count as background.
    """
    listed = first(path, "CelebAMask-HQ-attribute-anno.txt")
    mapped = first(path, "CelebA-HQ-to-CelebA-mapping.txt")
    attributes = _attributes(listed) if listed else {}
    origin = {f"{row[0]}.jpg": row[2] for row in lines(mapped)[1:] if len(row) > 2} if mapped else {}
    people = _pairs(_celeba_list(path, "identity_CelebA.txt"))
    for place in sorted(pictures(path / "CelebA-HQ-img"), key=lambda p: (len(p.stem), p.stem)):
        source = origin.get(place.name, "")
        digits = source.split(".")[0]
        split = next((s for last, s in HQ_SPLITS if int(digits) <= last), None) if digits.isdigit() else None
        smile = _smile(attributes.get(place.name, {}))
        yield Entry(place.name, place, smile, people.get(source), split, regions=_masks(path, place.stem))


def _masks(path: Path, stem: str) -> tuple[tuple[int, Path], ...]:
    """The masks of picture ``stem``, of those classes that it has."""
    if not stem.isdigit():
        return ()
    folder = path / "CelebAMask-HQ-mask-anno" / str(int(stem) // 2000)
    files = ((REGIONS.index(region), folder / f"{stem:0>5}_{name}.png") for name, region in MASKS.items())
    return tuple((region, file) for region, file in files if file.is_file())


def is_lfw(path: Path) -> bool:
    """Whether a folder in ``path`` holds pictures that bear its name and a number of four digits."""
    if not path.is_dir():
        return False
    return any(_lfw_person(Path(name)) for name in some(path))


def _lfw_person(path: Path) -> bool:
    person, _, number = path.stem.rpartition("_")
    return person == path.parent.name and len(number) == 4 and number.isdigit()


def lfw(path: Path) -> Iterator[Entry]:
    """LFW, plain or deep-funneled, split by person. Nothing is labelled; `mien train` needs labels from elsewhere."""
    for place in pictures(path):
        if _lfw_person(place):
            yield Entry(place.name, place, identity=place.parent.name)
