"""The nine clips out of the ordinary: they end well, or say why in one line."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
from clips import blank, edited, frames, moving, packets, run, still, times, write_clip

from mien.editor import Editor
from mien.video.clip import open_clip


def test_a_portrait_clip_stays_turned(editor: Editor, tmp_path: Path) -> None:
    lying = [np.ascontiguousarray(np.rot90(rgb)) for rgb in moving(3)]  # a phone held upright
    source = write_clip(tmp_path / "in.mp4", lying, turn=-90, full=True)
    out = tmp_path / "out.mp4"
    assert edited(editor, source, out).edited == 3
    with av.open(str(out)) as container:
        frame = next(container.decode(video=0))
        assert (frame.rotation, frame.color_range) == (-90, 2)
    with open_clip(out) as clip:
        assert len(editor.see(clip.first.rgb)) == 1


def test_a_variable_frame_rate_is_kept(editor: Editor, tmp_path: Path) -> None:
    clock = [40, 80, 200, 210, 500, 533]
    source = write_clip(tmp_path / "in.mp4", moving(6), times=clock)
    edited(editor, source, tmp_path / "out.mp4", 0.0)
    assert times(tmp_path / "out.mp4") == times(source)
    assert np.diff(times(source)).tolist() == pytest.approx(np.diff(clock) / 1000)
    assert packets(tmp_path / "out.mp4", "audio") == packets(source, "audio")


def test_one_frame_without_sound(editor: Editor, tmp_path: Path) -> None:
    source = write_clip(tmp_path / "in.mp4", moving(1), sound=None)
    assert edited(editor, source, tmp_path / "out.mp4").edited == 1
    assert len(times(tmp_path / "out.mp4")) == 1


@pytest.mark.parametrize("codec", ["libx264", "libx265"])
def test_ten_bits_stay_ten_bits(editor: Editor, tmp_path: Path, codec: str) -> None:
    source = write_clip(tmp_path / "in.mp4", moving(2), codec=codec, form="yuv420p10le", sound=None)
    assert edited(editor, source, tmp_path / "out.mp4").edited == 2
    with av.open(str(tmp_path / "out.mp4")) as container:
        stream = container.streams.video[0]
        assert stream.pix_fmt == "yuv420p10le"
        assert stream.codec_context.name == {"libx264": "h264", "libx265": "hevc"}[codec]


def test_odd_sizes(editor: Editor, tmp_path: Path) -> None:
    source = write_clip(tmp_path / "in.webm", [still(255, height=241)] * 2, codec="libvpx-vp9", sound=None)
    assert edited(editor, source, tmp_path / "out.webm").edited == 2
    assert frames(tmp_path / "out.webm").shape[1:3] == (241, 255)
    outcome = edited(editor, source, tmp_path / "out.mp4")
    assert frames(tmp_path / "out.mp4").shape[1:3] == (242, 256)
    assert any("twice" in note for note in outcome.notes)


def test_no_face_is_refused_or_passed_on(editor: Editor, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write_clip(tmp_path / "wall.mp4", [blank()] * 4)
    assert run("edit", source, "--to", "surprise", "-o", tmp_path / "out.mp4") == 2
    assert capsys.readouterr().err.strip().count("\n") == 0
    assert not (tmp_path / "out.mp4").exists()
    assert edited(editor, source, tmp_path / "same.mp4", copy_if_unchanged=True).copied
    assert (tmp_path / "same.mp4").read_bytes() == source.read_bytes()


def test_a_face_that_leaves_and_returns(editor: Editor, tmp_path: Path) -> None:
    source = write_clip(tmp_path / "in.mp4", [still()] * 2 + [blank()] * 2 + [still()] * 2, sound=None)
    outcome = edited(editor, source, tmp_path / "out.mp4")
    assert (outcome.frames, outcome.edited) == (6, 4)
    change = np.abs(frames(tmp_path / "out.mp4").astype(int) - frames(source)).mean((1, 2, 3))
    assert change[2:4].max() < change[[0, 1, 4, 5]].min()


def test_a_truncated_file_is_edited_as_far_as_it_goes(
    editor: Editor, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = write_clip(tmp_path / "whole.mkv", moving(10), sound=None)
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(whole.read_bytes()[: int(0.6 * whole.stat().st_size)])
    outcome = edited(editor, cut, tmp_path / "out.mkv", 0.0)
    assert 2 < outcome.frames < 10
    assert len(times(tmp_path / "out.mkv")) == outcome.frames
    headless = tmp_path / "headless.mp4"
    headless.write_bytes(write_clip(tmp_path / "w.mp4", moving(2)).read_bytes()[:3000])
    assert run("edit", headless, "--to", "surprise", "-o", tmp_path / "no.mp4") == 2
    error = capsys.readouterr().err.strip()
    assert "cut short" in error
    assert "\n" not in error


def test_a_damaged_frame_is_passed_on_and_told(editor: Editor, tmp_path: Path) -> None:
    options = {"qp": "20", "x264-params": "keyint=4:bframes=0:slices=1", "preset": "ultrafast"}
    source = write_clip(tmp_path / "in.mkv", moving(8), sound=None, options=options)
    data = bytearray(source.read_bytes())
    hit = packets(source, "video")[5][1]
    place = data.find(hit)
    data[place + len(hit) // 3 : place + len(hit) // 3 + 40] = bytes(40)
    source.write_bytes(data)
    outcome = edited(editor, source, tmp_path / "out.mkv", 0.0)
    assert outcome.frames >= 7
    assert outcome.broken or outcome.missed
    assert times(tmp_path / "out.mkv") == times(source)
