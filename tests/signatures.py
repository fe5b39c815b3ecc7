"""Certificates to sign with, and a reader of our own of what was signed: JUMBF boxes (ISO 19566-5) and just the CBOR
(RFC 8949) that manifests use."""

from __future__ import annotations

import hashlib
import struct
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives import serialization as pem
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID


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


def proved(store: bytes) -> tuple[x509.Certificate, dict[str, Any]]:
    """Of a store with one manifest: whose signature holds, and the assertions, each bound to the claim by its hash."""
    (kind, root), *rest = boxes(store)
    assert (kind, rest) == (b"jumb", [])
    (manifest,) = (each for label, each in tree(root).items() if label.startswith("urn:c2pa:"))
    claim, _ = cbor(manifest["c2pa.claim.v2"]["cbor"])
    assert claim["claim_generator_info"]["name"] == "mien"
    assertions = manifest["c2pa.assertions"]
    named = claim["created_assertions"] + claim.get("gathered_assertions", [])
    for each in named:
        assert each["hash"] == hashlib.sha256(assertions[each["url"].rpartition("/")[2]][""]).digest()
    assert {each["url"].rpartition("/")[2] for each in named} == set(assertions) - {""}
    protected, unprotected, _, signature = cbor(manifest["c2pa.signature"]["cbor"])[0]
    head, _ = cbor(protected)
    chain = head.get(33, unprotected.get("x5chain"))
    certificate = x509.load_der_x509_certificate(chain if isinstance(chain, bytes) else chain[0])
    body = b"\x84\x6aSignature1" + stringed(protected) + b"\x40" + stringed(manifest["c2pa.claim.v2"]["cbor"])
    r, s = (int.from_bytes(half, "big") for half in (signature[:32], signature[32:]))
    public = certificate.public_key()
    assert isinstance(public, ec.EllipticCurvePublicKey)
    public.verify(encode_dss_signature(r, s), body, ec.ECDSA(hashes.SHA256()))  # raises where it does not hold
    return certificate, {label: cbor(each["cbor"])[0] for label, each in assertions.items() if label}


def stringed(data: bytes) -> bytes:
    """A CBOR byte string."""
    return (b"\x58" + bytes([len(data)]) if len(data) < 256 else b"\x59" + struct.pack(">H", len(data))) + data
