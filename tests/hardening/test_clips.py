"""Whatever a clip holds, it is edited or refused in one line, soon, in little memory; no other file is read."""

from __future__ import annotations

import os
import shutil
import socket
from contextlib import suppress
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
from pictures import EITHER, READ, REFUSED
from watch import WORST, watched

from mien import target
from mien.cli import main
from mien.editor import Editor
from mien.errors import MienError

av = pytest.importorskip("av", reason="needs the extra video")
from bad_clips import clip, corpus, head  # noqa: E402

from mien.video.clip import Frame, open_clip  # noqa: E402
from mien.video.curve import constant  # noqa: E402
from mien.video.edit import Wish, edit_clip  # noqa: E402
from mien.video.kinds import CONTAINERS  # noqa: E402

EXAMPLE = Path(__file__).parents[2] / "examples" / "astronaut.png"


@pytest.fixture(scope="module")
def editor() -> Editor:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MIEN_THREADS", "1")
        made = Editor()
        made.edit(head(), "surprise")
        return made


def run(*words: object) -> int:
    with pytest.raises(SystemExit) as end:
        main([str(word) for word in words])
    return int(end.value.code or 0)


def pictures(path: Path) -> list[np.ndarray]:
    with open_clip(path) as opened:
        return [item.rgb for item in opened if isinstance(item, Frame)]


def edited(editor: Editor, source: Path, out: Path) -> None:
    with open_clip(source) as opened:
        edit_clip(opened, out, editor, Wish(target.by_name("surprise"), constant(1.0)))


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_each_clip_of_the_corpus_is_edited_or_refused(editor: Editor, tmp_path: Path) -> None:
    wrong, count = [], 0
    for name, data, expected in corpus():
        source = tmp_path / name
        out = tmp_path / f"out{source.suffix if source.suffix in CONTAINERS else '.mkv'}"
        source.write_bytes(data)
        count += 1
        try:
            watched(name, lambda source=source, out=out: edited(editor, source, out))
            outcome = READ
            assert pictures(out), name
        except MienError as error:
            assert "\n" not in str(error), name  # noqa: PT017
            assert not out.exists(), name
            outcome = REFUSED
        except Exception as error:
            wrong.append(f"{name}: {error!r}")
            continue
        assert source.read_bytes() == data, name
        if EITHER != expected != outcome:
            wrong.append(f"{name} was {outcome}")
        out.unlink(missing_ok=True)
        source.unlink()
        assert not list(tmp_path.iterdir()), name
    assert not wrong, wrong
    assert count > 150
    print(count, WORST)


def test_a_clip_that_changes_its_size_keeps_its_first(editor: Editor, tmp_path: Path) -> None:
    source, out = tmp_path / "a.ts", tmp_path / "out.mkv"
    source.write_bytes(clip([head()] * 2, "mpegts") + clip([head(192)] * 2, "mpegts", start=80))
    edited(editor, source, out)
    shown = pictures(out)
    assert {picture.shape for picture in shown} == {(96, 96, 3)}
    assert len(shown) == 4
    away = [np.abs(shown[3].astype(int) - other).mean() for other in (head(), head(192)[:96, :96])]
    assert away[0] < 15 < 30 < away[1]  # the face, not a corner of it


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("list.mp4", "ffconcat version 1.0\nfile other.mp4\n"),
        ("list.m3u8", "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1.0,\nother.mp4\n#EXT-X-ENDLIST\n"),
        ("list.mpd", '<MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><Period><BaseURL>other.mp4</BaseURL></Period></MPD>'),
        ("concat:other.mp4", "junk"),
        ("subfile,,start,0,end,0,,:other.mp4", "junk"),
        ("other%d.png", "junk"),
    ],
)
def test_a_clip_never_leads_to_another_file(
    name: str, content: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("other.mp4").write_bytes(clip([head()] * 2))
    for number in (1, 2):
        shutil.copy(EXAMPLE, f"other{number}.png")
    Path(name).write_text(content)
    with pytest.raises(MienError, match="damaged, cut short or no clip"):
        open_clip(name)


def test_a_clip_never_leads_into_the_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    called = []

    def answer() -> None:
        with suppress(TimeoutError), server.accept()[0]:
            called.append(1)

    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(1)
        there = f"127.0.0.1:{server.getsockname()[1]}"
        thread = Thread(target=answer)
        thread.start()
        for name in (f"tcp:{there}", f"http:/{there}/a.mp4", "a.m3u8"):
            Path(name).parent.mkdir(parents=True, exist_ok=True)
            Path(name).write_text(
                f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1.0,\nhttp://{there}/a.ts\n#EXT-X-ENDLIST\n"
            )
            with pytest.raises(MienError):
                open_clip(name)
        thread.join()
    assert not called


def test_names_that_ffmpeg_would_take_apart_are_names(editor: Editor, tmp_path: Path) -> None:
    folder = tmp_path / "concat:a|b"
    folder.mkdir()
    source = folder / "-tcp:%03d.mp4"
    source.write_bytes(clip([head()] * 2))
    edited(editor, source, folder / "crypto:%d.mp4")
    assert sorted(path.name for path in folder.iterdir()) == ["-tcp:%03d.mp4", "crypto:%d.mp4"]


def test_pipes_folders_and_links(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    (tmp_path / "folder.mkv").mkdir()
    (tmp_path / "loop.mp4").symlink_to("loop.mp4")
    (tmp_path / "gone.mp4").symlink_to("absent")
    (tmp_path / "zero.mp4").symlink_to("/dev/zero")
    before = sorted(tmp_path.iterdir())
    for path in before:
        for words in (["edit", path, "--to", "anger"], ["drive", EXAMPLE, "--by", path]):
            assert run(*words, "-o", tmp_path / "out.mp4") == 2
            told = capsys.readouterr().err
            assert told.count("\n") == 1, told
            assert told.startswith("mien: ")
    assert sorted(tmp_path.iterdir()) == before
