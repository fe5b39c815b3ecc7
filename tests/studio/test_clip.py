"""The clip tab's work, without the page."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("av", reason='needs pip install "mien[video]"')

from mien import Editor
from mien.cli import main
from mien.studio.clip import edited
from mien.studio.parts import Studio


@pytest.fixture
def clip(pictures: Path, tmp_path: Path) -> str:
    """Ten frames of a face."""
    with pytest.raises(SystemExit):
        main(f"perform {pictures / 'me.jpg'} --to surprise --seconds 0.4 -o {tmp_path / 'me.mp4'}".split())
    return str(tmp_path / "me.mp4")


def test_a_clip_is_edited_stopped_and_refused(clip: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (room := tmp_path / "room").mkdir()
    studio = Studio({"flowfill": Editor()}, room, 10**7, 1, 60)
    *_, (told, preview, place) = edited(studio, clip, "happiness", "0:0,0.3:1", "all", "flowfill")
    assert "of 10 frames edited" in told
    assert Path(str(place)).name == "me-happiness.mp4"
    assert Path(str(preview)).stat().st_size > 1000
    (other := tmp_path / "other").mkdir()
    working = edited(Studio(studio.editors, other, 10**7, 1, 60), clip, "anger", "0:1", "all", "flowfill")
    monkeypatch.setattr("mien.studio.clip.TICK", 0.0)
    next(working)
    working.close()
    assert not [path for path in other.rglob("*") if path.is_file()]
    *_, (told, _, place) = edited(studio, clip, "anger", "1:0,0:1", "all", "flowfill")
    assert place is None
    assert "order of time" in told
    (tmp_path / "no.mp4").write_text("no clip")
    *_, (told, _, place) = edited(studio, str(tmp_path / "no.mp4"), "anger", "0:1", "all", "flowfill")
    assert place is None
    assert "no.mp4 is damaged" in told
    assert str(tmp_path) not in told
    monkeypatch.setattr("mien.studio.clip.LONGEST", 0.2)
    *_, (told, _, place) = edited(studio, clip, "anger", "0:1", "all", "flowfill")
    assert place is None
    assert "me.mp4 takes 0.4 s; the studio takes 0.2" in told
