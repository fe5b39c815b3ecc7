"""Intensity over time."""

import numpy as np
import pytest

from mien.errors import MienError
from mien.video.curve import constant, parsed, performance


def test_keys_are_met_and_never_overshot() -> None:
    curve = parsed("0:0,1.5:1,3:0.2")
    assert [curve(t) for t in (-1, 0, 1.5, 3, 9)] == [0, 0, 1, 0.2, 0.2]
    values = np.array([curve(t) for t in np.linspace(0, 3, 301)])
    assert values.min() >= 0
    assert values.max() <= 1
    assert (np.diff(values[:150]) >= 0).all()
    assert (np.diff(values[150:]) <= 0).all()


def test_motion_starts_and_ends_at_rest() -> None:
    curve = parsed("0:0,1:1")
    assert curve(0.01) < 1e-4
    assert 1 - curve(0.99) < 1e-4
    assert curve(0.5) == pytest.approx(0.5)


def test_a_performance_begins_and_ends_with_the_photograph() -> None:
    curve = performance(3, 0.8)
    assert curve(0) == curve(2.9) == 0
    assert curve(1.5) == 0.8


def test_only_zero_is_still() -> None:
    assert constant(0).still
    assert not parsed("0:0,1:0.1").still


@pytest.mark.parametrize(
    ("text", "message"),
    [
        *[("1", "SECONDS:INTENSITY"), ("1:0,0:1", "order"), ("0:2", "between"), ("0:a", "SECONDS")],
        *[("nan:1", "numbers"), ("0:0,inf:1", "numbers"), ("-inf:0,1:1", "numbers")],
    ],
)
def test_a_mistake_is_told_in_one_line(text: str, message: str) -> None:
    with pytest.raises(MienError, match=message) as error:
        parsed(text)
    assert "\n" not in str(error.value)
