"""What the commands of clips tell while they work and at the end."""

from __future__ import annotations

import pytest

from mien.video.commands import progress, told
from mien.video.edit import Outcome


def test_a_terminal_shows_frames_speed_and_the_time_left(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "100")
    with progress("editing", 40) as advance:
        for _ in range(30):
            advance()
    error = capsys.readouterr().err
    assert "editing" in error
    assert "30/40" in error
    assert "frames/s" in error
    assert "0:00:0" in error


def test_elsewhere_nothing_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    with progress("editing", 2) as advance:
        advance()
    assert capsys.readouterr().err == ""


def test_an_outcome_is_told_a_line_each() -> None:
    broken = [0.5 * i for i in range(7)]
    outcome = Outcome(broken=broken, missed=[9.0], clip_seconds=10.0, notes=["gif carries no sound"])
    assert told(outcome, 60.0) == [
        "gif carries no sound",
        "damaged, passed on unedited: 7 frames, at 0.00, 0.50, 1.00, 1.50, 2.00 s and later",
        "1 frame cannot be decoded: what was before stands longer, at 9.00 s",
        "the file ends at 10.0 s of the 60.0 s that it claims",
    ]
    assert told(Outcome(clip_seconds=10.0), 10.1) == []
