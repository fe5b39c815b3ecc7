"""Signed clips tell their history; what cannot be signed is told before the work."""

from __future__ import annotations

import hashlib
import struct
from pathlib import Path

import pytest
from clips import EXAMPLE, frames, moving, packets, write_clip
from PIL import Image

from mien.cli import main
from mien.photo.inspect import inspect, told
from mien.photo.provenance import SOURCE_TYPE

pytest.importorskip("c2pa", reason='needs the extra: pip install "mien[c2pa]"')
from cryptography import x509

from signatures import made, proved

C2PA_BOX = bytes.fromhex("d8fec3d61b0e483c92975828877ec481")
WORDS = ["--to", "surprise", "--sign"]


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return made(tmp_path_factory.mktemp("keys"))


@pytest.fixture(scope="module")
def signed(keys: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """An edited clip without and with a signature."""
    folder = tmp_path_factory.mktemp("signed")
    source = write_clip(folder / "head.mp4", moving(3, 128))
    assert run("edit", source, "--to", "surprise", "-o", folder / "plain.mp4") == 0
    out = folder / "out.mp4"
    assert run("edit", source, *WORDS, keys[0], "--sign-key", keys[1], "-o", out) == 0
    assert sorted(path.name for path in folder.iterdir()) == ["head.mp4", "out.mp4", "plain.mp4"]
    return folder / "plain.mp4", out


def run(*words: object) -> int:
    with pytest.raises(SystemExit) as end:
        main([str(word) for word in words])
    return int(end.value.code or 0)


def boxes(contents: bytes) -> list[tuple[int, bytes, bytes]]:
    """Where each box of the file begins, its type, and all of it."""
    found, at = [], 0
    while at < len(contents):
        size, kind = struct.unpack_from(">I4s", contents, at)
        found.append((at, kind, contents[at : at + size]))
        at += size
    return found


def test_a_signed_clip_is_the_same_clip_and_keeps_its_mark(signed: tuple[Path, Path]) -> None:
    plain, out = signed
    assert (frames(plain) == frames(out)).all()
    assert packets(plain, "audio") == packets(out, "audio") != []
    assert 0 < out.stat().st_size - plain.stat().st_size < 8000
    about = inspect(out)
    assert (about["edited"], about["by_mien"], about["credentials"]["state"]) == (True, True, "valid")
    assert about["credentials"]["originals"] == ["head.mp4"]
    assert [text.split()[0] for text in about["credentials"]["actions"]] == ["opened", "edited"]
    assert 'C2PA: holds; signed by "ann, Example"' in told(about)


def test_a_plain_parse_finds_the_hash_of_the_clip_and_the_signature_right(
    signed: tuple[Path, Path], keys: tuple[Path, Path]
) -> None:
    parts = boxes(signed[1].read_bytes())
    ((_, _, manifest),) = (each for each in parts if each[1] == b"uuid" and each[2][8:24] == C2PA_BOX)
    purpose, _, store = manifest[28:].partition(b"\0")  # after version and flags
    assert purpose == b"manifest"
    certificate, assertions = proved(store[8:])  # and after the place of a further box
    assert certificate == x509.load_pem_x509_certificate(keys[0].read_bytes())
    opened, changed = assertions["c2pa.actions.v2"]["actions"]
    assert (opened["action"], changed["action"]) == ("c2pa.opened", "c2pa.edited")
    assert changed["digitalSourceType"] == SOURCE_TYPE
    ingredient = assertions["c2pa.ingredient.v3"]
    assert (ingredient["dc:title"], ingredient["relationship"]) == ("head.mp4", "parentOf")
    digest = hashlib.sha256()
    for at, kind, whole in parts:  # the mark's box is signed for, too
        if kind not in (b"ftyp", b"mfra", b"free", b"skip") and whole is not manifest:
            digest.update(struct.pack(">Q", at) + whole)
    assert assertions["c2pa.hash.bmff.v3"]["hash"] == digest.digest()


@pytest.mark.parametrize("place", [b"mdat", b"moov", b"compositeWithTrained"])
def test_one_changed_byte_of_a_clip_is_told(place: bytes, signed: tuple[Path, Path], tmp_path: Path) -> None:
    contents = bytearray(signed[1].read_bytes())
    contents[contents.rindex(place) + 16] ^= 1
    path = tmp_path / "out.mp4"
    path.write_bytes(contents)
    assert "does NOT hold: the picture was changed after signing" in told(inspect(path))


def test_a_moving_photograph_names_all_that_it_was_made_of(
    keys: tuple[Path, Path], signed: tuple[Path, Path], tmp_path: Path
) -> None:
    face, sign = tmp_path / "me.jpg", ["--sign", keys[0], "--sign-key", keys[1], "--size", 96]
    Image.open(EXAMPLE).convert("RGB").crop((120, 10, 340, 270)).save(face)
    assert run("perform", face, "--to", "anger", "--seconds", 0.1, *sign, "-o", tmp_path / "a.mov") == 0
    assert run("drive", face, "--by", signed[1], *sign, "-o", tmp_path / "b.mp4") == 0
    first, second = (inspect(tmp_path / name)["credentials"] for name in ("a.mov", "b.mp4"))
    assert (first["state"], first["originals"]) == ("valid", ["me.jpg"])
    assert (second["state"], second["originals"]) == ("valid", ["me.jpg", "out.mp4"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mov", "b.mp4", "me.jpg"]


def test_a_copy_is_signed_as_opened_only(keys: tuple[Path, Path], signed: tuple[Path, Path], tmp_path: Path) -> None:
    out = tmp_path / "out.mp4"
    words = ["edit", signed[1], *WORDS, keys[0], "--sign-key", keys[1], "--intensity", 0, "--copy-if-unchanged"]
    assert run(*words, "-o", out) == 0
    about = inspect(out)["credentials"]
    assert (about["state"], about["actions"], about["originals"]) == ("valid", ["opened"], ["out.mp4"])


@pytest.mark.parametrize("name", ["out.webm", "out.mkv", "out.gif", "out.webp"])
def test_what_cannot_be_signed_is_told_before_the_work(
    name: str,
    keys: tuple[Path, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("mien.video.commands.Editor", None)  # it is not reached
    sign = ["--sign", keys[0], "--sign-key", keys[1], "-o", tmp_path / name]
    for words in (
        ["edit", "a.mp4", "--to", "anger"],
        ["perform", EXAMPLE, "--to", "anger"],
        ["drive", EXAMPLE, "--by", "a.mp4"],
    ):
        assert run(*words, *sign) == 2
        line = capsys.readouterr().err
        assert (line.count("\n"), "cannot carry a signature; write" in line, ".mp4 or .mov" in line) == (1, True, True)
    assert run("edit", "a.mp4", "--to", "anger", "--sign", keys[0], "-o", tmp_path / "out.mp4") == 2
    assert "--sign-key" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_where_signing_fails_nothing_is_left(
    keys: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import c2pa

    def fail(*_: object) -> None:
        raise c2pa.C2paError("no room")

    monkeypatch.setattr(c2pa.Builder, "sign", fail)
    monkeypatch.setattr("mien.photo.credentials.Signer._embed", lambda *_: b"")
    out = tmp_path / "out.mp4"
    words = ["perform", EXAMPLE, "--to", "anger", "--seconds", 0.1, "--size", 96, "-o", out, "--sign", keys[0]]
    assert run(*words, "--sign-key", keys[1]) == 2
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    assert "cannot be signed (no room)" in line
    assert not list(tmp_path.iterdir())
