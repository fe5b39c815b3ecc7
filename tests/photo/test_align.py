"""Crops are similarities, undone exactly, and neither shift nor alias what they show."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mien.expressions import TEMPLATE
from mien.photo.align import crop, five_points, inverse, move, similarity

POINTS = np.array(TEMPLATE)


@given(st.floats(-3.1, 3.1), st.floats(5, 3000), st.floats(-4000, 4000), st.floats(-4000, 4000))
def test_similarity_finds_the_turn_scale_and_shift_that_were_applied(
    turn: float, scale: float, x: float, y: float
) -> None:
    rotation = scale * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    photo = POINTS @ rotation.T + [x, y]
    matrix = similarity(photo)
    np.testing.assert_allclose(move(matrix, photo), POINTS, atol=1e-6)
    np.testing.assert_allclose(move(inverse(matrix), POINTS), photo, atol=1e-6 * scale + 1e-6)


def test_similarity_never_mirrors_and_is_best_in_least_squares() -> None:
    rng = np.random.default_rng(0)
    photo = POINTS * 200 + rng.normal(0, 6, POINTS.shape)
    matrix = similarity(photo)
    assert np.linalg.det(matrix[:, :2]) > 0
    best = ((move(matrix, photo) - POINTS) ** 2).sum()
    for nudge in rng.normal(0, 1e-3, (50, 4)):
        a, b = matrix[0, 0] + nudge[0] / 200, matrix[1, 0] + nudge[1] / 200
        other = np.array([[a, -b, matrix[0, 2] + nudge[2]], [b, a, matrix[1, 2] + nudge[3]]])
        assert ((move(other, photo) - POINTS) ** 2).sum() >= best


def test_points_that_coincide_are_refused() -> None:
    with pytest.raises(ValueError, match="coincide"):
        similarity(np.zeros((5, 2)))


def test_five_points_follow_the_ibug_order() -> None:
    landmarks = np.arange(136, dtype=float).reshape(68, 2)
    expected = [landmarks[36:42].mean(0), landmarks[42:48].mean(0), landmarks[30], landmarks[48], landmarks[54]]
    np.testing.assert_array_equal(five_points(landmarks), expected)


def test_crop_of_the_whole_picture_at_its_own_size_is_the_picture() -> None:
    rgb = np.random.default_rng(1).integers(0, 256, (40, 40, 3), np.uint8)
    whole = np.array([[1 / 40, 0, 0], [0, 1 / 40, 0]])
    np.testing.assert_array_equal(crop(rgb, whole, 40), rgb)


@pytest.mark.parametrize("side", [60, 512, 2000])
def test_crop_puts_a_spot_where_the_matrix_says_at_every_scale(side: int) -> None:
    rgb = np.zeros((side, side, 3), np.uint8)
    at = np.array([0.62, 0.31]) * side
    y, x = np.mgrid[:side, :side] + 0.5
    rgb[np.hypot(x - at[0], y - at[1]) < side / 30] = 255
    turn = 0.4
    matrix = np.array([[np.cos(turn), -np.sin(turn), 0.2 * side], [np.sin(turn), np.cos(turn), -0.1 * side]]) / side
    seen = crop(rgb, matrix, 64)[..., 0].astype(float)
    rows, columns = np.mgrid[:64, :64] + 0.5
    centre = np.array([(seen * columns).sum(), (seen * rows).sum()]) / seen.sum() / 64
    np.testing.assert_allclose(centre, move(matrix, at), atol=0.006)


def test_a_fine_pattern_does_not_alias_in_a_small_crop() -> None:
    rgb = np.zeros((1024, 1024, 3), np.uint8)
    rgb[:, ::2] = 255
    seen = crop(rgb, np.array([[1 / 1024, 0, 0], [0, 1 / 1024, 0]]), 64)
    assert seen.std() < 2


def test_outside_the_photograph_the_edge_is_repeated() -> None:
    rgb = np.full((30, 30, 3), 77, np.uint8)
    np.testing.assert_array_equal(crop(rgb, np.array([[1 / 90, 0, 0.6], [0, 1 / 90, -0.2]]), 32), 77)
