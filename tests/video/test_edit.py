"""Clips edited from file to file: what changes, what must not, and files that are out of the ordinary."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import av
import numpy as np
import pytest
from clips import SURPRISE, blank, edited, frames, moving, noisy, packets, run, still, stranger, times, write_clip
from PIL import Image

from mien.editor import Editor
from mien.errors import MienError
from mien.photo.provenance import SOURCE_TYPE, read_mark
from mien.video.clip import Frame, open_clip
from mien.video.curve import constant
from mien.video.edit import Outcome, Wish, side_by_side


def test_a_clip_is_edited_with_its_sound_clock_and_tags(
    head: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, beside = tmp_path / "out.mp4", tmp_path / "beside.mp4"
    assert run("edit", head, "--to", "surprise", "-o", out, "--preview", beside) == 0
    assert "6 of 6 frames edited, 1 face" in capsys.readouterr().out
    assert packets(out, "audio") == packets(head, "audio")
    assert times(out) == times(head) == times(beside)
    with av.open(str(out)) as container:
        stream = container.streams.video[0]
        assert (stream.width, stream.height, stream.average_rate) == (256, 256, 25)
        assert (stream.codec_context.color_range, stream.codec_context.colorspace) == (1, 1)
        assert container.metadata["title"] == "a head"
    assert read_mark(out)["source_type"] == SOURCE_TYPE
    assert read_mark(beside)["source_type"] == SOURCE_TYPE
    before, after, pair = frames(head).astype(int), frames(out).astype(int), frames(beside).astype(int)
    change = np.abs(after - before).mean((0, 3))
    assert change[80:200, 70:190].mean() > 5
    assert change[:30].mean() < 2  # nothing but the codec's own
    assert np.abs(pair[:, :, :256] - before).mean() < 4
    assert np.abs(pair[:, :, 256:] - after).mean() < 4


def test_beyond_the_face_the_frames_are_the_sources_own_samples(editor: Editor, head: Path) -> None:
    """What goes into the encoder, compared with what came out of the decoder."""
    with av.open(str(head)) as container:
        decoded = [frame.to_ndarray() for frame in container.decode(video=0)]
    given: list[np.ndarray] = []
    with open_clip(head) as clip:
        _collect(clip, editor, given)
    different = np.array([now != before for now, before in zip(given, decoded, strict=True)])
    luma = different[:, :256]
    assert luma[:, 80:200, 70:190].mean() > 0.3
    assert not luma[:, :20].any()
    assert not luma[:, :, :20].any()
    assert different[:, 256:].mean() < 0.6


def test_no_flicker_is_added_to_a_still_clip_with_grain(editor: Editor, tmp_path: Path) -> None:
    picture = still()
    clip = write_clip(
        tmp_path / "still.mkv", [noisy(picture, i) for i in range(8)], form="yuv444p", options={"qp": "0"}
    )
    given: list[np.ndarray] = []
    with open_clip(clip) as source:
        _collect(source, editor, given)
    with av.open(str(clip)) as container:
        before = np.stack([frame.to_ndarray()[0].astype(float) for frame in container.decode(video=0)])
    after = np.stack([planes[0].astype(float) for planes in given])
    region = np.abs(after - before).mean(0) > 6
    assert region.sum() > 1000

    def flicker(clip: np.ndarray) -> float:
        return float(np.abs(np.diff(clip, axis=0))[:, region].mean())

    def slow(clip: np.ndarray) -> np.ndarray:
        """Means of 4 x 4 pixels, where grain is little and a trembling face is not."""
        small = clip.reshape(len(clip), 64, 4, 64, 4).mean((2, 4))
        return small.repeat(4, 1).repeat(4, 2)

    assert flicker(after) < 1.2 * flicker(before)
    assert flicker(slow(after)) < 1.2 * flicker(slow(before))


def test_keys_make_the_edit_come_and_go(head: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.mp4"
    assert run("edit", head, "--to", "surprise", "--keys", "0:0,0.1:1,0.2:0", "-o", out) == 0
    change = np.abs(frames(out).astype(int) - frames(head))[:, 80:200, 70:190].mean((1, 2, 3))
    assert change[2:4].min() > 2 * change[0]
    assert change[2:4].min() > 2 * change[5]


def test_speech_goes_on_below_the_expression(editor: Editor) -> None:
    """What a face does is added to, not replaced: a jaw that opens and shuts does so in the goal too."""
    from mien.editor import Seen
    from mien.photo.find import face_of

    class Talking:
        number, presence = 1, 1.0

        def __init__(self, jaw: float) -> None:
            scores = np.full(52, 0.1, np.float32)
            scores[25] = jaw
            self.face = face_of(still_landmarks, 1.0)
            self.seen = Seen(self.face, np.eye(2, 3), scores, np.eye(7)[0])

    still_landmarks = editor.see(still())[0].face.landmarks
    wish = Wish(SURPRISE, constant(1.0))
    jaws = [0.1, 0.5, 0.1, 0.5, 0.1]
    goals = [wish.jobs([Talking(jaw)], i / 10, 0)[0][0][1].scores[25] for i, jaw in enumerate(jaws)]  # type: ignore[list-item]
    assert np.diff(goals).tolist() == pytest.approx(np.diff(jaws).tolist(), abs=0.15)


def test_only_the_chosen_of_two_faces_is_edited(editor: Editor, tmp_path: Path) -> None:
    pairs = [np.concatenate([still(160, (i, 0)), still(160, (-i, 0), 0.9)[:, ::-1]], 1) for i in range(3)]
    clip = write_clip(tmp_path / "pair.mp4", pairs, sound=None)
    outcome = edited(editor, clip, tmp_path / "out.mp4", face="largest")
    change = np.abs(frames(tmp_path / "out.mp4").astype(int) - frames(clip)).mean((0, 3))
    assert (outcome.faces, outcome.edited) == (2, 3)
    assert change[40:130, 30:130].mean() > 3 * change[40:130, 190:290].mean()


def test_the_chosen_one_of_two_is_edited_again_after_leaving_and_after_cuts(editor: Editor, tmp_path: Path) -> None:
    one, two, nobody = still(160), stranger(still(160, zoom=0.9)), blank(160)
    both, alone, gone = ([np.concatenate(pair, 1)] * 2 for pair in ((one, two), (one, nobody), (nobody, nobody)))
    shown = [*both, *alone, *gone, *both]  # the second leaves, both are gone, both return
    clip = write_clip(tmp_path / "pair.mkv", shown, form="yuv444p", options={"qp": "0"}, sound=None)
    outcome = edited(editor, clip, tmp_path / "out.mkv", intensity=1.5, face="2")
    assert (outcome.faces, outcome.frames, outcome.edited) == (2, 8, 4)
    change = np.abs(frames(tmp_path / "out.mkv").astype(int) - frames(clip)).mean(-1)
    first, second = change[:, 40:130, 30:130].mean((1, 2)), change[:, 40:130, 190:290].mean((1, 2))
    assert second[[0, 1, 6, 7]].min() > 2 * first.max()  # which the codec changes alone
    assert second[2:6].max() < 1.2 * first.max()


@pytest.mark.parametrize("suffix", [".mov", ".mkv", ".webm", ".gif", ".webp"])
def test_each_container_is_written_marked_and_read_again(editor: Editor, tmp_path: Path, suffix: str) -> None:
    source = write_clip(
        tmp_path / "in.mkv", moving(3), times=[0, 100, 160], sound="aac" if suffix == ".mov" else "libopus"
    )
    out = tmp_path / f"out{suffix}"
    outcome = edited(editor, source, out)
    assert outcome.edited == 3
    assert read_mark(out)["source_type"] == SOURCE_TYPE
    with open_clip(out) as clip:
        again = [(round(item.time, 3), item.rgb.shape) for item in clip if isinstance(item, Frame)]
    assert again == [(0.0, (256, 256, 3)), (0.1, (256, 256, 3)), (0.16, (256, 256, 3))]
    if suffix in (".gif", ".webp"):
        assert any("sound" in note for note in outcome.notes)
    else:
        assert [data for _, data in packets(out, "audio")] == [data for _, data in packets(source, "audio")]


@pytest.mark.parametrize("suffix", [".gif", ".webp"])
def test_an_animation_keeps_its_clock_its_loops_and_its_pixels(editor: Editor, tmp_path: Path, suffix: str) -> None:
    source, out = tmp_path / f"in{suffix}", tmp_path / f"out{suffix}"
    pictures = [Image.fromarray(rgb) for rgb in moving(3)]
    pictures[0].save(source, save_all=True, append_images=pictures[1:], duration=[120, 50, 700], loop=3, quality=95)
    assert edited(editor, source, out).edited == 3
    with Image.open(out) as image:
        assert (image.n_frames, image.info["loop"]) == (3, 3)
        shown = []
        for number in range(3):
            image.seek(number)
            image.load()
            shown.append(image.info["duration"])
    assert shown == [120, 50, 700]
    with open_clip(source) as one, open_clip(out) as other:
        pairs = [(a.rgb.astype(int), b.rgb) for a, b in zip(one, other, strict=True)]  # type: ignore[union-attr]
    assert max(np.abs(a[:25] - b[:25]).mean() for a, b in pairs) < 3


def test_intensity_zero_gives_the_source_back_where_that_is_asked(editor: Editor, head: Path, tmp_path: Path) -> None:
    same, other = tmp_path / "same.mp4", tmp_path / "other.mkv"
    assert edited(editor, head, same, 0.0, copy_if_unchanged=True).copied
    assert same.read_bytes() == head.read_bytes()
    assert edited(editor, head, other, 0.0, copy_if_unchanged=True).copied
    for kind in ("video", "audio"):
        assert len(packets(other, kind)) == len(packets(head, kind))
    np.testing.assert_array_equal(frames(other), frames(head))
    assert not edited(editor, head, tmp_path / "coded.mp4", 0.0).copied
    beside = tmp_path / "beside.mp4"
    outcome = edited(editor, head, tmp_path / "third.mp4", 0.0, copy_if_unchanged=True, preview=beside)
    assert any("no preview" in note for note in outcome.notes)
    assert not beside.exists()


def test_an_interruption_leaves_no_file(editor: Editor, head: Path, tmp_path: Path) -> None:
    left = iter(range(3))

    def interrupt() -> None:
        if next(left, None) is None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        edited(editor, head, tmp_path / "out.mp4", 0.0, advance=interrupt)
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_ends_the_program_at_once_and_leaves_no_file(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "in.mp4", [still()] * 150)
    words = [sys.executable, "-m", "mien", "edit", source, "--to", "surprise", "-o", "out.mp4", "--preview", "pair.mp4"]
    heed = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # a job in the background is started deaf to it
    running = subprocess.Popen(words, cwd=tmp_path, stderr=subprocess.PIPE, text=True, preexec_fn=heed)
    while len(list(tmp_path.iterdir())) < 3 and running.poll() is None:  # both files are begun
        time.sleep(0.05)
    running.send_signal(signal.SIGINT)
    _, error = running.communicate(timeout=60)
    assert running.returncode == 130
    assert error == "mien: interrupted; nothing half-written is left\n"
    assert list(tmp_path.iterdir()) == [source]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--to", "surprise", "-o", "out.avi"), "no clip is written as .avi"),
        (("--to", "surprise", "-o", "out.webm"), "cannot carry aac sound"),
        (("--to", "surprise", "-o", "out.gif", "--preview", "out.txt"), "no clip is written as .txt"),
        (("--to", "surprise", "--keys", "1:0,0:1"), "order of time"),
        (("--to", "surprise", "--intensity", "3"), "between 0 and 1.5"),
        (("--muscle", "jawOpn=1"), "jawOpen"),
        ((), "say what to change to"),
    ],
)
def test_a_wish_that_cannot_be_met_says_what_can(
    head: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
    words: tuple,
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("edit", head, *words) == 2
    error = capsys.readouterr().err.strip()
    assert message in error
    assert "\n" not in error
    assert list(tmp_path.iterdir()) == []


def test_what_exists_is_kept(editor: Editor, head: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.mp4"
    out.write_bytes(b"mine")
    with pytest.raises(MienError, match="exists"):
        edited(editor, head, out)
    assert out.read_bytes() == b"mine"


def _collect(clip: object, editor: Editor, given: list[np.ndarray]) -> None:
    from mien.video.edit import edits
    from mien.video.track import Tracker

    for item, _ in edits(clip, Tracker(editor.finder), editor, Wish(SURPRISE, constant(1.0)), Outcome()):  # type: ignore[arg-type]
        if isinstance(item, Frame):
            given.append(item.native.to_ndarray())


def test_work_is_done_a_few_ahead_and_given_in_order() -> None:
    """Items without work do not pile up behind one that is done."""
    begun = []

    def work() -> Iterator[tuple[int, Callable[[], np.ndarray] | None]]:
        for number in range(60):
            begun.append(number)
            time.sleep(0.002)
            yield number, partial(np.full, 1, number) if number % 20 == 0 or number > 50 else None

    ahead = []
    for expected, (number, result) in enumerate(side_by_side(work())):
        ahead.append(len(begun) - number)
        assert number == expected
        assert (result == number) if number % 20 == 0 or number > 50 else result is None
    assert number == 59
    assert max(ahead) < 20


def test_items_without_work_wait_for_a_slow_one_and_do_not_pile_up() -> None:
    """As when another program takes the processor from the thread that edits: memory must not grow meanwhile."""
    begun = []

    def work() -> Iterator[tuple[int, Callable[[], np.ndarray] | None]]:
        for number in range(1000):
            begun.append(number)
            yield number, (lambda: time.sleep(0.5) or np.zeros(1)) if number == 0 else None

    ahead = [len(begun) - number for number, _ in side_by_side(work())]
    assert len(ahead) == 1000
    assert max(ahead) <= 4 * (os.cpu_count() or 1) + 1
