"""What comes before a face in a clip is seen at once, and its outline does not tremble."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from clips import frames, run, still, write_clip

from mien.editor import Editor
from mien.video.track import Track, Tracker


def sheet_of_paper(rgb: np.ndarray, face: np.ndarray) -> np.ndarray:
    """``rgb`` with a grey sheet before the lower half of the face with these landmarks."""
    left, right = (int(v) for v in (face[:, 0].min(), face[:, 0].max()))
    covered = rgb.copy()
    covered[int(face[31, 1]) : int(face[8, 1]), left:right] = 150
    return covered


def mouth_of(track: Track) -> float:
    """The mean chance of a cover around the middle of the mouth."""
    assert track.seen.cover is not None
    return float(track.seen.cover[46:54, 28:36].mean())


def test_what_comes_before_a_face_is_seen_in_the_next_frame_and_gone_soon_after(editor: Editor) -> None:
    tracker = Tracker(editor.finder)
    clear = still()
    (track,) = tracker.follow(clear, 0.0)
    paper = sheet_of_paper(clear, track.landmarks)
    found = [mouth_of(track)]
    for number, rgb in enumerate([clear, paper, paper, *[clear] * 6], 1):
        found += [mouth_of(each) for each in tracker.follow(rgb, number / 25)[:1]]
    assert max(found[:2]) < 0.2
    assert min(found[2:4]) > 0.6
    assert found[-1] < 0.2


def test_its_chance_trembles_less_than_what_is_read() -> None:
    rng = np.random.default_rng(0)
    track = Track(1, np.random.default_rng(1).random((68, 2)) * 100, np.eye(7)[0], np.zeros((8, 8, 3)))
    given, kept = [], []
    for number in range(50):
        cover = 0.5 + 0.1 * rng.standard_normal((64, 64))
        track.measured(track.settle(0.04), np.zeros(52), cover, np.zeros((128, 128, 3)), 0.04)
        assert track.seen.cover is not None
        if number > 10:
            given.append(cover)
            kept.append(track.seen.cover)
    assert np.diff(kept, axis=0).std() < 0.4 * np.diff(given, axis=0).std()


def test_no_occlusion_paints_over_it_in_a_clip_too(editor: Editor, tmp_path: Path) -> None:
    clear = still()
    face = editor.see(clear)[0].face.landmarks
    write_clip(tmp_path / "in.mp4", [sheet_of_paper(clear, face)] * 3)
    for name, words in (("kept", []), ("painted", ["--no-occlusion"])):
        assert run("edit", tmp_path / "in.mp4", "--to", "surprise", "-o", tmp_path / f"{name}.mp4", *words) == 0
    x, y = face[62].astype(int)
    middle = np.s_[:, y - 5 : y + 9, x - 12 : x + 12]
    before, kept, painted = (frames(tmp_path / f"{name}.mp4")[middle].astype(int) for name in ("in", "kept", "painted"))
    assert np.abs(kept - before).max() <= 4, "no more than the encoder changes"
    assert np.abs(painted - before).max() > 12
