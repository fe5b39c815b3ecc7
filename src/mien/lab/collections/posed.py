"""RaFD, KDEF, CK+, MUG and Oulu-CASIA: people who pose expressions before a camera.

Naming. RaFD (Langner et al. 2010, its FAQ): ``Rafd090_01_Caucasian_female_angry_frontal.jpg``: the camera's angle
(000 and 180 are profiles), the model, group, gender, expression, gaze. KDEF (Lundqvist et al. 1998, kdef.se):
``AF01/AF01ANS.JPG``: session A or B, gender and number, expression (AF afraid, AN angry, ...), angle (S straight, HL
and HR half, FL and FR full profile). CK+ (Lucey et al. 2010, ReadMeCohnKanade): ``cohn-kanade-images/S005/001/
S005_001_00000001.png`` and, for 327 sequences, ``Emotion/S005/001/S005_001_00000011_emotion.txt``. MUG
(Aifanti et al. 2010): ``subjects3/001/[session0/]anger/take000/img_0000.jpg``. Oulu-CASIA (Zhao et al. 2011):
``NI/Strong/P001/Anger/000.jpeg`` (NI near infrared or VL visible; Strong, Weak or Dark light).

Sequences give a few of their pictures: those that begin neutral and end at the peak (CK+, Oulu-CASIA) the first as
neutral and the last three, which is what papers do; MUG, which goes back to neutral, the first as neutral and the
three in the middle.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

from mien.lab.collections.entry import Entry, emotion_of, first, named, number, pictures

RAFD = r"Rafd(\d{3})_(\d+)_[A-Za-z]+_(?:female|male)_([a-z]+)_[a-z]+\.\w+"
KDEF = r"[AB]([FM]\d\d)(AF|AN|DI|HA|NE|SA|SU)(S|HL|HR|FL|FR)\.\w+"
KDEF_LABELS = {
    **{"AF": "fear", "AN": "anger", "DI": "disgust", "HA": "happiness"},
    **{"NE": "neutral", "SA": "sadness", "SU": "surprise"},
}
CK = r"(S\d{3})_(\d{3})_(\d{8})\.\w+"
CK_LABELS = ("neutral", "anger", "contempt", "disgust", "fear", "happiness", "sadness", "surprise")
WORD = "anger|disgust|fear|happiness|sadness|surprise|neutral"
MUG = rf"(\d{{3}})/(?:.+/)?({WORD})/[^/]+/[^/]+\.\w+"
OULU = rf"(P\d{{3}})/({WORD})/\d{{3}}\.\w+"
PEAK = 3
"""How many pictures of a sequence wear its expression in full."""


def is_rafd(path: Path) -> bool:
    """Whether pictures under ``path`` are named as RaFD's."""
    return named(path, RAFD)


def rafd(path: Path) -> Iterator[Entry]:
    """RaFD, frontal and half-turned; full profiles are left out, since no frontal crop can be made of them."""
    for place in pictures(path):
        if match := re.fullmatch(RAFD, place.name):
            angle, person, word = match.groups()
            profile = "full profile" if angle in ("000", "180") else ""
            yield Entry(place.name, place, emotion_of(word), f"{int(person):02d}", unusable=profile)


def is_kdef(path: Path) -> bool:
    """Whether pictures under ``path`` are named as KDEF's."""
    return named(path, KDEF)


def kdef(path: Path) -> Iterator[Entry]:
    """KDEF, straight and half-turned; both sessions of a model are one person, full profiles are left out."""
    for place in pictures(path):
        if match := re.fullmatch(KDEF, place.name, re.IGNORECASE):
            person, label, angle = match.groups()
            profile = "full profile" if angle.upper() in ("FL", "FR") else ""
            yield Entry(place.name, place, KDEF_LABELS[label.upper()], person.upper(), unusable=profile)


def is_ckplus(path: Path) -> bool:
    """Whether ``path`` holds CK+'s pictures."""
    return named(path, rf"S\d{{3}}/\d{{3}}/{CK}")


def ckplus(path: Path) -> Iterator[Entry]:
    """CK+: of each sequence its first picture, neutral, and of a labelled one its last three, of another the last."""
    labels = first(path, "Emotion", "Emotion_labels/Emotion") or first(path.parent, "Emotion")
    frames = [place for place in pictures(path) if re.fullmatch(CK, place.name)]
    for folder, group in groupby(frames, key=lambda place: place.parent):
        sequence = list(group)
        person, take = folder.parts[-2:]
        texts = sorted((labels / person / take).glob("*_emotion.txt")) if labels else []
        code = number(texts[0].read_text(errors="replace")) if texts else None
        label = CK_LABELS[int(code)] if code is not None and 0 <= code < len(CK_LABELS) else ""
        chosen = [(sequence[0], "neutral")]
        chosen += [(place, label) for place in sequence[1:][-(PEAK if label else 1) :]]
        yield from (Entry(place.name, place, emotion, person) for place, emotion in chosen)


def is_mug(path: Path) -> bool:
    """Whether pictures under ``path`` lie as MUG's do."""
    return named(path, MUG)


def mug(path: Path) -> Iterator[Entry]:
    """MUG: of each take its first picture, neutral, and the three in its middle, at the peak."""
    for sequence, person, word in _sequences(path, MUG):
        middle = max(1, len(sequence) // 2 - PEAK // 2)
        yield from _of_sequence(path, sequence[:1], person, "neutral")
        yield from _of_sequence(path, sequence[middle : middle + PEAK], person, emotion_of(word))


def is_oulu(path: Path) -> bool:
    """Whether pictures under ``path`` lie as Oulu-CASIA's do."""
    return named(path, OULU)


def oulu(path: Path) -> Iterator[Entry]:
    """Oulu-CASIA, every light and both cameras that are there: the first picture, neutral, and the last three."""
    for sequence, person, word in _sequences(path, OULU):
        yield from _of_sequence(path, sequence[:1], person, "neutral")
        yield from _of_sequence(path, sequence[1:][-PEAK:], person, emotion_of(word))


def _sequences(path: Path, pattern: str) -> Iterator[tuple[list[Path], str, str]]:
    """The pictures of each folder that ``pattern`` fits, with the person and the word for the expression."""
    for _, group in groupby(pictures(path), key=lambda place: place.parent):
        sequence = list(group)
        match = re.search(f"(?:^|/){pattern}$", sequence[0].relative_to(path).as_posix(), re.IGNORECASE)
        if match:
            yield sequence, match[1].upper(), match[2].lower()


def _of_sequence(path: Path, places: list[Path], person: str, emotion: str) -> Iterator[Entry]:
    return (Entry(place.relative_to(path).as_posix(), place, emotion, person) for place in places)
