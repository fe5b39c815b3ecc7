"""An edit lands where it should, at the photograph's own resolution, and nowhere else."""

from itertools import pairwise

import numpy as np
import pytest

from mien.photo.blend import MAYBE, SURE, apply, uncovered, weights

RNG = np.random.default_rng(0)


def matrix(x: float, y: float, side: float) -> np.ndarray:
    """The upright crop with its corner at x, y."""
    return np.array([[1 / side, 0, -x / side], [0, 1 / side, -y / side]])


def nothing(size: int = 32) -> tuple[np.ndarray, np.ndarray]:
    return np.zeros((2, size, size), np.float32), np.zeros((3, size, size), np.float32)


def test_an_edit_of_nothing_is_the_photograph_bit_for_bit() -> None:
    rgb = RNG.integers(0, 256, (90, 70, 3), np.uint8)
    m = matrix(10, 12, 50)
    np.testing.assert_array_equal(apply(rgb, m, weights(m, [], 32), *nothing()), rgb)


@pytest.mark.parametrize("side", [40, 300])
def test_pixels_outside_the_crop_are_untouched(side: int) -> None:
    rgb = RNG.integers(0, 256, (400, 420, 3), np.uint8)
    m = matrix(51, 33, side)
    flow, delta = nothing()
    edited = apply(rgb, m, weights(m, [], 32), flow + 0.05, delta + 0.5)
    outside = np.ones(rgb.shape[:2], bool)
    outside[33 : 33 + side, 51 : 51 + side] = False
    assert (edited != rgb)[~outside].mean() > 0.5
    np.testing.assert_array_equal(edited[outside], rgb[outside])


def test_flow_fetches_from_the_right_and_below() -> None:
    rgb = np.zeros((200, 200, 3), np.uint8)
    rgb[100:104, 120:124] = 255
    flow, delta = nothing()
    flow[0], flow[1] = 20 / 160, 10 / 160
    m = matrix(20, 20, 160)
    edited = apply(rgb, m, weights(m, [], 32), flow, delta)
    assert edited[90:94, 100:104].min() > 250
    assert edited[100:104, 120:124].max() < 5


def test_lips_that_meet_show_nothing_of_what_was_between_them() -> None:
    rgb = np.zeros((320, 320, 3), np.uint8)
    rgb[:140, :, 0], rgb[140:180], rgb[180:, :, 2] = 200, 255, 200  # a red lip, teeth, a blue lip
    flow, delta = nothing()
    flow[1, :16], flow[1, 16:] = -0.08, 0.08
    m = matrix(0, 0, 320)
    edited = apply(rgb, m, weights(m, [], 32), flow, delta)[100:220, 80:240]
    assert edited[..., 1].max() < 20, "no white between them"
    assert (edited[:58, :, 0] > 190).all()
    assert (edited[62:, :, 2] > 190).all()


def test_delta_is_added_on_the_scale_of_minus_one_to_one() -> None:
    rgb = np.full((100, 100, 3), 100, np.uint8)
    flow, delta = nothing()
    delta[:] = 0.2
    m = matrix(0, 0, 100)
    edited = apply(rgb, m, weights(m, [], 32), flow, delta)
    np.testing.assert_allclose(edited[50, 50], 100 + 0.2 * 127.5, atol=1)


def test_texture_under_a_smooth_delta_stays_as_sharp_as_it_was() -> None:
    rgb = RNG.integers(60, 180, (600, 600, 3), np.uint8)
    flow, delta = nothing()
    delta[:] = 0.1
    m = matrix(0, 0, 600)
    edited = apply(rgb, m, weights(m, [], 32), flow, delta).astype(int)
    change = (edited - rgb)[100:500, 100:500]
    assert np.abs(change - 0.1 * 127.5).max() <= 1


def test_bands_of_a_large_face_join_without_a_seam(monkeypatch: pytest.MonkeyPatch) -> None:
    rgb = RNG.integers(0, 256, (300, 300, 3), np.uint8)
    m = matrix(10, 20, 260)
    flow = RNG.normal(0, 0.02, (2, 32, 32)).astype(np.float32)
    delta = RNG.normal(0, 0.1, (3, 32, 32)).astype(np.float32)
    whole = apply(rgb, m, weights(m, [], 32), flow, delta)
    monkeypatch.setattr("mien.photo.blend.BAND", 9000)
    banded = apply(rgb, m, weights(m, [], 32), flow, delta)
    assert np.abs(whole.astype(int) - banded).max() <= 1


def test_a_turned_face_is_edited_along_its_own_axes() -> None:
    rgb = np.zeros((200, 200, 3), np.uint8)
    rgb[98:102, 138:142] = 255
    quarter = np.array([[0, 1 / 160, -20 / 160], [-1 / 160, 0, 180 / 160]])  # the crop's x runs down the photograph
    flow, delta = nothing()
    flow[1] = -40 / 160  # fetched from above in the crop, which is from the right in the photograph
    edited = apply(rgb, quarter, weights(quarter, [], 32), flow, delta)
    assert edited[98:102, 98:102].min() > 250


def test_neighbouring_faces_do_not_smear_into_each_other() -> None:
    mine, other = matrix(0, 0, 100), matrix(60, 0, 100)
    weight = weights(mine, [other], 100)
    assert weight[50, 40] > 0.9
    assert weight[50, 82:].max() == 0


def test_weights_are_whole_on_the_face_and_nothing_at_the_border() -> None:
    weight = weights(matrix(0, 0, 100), [], 128)
    assert weight[30:100, 30:100].min() == 1
    assert max(weight[0].max(), weight[:, 0].max(), weight[-1].max(), weight[:, -1].max()) < 0.01


def test_a_face_half_outside_the_photograph_is_edited_where_it_can_be_seen() -> None:
    rgb = np.full((60, 60, 3), 128, np.uint8)
    m = matrix(-40, -40, 80)
    flow, delta = nothing()
    delta[:] = 0.3
    edited = apply(rgb, m, weights(m, [], 32), flow, delta)
    assert edited[5, 5].min() > 150
    assert (edited[45:, 45:] == 128).all()


def chances(*spots: tuple[float, float, float], size: int = 64) -> np.ndarray:
    """Certain covers in discs (x, y, radius)."""
    y, x = (np.mgrid[:size, :size] + 0.5) / size
    return np.max([(np.hypot(x - a, y - b) < r) * 1.0 for a, b, r in spots], 0)


def test_an_uncovered_face_keeps_its_whole_weight() -> None:
    np.testing.assert_array_equal(uncovered(np.full((64, 64), MAYBE, np.float32), 128), np.ones((128, 128)))


def test_a_covered_spot_and_its_rim_are_left_out_and_the_rest_is_edited() -> None:
    weight = uncovered(chances((0.2, 0.65, 0.08)), 128)
    y, x = (np.mgrid[:128, :128] + 0.5) / 128
    away = np.hypot(x - 0.2, y - 0.65)
    assert weight[away < 0.08].max() == 0
    assert weight[away > 0.22].min() == 1
    assert 0.2 < weight[(away > 0.08) & (away < 0.18)].mean() < 0.95


@pytest.mark.parametrize(
    ("spot", "gone", "stays"),
    [
        ((0.5, 0.78, 0.13), [(0.5, 0.95), (0.2, 0.8)], [(0.34, 0.4), (0.66, 0.4)]),
        ((0.34, 0.38, 0.1), [(0.2, 0.2), (0.4, 0.2)], [(0.5, 0.8), (0.66, 0.4)]),
    ],
    ids=["mouth", "eye"],
)
def test_where_most_of_a_part_is_covered_all_of_it_is_left_out(
    spot: tuple[float, float, float], gone: list[tuple[float, float]], stays: list[tuple[float, float]]
) -> None:
    weight = uncovered(chances(spot), 128)
    for places, value in ((gone, 0), (stays, 1)):
        for x, y in places:
            assert weight[int(y * 128), int(x * 128)] == value, (x, y)


def test_more_chance_of_a_cover_never_leaves_more_to_edit() -> None:
    spot = chances((0.5, 0.8, 0.12))
    left = [uncovered(spot * chance, 64) for chance in np.linspace(MAYBE, SURE, 13)]
    assert all((b <= a + 1e-6).all() for a, b in pairwise(left))
    assert left[0].min() == 1
    assert left[-1].min() == 0
    assert max(float((a - b).max()) for a, b in pairwise(left)) < 0.6, "no sudden steps"
