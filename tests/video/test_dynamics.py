"""How the parts of a face move into an expression."""

import numpy as np
import pytest

from mien.editor import STRONGEST
from mien.errors import MienError
from mien.expressions import BLENDSHAPES, EXPRESSIONS
from mien.video.curve import performance
from mien.video.dynamics import PART_OF, PARTS, played, takes

LEARNED = [name for name in EXPRESSIONS if name != "neutral"]


@pytest.mark.parametrize("name", LEARNED)
def test_a_take_goes_from_rest_to_its_hold_and_back(name: str) -> None:
    for seed in range(len(takes()[name])):
        curve = played(name, 3.0, 0.8, seed=seed)
        values = np.array([curve(t) for t in np.linspace(0, 3, 301)])
        assert values.shape == (301, len(PARTS))
        assert not values[:31].any()
        assert not values[286:].any()
        np.testing.assert_allclose(values[170:180], 0.8, atol=0.05)
        assert values.max() < 0.9
        assert np.abs(np.diff(values, axis=0)).max() < 0.2, "a jump"
        assert (np.diff(values[180:], axis=0) <= 0).all()


def test_parts_move_at_their_own_times_and_takes_differ() -> None:
    one, other = (played("anger", 3.0, seed=seed)(0.7) for seed in (0, 1))
    assert np.ptp(one) > 0.1
    assert np.abs(one - other).max() > 0.1
    again = played("anger", 3.0, seed=len(takes()["anger"]))
    np.testing.assert_array_equal(again(0.7), one)


def test_overshoot_stays_within_what_an_edit_may_be() -> None:
    curve = played("surprise", 3.0, STRONGEST)
    assert max(curve(t).max() for t in np.linspace(0, 3, 100)) == STRONGEST


def test_every_muscle_belongs_to_the_part_that_it_is_in() -> None:
    names = list(PARTS)
    told = {muscle: names[PART_OF[BLENDSHAPES.index(muscle)]] for muscle in ("browInnerUp", "eyeWideLeft", "jawOpen")}
    assert told == {"browInnerUp": "brows", "eyeWideLeft": "eyes", "jawOpen": "mouth"}


def test_what_was_not_learned_moves_smoothly_or_is_refused() -> None:
    assert played(None, 3.0) == played("neutral", 3.0) == played("fear", 3.0, dynamics="smooth") == performance(3.0)
    for name in (None, "neutral"):
        with pytest.raises(MienError, match="--dynamics smooth"):
            played(name, 3.0, dynamics="learned")
    with pytest.raises(MienError, match="intensity"):
        played("fear", 3.0, 2.0)
