"""A camera filmed with: FFmpeg's lavfi, which makes pictures at the pace of a clock, stands in for it."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import av
import numpy as np
import pytest
from clips import frames, run, still, times, write_clip

from mien.photo.provenance import SOURCE_TYPE, read_mark
from mien.video import camera
from mien.video.camera import AHEAD, Camera, until_interrupted
from mien.video.clip import Frame

STAND_IN = "from mien.video import camera; camera.device = lambda name: ('lavfi', name, {}); "


@pytest.fixture
def lavfi(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(camera, "device", lambda name: ("lavfi", name, {}))


@pytest.fixture(scope="module")
def sitter(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Somebody before a camera of 25 frames a second whose clock began long ago."""
    folder = tmp_path_factory.mktemp("sitter")
    write_clip(folder / "head.mkv", [still(160)] * 2, sound=None)
    return f"movie={folder / 'head.mkv'}:loop=0,setpts=N/25/TB+1000/TB,realtime"


@pytest.mark.usefixtures("lavfi")
def test_what_a_camera_shows_is_edited_and_keeps_its_clock(
    sitter: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.mp4"
    assert run("record", "--to", "surprise", "--camera", sitter, "--seconds", 1, "-o", out) == 0
    told = capsys.readouterr()
    assert "frames edited" in told.out
    assert "Ctrl-C ends it" in told.err
    at = times(out)
    assert at[0] == 0
    assert 0 < at[-1] <= 1
    np.testing.assert_allclose(np.array(at) * 25, np.rint(np.array(at) * 25), atol=0.01)
    change = np.abs(frames(out).astype(int) - still(160)).mean((0, 3))
    assert change[60:120, 50:110].mean() > 3 * change[:20].mean()
    assert read_mark(out)["source_type"] == SOURCE_TYPE
    with av.open(str(out)) as container:
        assert [stream.type for stream in container.streams] == ["video"]
        assert container.streams.video[0].pix_fmt == "yuv420p"


@pytest.mark.usefixtures("lavfi")
def test_frames_that_come_too_fast_are_left_out_and_do_not_pile_up() -> None:
    shown = []
    with Camera("testsrc=size=64x48:rate=200,realtime", 1.0) as source:
        for frame in source:
            assert isinstance(frame, Frame)
            shown.append(frame.time)
            assert source._waiting.qsize() <= AHEAD
            time.sleep(0.05)
    assert 1 < len(shown) < source.dropped
    assert 100 < source.dropped + len(shown) < 300
    assert np.diff(shown).max() > 0.03
    assert shown[-1] > 0.5  # what is shown is now, not long ago
    assert not source._reader.is_alive()


def test_ctrl_c_ends_the_film_and_leaves_it(sitter: str, tmp_path: Path) -> None:
    words = ["record", "--to", "surprise", "--camera", sitter, "-o", str(tmp_path / "out.mkv")]
    heed = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # a job in the background is started deaf to it
    code = f"import signal; signal.signal(signal.SIGINT, signal.default_int_handler); {STAND_IN}"
    program = [sys.executable, "-c", f"{code}from mien.cli import main; main({words!r})"]
    running = subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=heed)
    while running.poll() is None and not any(tmp_path.iterdir()):  # the file is begun
        time.sleep(0.05)
    running.send_signal(signal.SIGINT)
    out, error = running.communicate(timeout=60)
    assert running.returncode == 0, error
    assert "frames edited" in out
    assert len(times(tmp_path / "out.mkv")) > 0
    assert [file.name for file in tmp_path.iterdir()] == ["out.mkv"]


def test_the_second_ctrl_c_interrupts() -> None:
    stopped: list[bool] = []
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background is started deaf to it
    try:
        with until_interrupted(lambda: stopped.append(True)):
            signal.raise_signal(signal.SIGINT)
            assert stopped == [True]
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("lavfi")
def test_a_camera_that_is_gone_ends_the_clip() -> None:
    with Camera("testsrc=size=64x48:rate=50:duration=0.2,realtime") as source:
        assert 1 <= len(list(source)) <= 10


@pytest.mark.skipif(sys.platform != "linux", reason="names a device of Linux")
@pytest.mark.parametrize(("name", "said"), [("77", "/dev/video77"), ("concat:a.mp4|b.mp4", "No such file")])
def test_no_such_camera_is_told_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, said: str
) -> None:
    assert run("record", "--to", "anger", "--camera", name, "-o", tmp_path / "out.mp4") == 2
    error = capsys.readouterr().err.strip()
    assert said in error
    assert "\n" not in error
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("lavfi")
def test_an_empty_room_is_told_in_one_line_and_not_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--camera", "color=gray:size=64x48,realtime", "--seconds", 0.2, "-o", tmp_path / "out.mp4")
    assert run("record", "--to", "anger", *words) == 2
    assert "come into the picture" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_each_system_has_its_device(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {}
    for system in ("linux", "darwin", "win32"):
        monkeypatch.setattr(sys, "platform", system)
        found[system] = camera.device("1")[:2]
    assert found == {
        "linux": ("v4l2", "/dev/video1"),
        "darwin": ("avfoundation", "1:none"),
        "win32": ("dshow", "video=1"),
    }
