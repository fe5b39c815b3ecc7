"""Signed pictures tell their history, and what was changed after signing shows; a parser of our own looks as well."""

from __future__ import annotations

import base64
import hashlib
import json
import struct
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mien.cli import main
from mien.errors import MienError
from mien.photo import credentials
from mien.photo.credentials import Signer
from mien.photo.inspect import inspect, told
from mien.photo.provenance import SOURCE_TYPE, read_mark
from mien.photo.read import Photo, read
from mien.photo.write import write

c2pa = pytest.importorskip("c2pa", reason='needs the extra: pip install "mien[c2pa]"')
from cryptography import x509  # noqa: E402
from cryptography.hazmat.primitives import serialization as pem  # noqa: E402
from cryptography.hazmat.primitives.asymmetric import ec, ed25519  # noqa: E402

from signatures import made, proved  # noqa: E402

EXAMPLE = Path(__file__).parents[2] / "examples" / "astronaut.png"
SUFFIXES = (".jpg", ".png", ".webp", ".tif")


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return made(tmp_path_factory.mktemp("keys"))


@pytest.fixture(scope="module")
def signer(keys: tuple[Path, Path]) -> Signer:
    return Signer(*keys)


def source(folder: Path, suffix: str = ".png") -> Path:
    path = folder / f"me{suffix}"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)).save(path)
    return path


def edited(photo: Photo) -> np.ndarray:
    rgb = photo.rgb.copy()
    rgb[10:20, 10:20] = 255 - rgb[10:20, 10:20]
    return rgb


def signed(folder: Path, signer: Signer, suffix: str = ".png") -> Path:
    photo = read(source(folder))
    return write(photo, edited(photo), folder / f"out{suffix}", sign=signer)


def run(*words: object) -> int:
    with pytest.raises(SystemExit) as end:
        main([str(word) for word in words])
    return int(end.value.code or 0)


def store(path: Path, **trust: str) -> dict[str, Any]:
    """What c2pa reads of a file."""
    settings = {"verify": {"remote_manifest_fetch": False}} | ({"trust": trust} if trust else {})
    with c2pa.Context.from_dict(settings) as context, c2pa.Reader(str(path), context=context) as reader:
        return json.loads(reader.json())


def chunk(png: bytes) -> tuple[int, bytes]:
    """Where the PNG's chunk caBX begins, and its data."""
    at = 8
    while True:
        size, name = struct.unpack_from(">I4s", png, at)
        if name == b"caBX":
            return at, png[at + 8 : at + 8 + size]
        at += 12 + size


def test_a_plain_parse_finds_the_claim_the_hashes_and_the_signature_right(
    tmp_path: Path, signer: Signer, keys: tuple[Path, Path]
) -> None:
    contents = signed(tmp_path, signer).read_bytes()
    begins, data = chunk(contents)
    certificate, assertions = proved(data)
    assert certificate == x509.load_pem_x509_certificate(keys[0].read_bytes())
    opened, changed = assertions["c2pa.actions.v2"]["actions"]
    assert (opened["action"], changed["action"]) == ("c2pa.opened", "c2pa.edited")
    assert changed["digitalSourceType"] == SOURCE_TYPE
    assert changed["softwareAgent"]["name"] == "mien"
    ingredient = assertions["c2pa.ingredient.v3"]
    assert (ingredient["dc:title"], ingredient["relationship"]) == ("me.png", "parentOf")
    bound = assertions["c2pa.hash.data"]
    (gap,) = bound["exclusions"]
    assert (gap["start"], gap["length"]) == (begins, len(data) + 12)  # the chunk alone, so every pixel is signed for
    rest_of_file = contents[: gap["start"]] + contents[gap["start"] + gap["length"] :]
    assert bound["hash"] == hashlib.sha256(rest_of_file).digest()


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_format_carries_it_beside_the_mark_and_the_same_pixels(
    tmp_path: Path, signer: Signer, keys: tuple[Path, Path], suffix: str
) -> None:
    out = signed(tmp_path, signer, suffix)
    photo = read(tmp_path / "me.png")
    plain = write(photo, edited(photo), tmp_path / f"plain{suffix}")
    assert np.array_equal(read(out).rgb, read(plain).rgb)
    assert read_mark(out) == read_mark(plain) != {}
    assert 0 < out.stat().st_size - plain.stat().st_size < 8000  # no thumbnails
    assert store(out)["validation_state"] == "Valid"
    assert store(out, user_anchors=keys[0].read_text())["validation_state"] == "Trusted"
    about = inspect(out)["credentials"]
    assert (about["state"], about["signer"], about["originals"], about["problems"]) == (
        "valid",
        "ann, Example",
        ["me.png"],
        [],
    )
    assert about["actions"][0] == "opened"
    assert about["actions"][1].startswith("edited by mien ")
    assert about["actions"][1].endswith("(compositeWithTrainedAlgorithmicMedia)")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_one_changed_byte_of_the_pixels_is_told(tmp_path: Path, signer: Signer, suffix: str) -> None:
    out = signed(tmp_path, signer, suffix)
    contents = bytearray(out.read_bytes())
    at = {".jpg": len(contents) - 40, ".png": contents.rfind(b"IDAT") + 60, ".webp": contents.find(b"VP8") + 200}
    contents[at.get(suffix, 2000 if contents[1999:2001] != b"\0\0" else 2400)] ^= 1
    out.write_bytes(contents)
    about = inspect(out)
    assert about["credentials"]["state"] == "invalid"
    assert "assertion.dataHash.mismatch" in about["credentials"]["problems"]
    assert "does NOT hold: the picture was changed after signing" in told(about)


@pytest.mark.parametrize("needle", [b"me.png", b"c2pa.edited", b"Example"])
def test_a_changed_manifest_is_told(tmp_path: Path, signer: Signer, needle: bytes) -> None:
    out = signed(tmp_path, signer, ".tif")
    contents = bytearray(out.read_bytes())
    contents[contents.find(needle) + 1] ^= 1
    out.write_bytes(contents)
    assert inspect(out)["credentials"]["state"] in ("invalid", "unreadable")


def test_trust_is_what_the_list_says(
    tmp_path: Path, signer: Signer, keys: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    out = signed(tmp_path, signer)
    other, _ = made(tmp_path, "bob")
    assert run("inspect", out) == 0
    assert 'C2PA: holds; signed by "ann, Example", not checked against a list' in capsys.readouterr().out
    assert run("inspect", out, "--trust", keys[0]) == 0
    assert 'signed by "ann, Example", who is trusted' in capsys.readouterr().out
    assert run("inspect", out, "--trust", other) == 0
    assert "who is NOT on your list of trusted signers" in capsys.readouterr().out
    assert run("inspect", out, "--trust", out) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_the_originals_own_manifest_stays_a_part_of_the_history(tmp_path: Path, signer: Signer) -> None:
    first = signed(tmp_path, signer)
    photo = read(first)
    again = write(photo, edited(photo), tmp_path / "again.jpg", sign=signer)
    assert len(store(again)["manifests"]) == 2
    assert inspect(again)["credentials"]["originals"] == ["out.png"]


def test_a_copy_is_signed_as_opened_only(tmp_path: Path, signer: Signer) -> None:
    photo = read(source(tmp_path))
    out = write(photo, photo.rgb, tmp_path / "copy.png", sign=signer)
    assert inspect(out)["credentials"]["actions"] == ["opened"]


def test_pictures_from_memory_and_from_bmp_have_an_original_too(tmp_path: Path, signer: Signer) -> None:
    for photo in (Photo.from_array(np.zeros((9, 9, 3), np.uint8)), read(source(tmp_path, ".bmp"))):
        rgb = photo.rgb + np.uint8(9)
        about = inspect(write(photo, rgb, tmp_path / "out.png", overwrite=True, sign=signer))["credentials"]
        assert (about["state"], about["originals"]) == (
            "valid",
            [photo.path.name if photo.path else "a picture in memory"],
        )


def test_the_command_signs_and_keeps_the_key_to_itself(
    tmp_path: Path, keys: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    head = tmp_path / "head.jpg"
    Image.open(EXAMPLE).convert("RGB").crop((120, 10, 340, 270)).save(head)
    out = tmp_path / "out.webp"
    assert run("edit", head, "--to", "happiness", "-o", out, "--sign", keys[0], "--sign-key", keys[1]) == 0
    about = inspect(out)
    assert (about["edited"], about["by_mien"], about["credentials"]["state"]) == (True, True, "valid")
    told_by_key = keys[1].read_text().splitlines()[1]
    printed = capsys.readouterr()
    assert told_by_key not in printed.out + printed.err + repr(vars(Signer(*keys)))
    assert base64.b64decode("".join(keys[1].read_text().splitlines()[1:-1]))[30:60] not in out.read_bytes()
    assert (
        run("edit", head, "--to", "happiness", "-o", tmp_path / "o.bmp", "--sign", keys[0], "--sign-key", keys[1]) == 2
    )
    assert "BMP cannot carry a signature" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["head.jpg", "out.webp"]


def test_an_unfit_certificate_is_one_line_before_the_edit(
    tmp_path: Path, keys: tuple[Path, Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate, key = keys
    other = made(tmp_path, "bob")
    locked = tmp_path / "locked.pem"
    private = pem.load_pem_private_key(key.read_bytes(), None)
    locked.write_bytes(
        private.private_bytes(pem.Encoding.PEM, pem.PrivateFormat.PKCS8, pem.BestAvailableEncryption(b"secret"))
    )
    (tmp_path / "text.pem").write_text("no PEM")
    cases = {
        "not the private key": (certificate, other[1]),
        "an authority": made(tmp_path, "root", ca=True),
        "not today": made(tmp_path, "old", age=40),
        "is valid from": made(tmp_path, "early", age=-5),
        "emailProtection": made(tmp_path, "server", mail=False),
        "is encrypted": (certificate, locked),
        "holds no private key": (certificate, tmp_path / "text.pem"),
        "holds no certificate": (tmp_path / "text.pem", key),
        "not a file": (tmp_path, key),
        "a kind that C2PA does not know": made(tmp_path, "curve", key=ec.generate_private_key(ec.SECP256K1())),
    }
    monkeypatch.setattr("mien.commands.Editor", None)  # it is not reached
    out = tmp_path / "out.jpg"
    for text, (one, two) in cases.items():
        assert run("edit", EXAMPLE, "--to", "happiness", "-o", out, "--sign", one, "--sign-key", two) == 2
        line = capsys.readouterr().err
        assert (line.count("\n"), text in line, key.read_text().splitlines()[1] in line) == (1, True, False), line
        assert not out.exists()
    assert run("edit", EXAMPLE, "--to", "happiness", "--sign", certificate) == 2
    assert "--sign-key" in capsys.readouterr().err


@pytest.mark.parametrize("key", [ec.generate_private_key(ec.SECP384R1()), ed25519.Ed25519PrivateKey.generate()])
def test_other_keys_sign_too(tmp_path: Path, key: Any) -> None:
    assert inspect(signed(tmp_path, Signer(*made(tmp_path, key=key))))["credentials"]["state"] == "valid"


def test_a_key_as_openssl_used_to_write_it(tmp_path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    certificate, file = made(tmp_path, key=key)
    file.write_bytes(key.private_bytes(pem.Encoding.PEM, pem.PrivateFormat.TraditionalOpenSSL, pem.NoEncryption()))
    assert inspect(signed(tmp_path, Signer(certificate, file)))["credentials"]["state"] == "valid"


def test_the_commands_of_the_safety_page_make_a_certificate_that_signs(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "safety.md").read_text()
    command = page[page.index("openssl req") : page.index("```", page.index("openssl req"))]
    try:
        subprocess.run(["sh", "-c", command], cwd=tmp_path, check=True, capture_output=True)
    except subprocess.CalledProcessError as error:
        if b"not found" in error.stderr:
            pytest.skip("needs openssl")
        raise
    about = inspect(signed(tmp_path, Signer(tmp_path / "certificate.pem", tmp_path / "key.pem")))
    assert about["credentials"]["state"] == "valid"


def test_a_manifest_that_a_picture_points_to_is_not_fetched(tmp_path: Path, signer: Signer) -> None:
    asked = []

    class Server(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

        def log_message(self, *words: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Server) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/manifest.c2pa"
        rdf = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
        xmp = f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="{rdf}"><rdf:Description rdf:about="" '
        xmp += f'xmlns:dcterms="http://purl.org/dc/terms/" dcterms:provenance="{address}"/></rdf:RDF></x:xmpmeta>'
        path = tmp_path / "remote.jpg"
        Image.new("RGB", (64, 64)).save(path, xmp=xmp.encode())
        with pytest.raises(c2pa.C2paError):
            c2pa.Reader(str(path))
        assert asked == ["/manifest.c2pa"]  # c2pa alone would ask
        photo = read(path)
        out = write(photo, edited(photo), tmp_path / "out.jpg", sign=signer)
        assert inspect(out)["credentials"]["state"] == "valid"
        assert credentials.verify(path.read_bytes(), "JPEG") is not None
        assert len(asked) == 1
        server.shutdown()


def test_a_clip_signed_elsewhere_is_verified(tmp_path: Path, keys: tuple[Path, Path]) -> None:
    av = pytest.importorskip("av", reason='needs pip install "mien[video]"')
    plain, out = tmp_path / "plain.mp4", tmp_path / "out.mp4"
    with av.open(str(plain), "w") as file:
        stream = file.add_stream("mpeg4", 10)
        stream.width, stream.height = 64, 48
        for _ in range(3):
            file.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), format="rgb24")))
        file.mux(stream.encode())
    info = c2pa.C2paSignerInfo(c2pa.C2paSigningAlg.ES256, keys[0].read_bytes(), keys[1].read_bytes(), None)
    camera = SOURCE_TYPE.replace("compositeWithTrainedAlgorithmicMedia", "digitalCapture")
    action = {"action": "c2pa.created", "digitalSourceType": camera}
    created = {"label": "c2pa.actions.v2", "data": {"actions": [action]}}
    manifest = {"claim_generator_info": [{"name": "other"}], "assertions": [created]}
    with c2pa.Builder(json.dumps(manifest)) as builder, c2pa.Signer.from_info(info) as elsewhere:
        builder.sign_file(str(plain), str(out), elsewhere)
    assert inspect(plain)["credentials"] is None
    about = inspect(out)["credentials"]
    assert (about["state"], about["signer"], about["actions"]) == (
        "valid",
        "ann, Example",
        ["created (digitalCapture)"],
    )
    contents = bytearray(out.read_bytes())
    contents[contents.index(b"mdat") + 30] ^= 1
    out.write_bytes(contents)
    assert inspect(out)["credentials"]["state"] == "invalid"


def test_damaged_data_are_told(tmp_path: Path, signer: Signer) -> None:
    out = signed(tmp_path, signer, ".webp")
    contents = out.read_bytes()
    begins = contents.index(b"C2PA") + 8
    size = int.from_bytes(contents[begins - 4 : begins], "little")
    for at in range(begins, begins + size - 40, size // 20):
        out.write_bytes(contents[:at] + b"\xff" * 40 + contents[at + 40 :])
        about = inspect(out)
        assert about["credentials"] is not None
        if about["credentials"]["state"] == "valid":  # COSE keeps room beside the signature that nobody signs for
            assert not contents[at : at + 40].strip(b"\0")
        assert "C2PA: " in told(about)


def test_names_from_a_manifest_cannot_play_with_the_terminal(tmp_path: Path, keys: tuple[Path, Path]) -> None:
    photo = read(source(tmp_path).rename(tmp_path / "a\x1b[31mred\nC2PA: holds.png"))
    out = write(photo, edited(photo), tmp_path / "out.png", sign=Signer(*keys))
    text = told(inspect(out))
    assert "\x1b" not in text
    assert text.count("C2PA: ") == 2
    assert "\nC2PA: holds.png" not in text


def test_without_the_extra_it_is_one_line_and_inspect_says_as_much_as_it_can(
    tmp_path: Path, signer: Signer, keys: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = signed(tmp_path, signer)
    monkeypatch.setitem(sys.modules, "c2pa", None)
    with pytest.raises(MienError, match=r"mien\[c2pa\]"):
        Signer(*keys)
    with pytest.raises(MienError, match=r"mien\[c2pa\]"):
        inspect(out, keys[0])
    about = inspect(out)
    assert (about["c2pa"], about["credentials"]) == (True, None)
    assert "C2PA: present, not verified" in told(about)
