"""Faces followed over frames."""

from __future__ import annotations

import numpy as np
import pytest
from clips import blank, moving, noisy, still, stranger

from mien.photo.find import Face, ShippedFinder
from mien.video.track import OneEuro, Tracker


class Counted:
    """The shipped finder, counting how often it is asked."""

    def __init__(self) -> None:
        self.finder, self.calls = ShippedFinder(), 0

    def find(self, rgb: np.ndarray) -> list[Face]:
        self.calls += 1
        return self.finder.find(rgb)


@pytest.fixture
def tracker() -> Tracker:
    return Tracker(Counted())


def test_one_euro_is_still_at_rest_and_does_not_lag_in_motion() -> None:
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 0.004, 300)
    rest = OneEuro(1.5, 20.0)
    calm = np.array([rest(np.array([0.5 + value]), 1 / 30)[0] for value in noise])
    assert calm[30:].std() < 0.5 * noise.std()
    assert np.abs(np.diff(calm)).mean() < 0.3 * np.abs(np.diff(noise)).mean()
    fast = OneEuro(1.5, 20.0)
    ramp = [fast(np.array([i / 30]), 1 / 30)[0] for i in range(60)]
    assert abs(ramp[-1] - 59 / 30) < 0.05  # a face's width a second


def test_a_face_is_followed_without_the_finder(tracker: Tracker) -> None:
    finder = tracker.finder
    true = []
    for number, rgb in enumerate(moving(8)):
        (track,) = tracker.follow(rgb, number / 25)
        assert track.number == 1
        true.append((track.seen.face.points.mean(0), finder.finder.find(rgb)[0].points.mean(0)))
    assert finder.calls == 1
    gaps = [float(np.hypot(*(a - b))) for a, b in true]
    assert max(gaps) < 3  # of a face of 90 pixels


def test_what_is_measured_on_a_still_face_rests_despite_grain(tracker: Tracker) -> None:
    picture = still()
    read, kept, scores = [], [], []
    for number in range(10):
        (track,) = tracker.follow(noisy(picture, number), number / 25)
        read.append(track.landmarks)
        kept.append(track.seen.face.landmarks)
        scores.append(track.seen.blendshapes)
    assert np.abs(np.diff(kept, axis=0)).mean() < 0.5 * np.abs(np.diff(read, axis=0)).mean()
    assert np.abs(np.diff(scores, axis=0)).max() < 0.05


def test_two_faces_keep_their_numbers(tracker: Tracker) -> None:
    seen = []
    for number in range(5):
        pair = np.concatenate([still(200, (number, 0)), still(200, (-number, 2), 0.9)[:, ::-1]], 1)
        seen.append({t.number: t.seen.face.points.mean(0)[0] for t in tracker.follow(pair, number / 25)})
    assert all(set(each) == {1, 2} for each in seen)
    sides = [each[1] < each[2] for each in seen]
    assert len(set(sides)) == 1


def test_a_cut_starts_anew_and_is_edited_from_its_first_frame(tracker: Tracker) -> None:
    for number in range(3):
        tracker.follow(still(), number / 25)
    other = stranger(still(shift=(30, 10)))
    (track,) = tracker.follow(other, 3 / 25)
    assert tracker.cuts == 1
    assert track.number == 2
    assert track.presence == 1


def test_a_face_that_leaves_comes_back_gently_and_is_known_again(tracker: Tracker) -> None:
    present = []
    for number, rgb in enumerate([still()] * 2 + [_covered()] * 8 + [still()] * 12):
        tracks = tracker.follow(rgb, number / 25)
        present.append(tracks[0].presence if tracks else 0.0)
    assert tracker.cuts == 0
    assert present[0] == present[1] == 1
    assert max(present[7:10]) == 0
    back = [value for value in present[10:] if value]
    assert 0 < back[0] < 1
    assert back[-1] == 1
    assert tracker.count == 1


def test_two_who_cross_a_cut_keep_their_numbers_and_a_stranger_gets_a_new_one(tracker: Tracker) -> None:
    pair = np.concatenate([still(200), stranger(still(200, zoom=0.9))], 1)
    tracker.follow(pair, 0)
    sides = {track.number: track.face.points[0, 0] < 200 for track in tracker.tracks}
    assert sides == {1: True, 2: False}
    tracker.follow(np.full_like(pair, 250), 0.04)
    swapped = np.concatenate([stranger(still(200, zoom=1.1)), still(200)], 1)
    tracker.follow(swapped, 0.08)
    assert tracker.cuts == 2
    assert {track.number: track.face.points[0, 0] < 200 for track in tracker.tracks} == {2: True, 1: False}
    tracker.follow(np.full_like(pair, 250), 0.12)
    tracker.follow(stranger(still(200), order=(0, 1, 2), light=0.45), 0.16)
    assert [track.number for track in tracker.tracks] == [3]


def test_in_the_dark_too_a_cut_is_one_and_two_people_are_two(tracker: Tracker) -> None:
    """What is far apart in daylight lies within few levels on a dark stage."""
    dim = [(rgb * 0.25).astype(np.uint8) for rgb in (still(), stranger(still(shift=(30, 10)), light=0.5))]
    for number in range(3):
        tracker.follow(dim[0], number / 25)
    assert tracker.cuts == 0
    (track,) = tracker.follow(dim[1], 3 / 25)
    assert tracker.cuts == 1
    assert (track.number, track.presence) == (2, 1)
    (track,) = tracker.follow(dim[0], 4 / 25)
    assert (tracker.cuts, track.number) == (2, 1)


def test_no_face_gives_none(tracker: Tracker) -> None:
    assert [tracker.follow(blank(), number / 25) for number in range(12)] == [[]] * 12
    assert tracker.finder.calls == 2


def _covered() -> np.ndarray:
    """The portrait with a plain board before the face; too small a change for a cut."""
    rgb = still().copy()
    rgb[70:210, 70:190] = rgb[70:210, 70:190].mean((0, 1))
    return rgb
