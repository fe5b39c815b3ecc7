"""What is asked for becomes the scores that a user would expect."""

import numpy as np
import pytest

from mien.errors import MienError
from mien.expressions import BLENDSHAPES, EXPRESSIONS, GAZE
from mien.target import Target, by_muscles, by_name, prototypes

START = np.linspace(0, 0.8, 52, dtype=np.float32)


def at(scores: np.ndarray, name: str) -> float:
    return float(scores[BLENDSHAPES.index(name)])


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_gaze_stays_and_scores_stay_scores(name: str) -> None:
    goal = by_name(name).goal(START)
    assert goal.shape == (52,)
    assert goal.min() >= 0
    assert goal.max() <= 1
    for muscle in GAZE:
        assert at(goal, muscle) == at(START, muscle)


def test_every_expression_is_symmetric_and_differs_from_neutral() -> None:
    for name in EXPRESSIONS:
        for muscle in BLENDSHAPES:
            if muscle.endswith("Left"):
                assert at(prototypes()[name], muscle) == at(prototypes()[name], muscle[:-4] + "Right"), (name, muscle)
        if name != "neutral":
            assert np.abs(prototypes()[name] - prototypes()["neutral"]).max() > 0.3


def test_edits_do_not_stack_on_the_expression_that_is_there() -> None:
    smiling = prototypes()["happiness"]
    surprised = by_name("surprise").goal(smiling)
    assert at(surprised, "mouthSmileLeft") < 0.05
    assert at(by_name("neutral").goal(smiling), "mouthSmileLeft") < 0.05


def test_a_broad_smile_asked_to_be_happy_stays_as_broad() -> None:
    beaming = prototypes()["neutral"].copy()
    for muscle in ("mouthSmileLeft", "mouthSmileRight"):
        beaming[BLENDSHAPES.index(muscle)] = 0.97
    assert at(by_name("happiness").goal(beaming), "mouthSmileLeft") == pytest.approx(0.97)


def test_a_heavy_brow_is_kept_as_the_persons_own_and_a_knitted_one_is_not() -> None:
    heavy, knitted = prototypes()["neutral"].copy(), prototypes()["neutral"].copy()
    heavy[BLENDSHAPES.index("browDownLeft")] = 0.4
    knitted[BLENDSHAPES.index("browDownLeft")] = 0.95
    assert at(by_name("happiness").goal(heavy), "browDownLeft") == pytest.approx(0.4)
    assert 0.4 < at(by_name("neutral").goal(knitted), "browDownLeft") < 0.9


def test_single_muscles_move_alone_and_may_begin_from_neutral() -> None:
    goal = by_muscles({"jawOpen": 0.9}).goal(START)
    assert at(goal, "jawOpen") == pytest.approx(0.9)
    others = [i for i, name in enumerate(BLENDSHAPES) if name != "jawOpen"]
    np.testing.assert_array_equal(goal[others], START[others])
    relaxed = by_muscles({"jawOpen": 0.9}, relax=True).goal(prototypes()["happiness"])
    assert at(relaxed, "mouthSmileLeft") < 0.05


def test_gaze_moves_when_it_is_named() -> None:
    assert at(by_muscles({"eyeLookUpLeft": 0.5}).goal(START), "eyeLookUpLeft") == 0.5


def test_another_face_is_followed_in_all_but_gaze() -> None:
    other = START[::-1].copy()
    goal = Target(scores=other).goal(START)
    assert at(goal, "mouthSmileLeft") == at(other, "mouthSmileLeft")
    assert at(goal, "eyeLookInLeft") == at(START, "eyeLookInLeft")


@pytest.mark.parametrize(
    ("muscles", "hint"), [({"mouthSmileLef": 0.5}, "mouthSmileLeft"), ({"jawOpen": 1.5}, "between 0 and 1")]
)
def test_wrong_muscles_are_refused_with_the_way_out(muscles: dict[str, float], hint: str) -> None:
    with pytest.raises(MienError, match=hint):
        by_muscles(muscles)


def test_an_unknown_expression_names_the_choices() -> None:
    with pytest.raises(MienError, match="happiness"):
        by_name("hapiness")
