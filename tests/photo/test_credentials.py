"""Signed pictures tell their history, and what was changed after signing shows; a parser of our own looks as well."""

from __future__ import annotations

import base64
import hashlib
import json
import struct
import subprocess
import sys
import threading
from datetime import datetime, timedelta, timezone
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
from cryptography.hazmat.primitives import hashes  # noqa: E402
from cryptography.hazmat.primitives import serialization as pem  # noqa: E402
from cryptography.hazmat.primitives.asymmetric import ec, ed25519  # noqa: E402
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID  # noqa: E402

EXAMPLE = Path(__file__).parents[2] / "examples" / "astronaut.png"
SUFFIXES = (".jpg", ".png", ".webp", ".tif")


def made(
    folder: Path,
    name: str = "ann",
    *,
    ca: bool = False,
    age: int = 1,
    days: int = 30,
    mail: bool = True,
    key: Any = None,
) -> tuple[Path, Path]:
    """A self-signed certificate and its key, as PEM files."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    holder = x509.Name(
        [x509.NameAttribute(NameOID.COMMON_NAME, name), x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Example")]
    )
    begins = datetime.now(timezone.utc) - timedelta(days=age)
    purpose = ExtendedKeyUsageOID.EMAIL_PROTECTION if mail else ExtendedKeyUsageOID.SERVER_AUTH
    certificate = (
        x509.CertificateBuilder()
        .subject_name(holder)
        .issuer_name(holder)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(begins + timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca, None), True)
        .add_extension(x509.KeyUsage(True, False, False, False, False, ca, False, False, False), True)
        .add_extension(x509.ExtendedKeyUsage([purpose]), False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), False)
        .sign(key, None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256())
    )
    files = folder / f"{name}.pem", folder / f"{name}-key.pem"
    files[0].write_bytes(certificate.public_bytes(pem.Encoding.PEM))
    files[1].write_bytes(key.private_bytes(pem.Encoding.PEM, pem.PrivateFormat.PKCS8, pem.NoEncryption()))
    return files


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


# A reader of our own: JUMBF boxes (ISO 19566-5) and just the CBOR (RFC 8949) that manifests use.


def cbor(data: bytes, at: int = 0) -> tuple[Any, int]:
    """The value at ``at`` and where it ends."""
    kind, size = data[at] >> 5, data[at] & 31
    at += 1
    if size >= 24 and kind != 7:
        width = 1 << (size - 24)
        size, at = int.from_bytes(data[at : at + width], "big"), at + width
    if kind in (0, 1):
        return (size if kind == 0 else -1 - size), at
    if kind in (2, 3):
        piece = data[at : at + size]
        return (piece if kind == 2 else piece.decode()), at + size
    if kind == 6:
        return cbor(data, at)
    if kind == 7:
        return {20: False, 21: True, 22: None}[size], at
    values = []
    for _ in range(size * (2 if kind == 5 else 1)):
        value, at = cbor(data, at)
        values.append(value)
    return (dict(zip(values[::2], values[1::2], strict=True)) if kind == 5 else values), at


def boxes(data: bytes) -> list[tuple[bytes, bytes]]:
    """Types and contents of the boxes in ``data``."""
    found, at = [], 0
    while at < len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        found.append((kind, data[at + 8 : at + size]))
        at += size
    return found


def tree(content: bytes) -> dict[str, Any]:
    """A superbox's content by label: further trees, or the bytes of a leaf; "" is the superbox's own bytes."""
    inner: dict[str, Any] = {"": content}
    for kind, data in boxes(content):
        if kind == b"jumb":
            described = boxes(data)[0][1]
            label = described[17 : described.index(b"\0", 17)].decode()
            inner[label] = tree(data)
        elif kind == b"cbor":
            inner["cbor"] = data
    return inner


def chunk(png: bytes) -> tuple[int, bytes]:
    """Where the PNG's chunk caBX begins, and its data."""
    at = 8
    while True:
        size, name = struct.unpack_from(">I4s", png, at)
        if name == b"caBX":
            return at, png[at + 8 : at + 8 + size]
        at += 12 + size


def test_a_plain_parse_finds_the_claim_the_hashes_and_the_signature_right(tmp_path: Path, signer: Signer) -> None:
    contents = signed(tmp_path, signer).read_bytes()
    begins, data = chunk(contents)
    (kind, root), *rest = boxes(data)
    assert (kind, rest) == (b"jumb", [])
    manifests = {label: each for label, each in tree(root).items() if label.startswith("urn:c2pa:")}
    (manifest,) = manifests.values()
    claim, _ = cbor(manifest["c2pa.claim.v2"]["cbor"])
    assert claim["claim_generator_info"]["name"] == "mien"
    assertions = manifest["c2pa.assertions"]
    named = claim["created_assertions"] + claim.get("gathered_assertions", [])
    for each in named:  # every assertion is bound to the claim by its hash
        assert each["hash"] == hashlib.sha256(assertions[each["url"].rpartition("/")[2]][""]).digest()
    assert {each["url"].rpartition("/")[2] for each in named} == set(assertions) - {""}
    actions, _ = cbor(assertions["c2pa.actions.v2"]["cbor"])
    opened, changed = actions["actions"]
    assert (opened["action"], changed["action"]) == ("c2pa.opened", "c2pa.edited")
    assert changed["digitalSourceType"] == SOURCE_TYPE
    assert changed["softwareAgent"]["name"] == "mien"
    ingredient, _ = cbor(assertions["c2pa.ingredient.v3"]["cbor"])
    assert (ingredient["dc:title"], ingredient["relationship"]) == ("me.png", "parentOf")
    bound, _ = cbor(assertions["c2pa.hash.data"]["cbor"])
    (gap,) = bound["exclusions"]
    assert (gap["start"], gap["length"]) == (begins, len(data) + 12)  # the chunk alone, so every pixel is signed for
    rest_of_file = contents[: gap["start"]] + contents[gap["start"] + gap["length"] :]
    assert bound["hash"] == hashlib.sha256(rest_of_file).digest()
    protected, unprotected, _, signature = cbor(manifest["c2pa.signature"]["cbor"])[0]
    head, _ = cbor(protected)
    chain = head.get(33, unprotected.get("x5chain"))
    certificate = x509.load_der_x509_certificate(chain if isinstance(chain, bytes) else chain[0])
    body = b"\x84\x6aSignature1" + stringed(protected) + b"\x40" + stringed(manifest["c2pa.claim.v2"]["cbor"])
    r, s = (int.from_bytes(half, "big") for half in (signature[:32], signature[32:]))
    from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

    public = certificate.public_key()
    assert isinstance(public, ec.EllipticCurvePublicKey)
    public.verify(encode_dss_signature(r, s), body, ec.ECDSA(hashes.SHA256()))  # raises where it does not hold


def stringed(data: bytes) -> bytes:
    """A CBOR byte string."""
    return (b"\x58" + bytes([len(data)]) if len(data) < 256 else b"\x59" + struct.pack(">H", len(data))) + data


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
    monkeypatch.setattr("mien.cli.Editor", None)  # it is not reached
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
