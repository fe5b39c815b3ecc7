"""A visitor's wish and the words that say the same."""

from __future__ import annotations

import numpy as np

from mien.expressions import BLENDSHAPES, mirrored
from mien.studio.wish import GROUPS, PRESETS, Like, Wish, label, paired
from mien.target import Target

START = np.array([0.0] + [0.1] * 51, np.float32)


def test_every_muscle_has_a_group_and_a_name_of_its_own() -> None:
    named = [(group, label(m, group)) for group, starts in GROUPS.items() for m in BLENDSHAPES if m.startswith(starts)]
    assert len(named) == len(set(named)) == 51
    assert label("mouthSmileLeft", "Mouth") == "Smile, left"
    assert label("mouthLeft", "Mouth") == "Left"
    assert label("noseSneerRight", "Cheek and nose") == "Nose sneer, right"


def test_a_muscle_moved_back_is_no_longer_asked_for() -> None:
    wish = Wish(muscles=Wish().moved("jawOpen", 0.5, START, True))
    assert wish.muscles == (("jawOpen", 0.5),)
    assert wish.moved("jawOpen", 0.1, START, True) == ()


def test_linked_muscles_move_as_a_pair() -> None:
    assert dict(Wish().moved("mouthSmileLeft", 0.5, START, True)) == {"mouthSmileLeft": 0.5, "mouthSmileRight": 0.5}
    assert dict(Wish().moved("mouthSmileLeft", 0.5, START, False)) == {"mouthSmileLeft": 0.5}


def test_a_preset_moves_its_muscles_and_no_others() -> None:
    for name, scores in PRESETS.items():
        assert set(scores) <= set(BLENDSHAPES), name
    wish = Wish(muscles=Wish().moved("jawOpen", 0.5, START, True))
    assert dict(wish.posed({"browInnerUp": 0.9, "jawLeft": 0.1}, START)) == {"jawOpen": 0.5, "browInnerUp": 0.9}


def test_a_right_muscle_stands_behind_its_left_one() -> None:
    mouth = paired(name for name in BLENDSHAPES if name.startswith("mouth"))
    assert sorted(mouth) == sorted(name for name in BLENDSHAPES if name.startswith("mouth"))
    assert all(mirrored(name) in (name, mouth[n - 1], mouth[(n + 1) % len(mouth)]) for n, name in enumerate(mouth))


def test_an_expression_becomes_the_muscles_that_it_moves() -> None:
    happy = Wish(to="happiness")
    moved = Wish(muscles=happy.moved("jawOpen", 0.77, START, True))
    assert dict(moved.muscles)["jawOpen"] == 0.77
    rest = [i for i, name in enumerate(BLENDSHAPES) if name != "jawOpen"]
    np.testing.assert_allclose(moved.goal(START)[rest], happy.goal(START)[rest], atol=0.006)


def test_the_command_and_the_python_line_say_the_wish() -> None:
    wish = Wish(to="fear", intensity=0.35, face="2", model="my model.onnx")
    words = "mien edit 'a b.jpg' --to fear --intensity 0.35 --face 2 --model 'my model.onnx'"
    assert wish.command("a b.jpg") == words
    assert wish.python("a b.jpg").endswith(".edit('a b.jpg', 'fear', intensity=0.35, face='2').save('a b-fear.jpg')")
    like = Wish(like=Like("friend.png", Target(scores=START)))
    assert like.command("me.jpg") == "mien edit me.jpg --like friend.png"
    assert "like='friend.png'" in like.python("me.jpg")
    assert Wish().command("me.jpg").startswith("#")
