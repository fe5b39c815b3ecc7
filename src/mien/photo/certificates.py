"""The PEM files that a signature needs: a certificate, its private key, and whether they may sign today."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from mien.errors import MienError

_CURVES = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}
_LARGEST = 1_000_000  # bytes of a PEM file
_LONGEST = 200  # signs of a stranger's text that are told


def _contents(path: Path, what: str) -> bytes:
    try:
        if not path.is_file():
            raise MienError(f"{path} is not a file; name {what} as PEM")
        with path.open("rb") as file:
            return file.read(_LARGEST)
    except OSError as error:
        raise MienError(f"{path} cannot be read ({error.strerror}); check its permissions") from error


def certificates(path: Path) -> list[Any]:
    """The signer's certificate, then those who vouch for it. Raises MienError."""
    from cryptography import x509

    try:
        return list(x509.load_pem_x509_certificates(_contents(path, "a certificate")))
    except ValueError as error:
        raise MienError(f"{path} holds no certificate in PEM (-----BEGIN CERTIFICATE-----)") from error


def private_key(path: Path) -> Any:
    """An open private key. Raises MienError, whose text never quotes the file."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        return load_pem_private_key(_contents(path, "a private key"), None)
    except TypeError as error:
        raise MienError(f"{path} is encrypted; give an open key: openssl pkey -in {path} -out open.pem") from error
    except (ValueError, UnsupportedAlgorithm):  # their texts might quote the file
        raise MienError(f"{path} holds no private key in PEM (-----BEGIN PRIVATE KEY-----)") from None


def algorithm(private: Any, name: str) -> str:
    """C2PA's name of the way to sign with a key. Raises MienError where it knows none."""
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    if isinstance(private, ec.EllipticCurvePrivateKey) and private.curve.name in _CURVES:
        return _CURVES[private.curve.name]
    if isinstance(private, ed25519.Ed25519PrivateKey):
        return "ED25519"
    if isinstance(private, rsa.RSAPrivateKey):
        return "PS256"
    raise MienError(f"{name} is a key of a kind that C2PA does not know; make one with the curve P-256")


def check(certificate: Any, private: Any, name: str, key: str) -> None:
    """What c2pa would refuse without saying which."""
    from cryptography import x509
    from cryptography.exceptions import UnsupportedAlgorithm

    try:
        same = certificate.public_key() == private.public_key()
        constraints = [each.value for each in certificate.extensions if isinstance(each.value, x509.BasicConstraints)]
        begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    except (ValueError, UnsupportedAlgorithm, x509.DuplicateExtension) as error:
        raise MienError(f"{name} is a certificate of an odd kind ({plain(error)}); make another") from error
    if not same:
        raise MienError(f"{key} is not the private key of {name}; give the two that were made together")
    if any(each.ca for each in constraints):
        raise MienError(f"{name} is the certificate of an authority (CA); sign with one that it issued")
    if not begins <= datetime.now(timezone.utc) <= ends:
        raise MienError(f"{name} is valid from {begins:%Y-%m-%d} to {ends:%Y-%m-%d}, not today; get a fresh one")


def plain(text: object) -> str:
    """Printable, without double quotes, and of bounded length."""
    return str(MienError(str(text)[:_LONGEST])).replace('"', "'")
