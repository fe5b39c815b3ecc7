"""Who is meant by --face, over leaving, returning and cuts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from mien.errors import MienError
from mien.photo.find import Face, face_of
from mien.video.who import Chosen

CORNERS = np.array([[0.0, 0.0], [1.0, 1.0]]).repeat(34, 0)


@dataclass
class Person:
    number: int
    size: float

    @property
    def face(self) -> Face:
        return face_of(CORNERS * self.size + 100 * self.number, 1.0)


A, B, C = Person(1, 80), Person(2, 60), Person(3, 90)


def asked(which: str, *moments: tuple[int, list[Any]]) -> list[set[int]]:
    """Who of those shown is meant at each moment (shot, people)."""
    chosen = Chosen(which)
    return [chosen(people, shot) & {person.number for person in people} for shot, people in moments]


def test_all_are_all() -> None:
    assert asked("all", (0, [A, B]), (1, []), (1, [C])) == [{1, 2}, set(), {3}]


@pytest.mark.parametrize(("which", "number"), [("largest", 1), ("2", 2), ("230,230", 2)])
def test_who_is_chosen_first_stays_so(which: str, number: int) -> None:
    shown = asked(which, (0, []), (0, [A, B]), (0, [C, A, B]), (0, [C]), (0, [B, A]), (1, [C, B, A]))
    assert shown == [set(), {number}, {number}, set(), {number}, {number}]


def test_in_another_shot_a_stranger_may_be_meant_but_none_who_was_seen_beside() -> None:
    assert asked("largest", (0, [A, B]), (1, [B]), (2, [C]), (2, [C, A]), (3, [A])) == [{1}, set(), {3}, {3}, set()]
    assert asked("2", (0, [A, B]), (1, [C]), (2, [B])) == [{2}, set(), {2}]
    assert asked("130,130", (0, [A]), (1, [C])) == [{1}, set()]


def test_a_choice_that_the_first_faces_do_not_have_is_told() -> None:
    with pytest.raises(MienError, match="there is no face 3"):
        asked("3", (0, []), (0, [A, B]))
