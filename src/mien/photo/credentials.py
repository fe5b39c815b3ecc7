"""Content Credentials (C2PA) of pictures: a signed manifest that says what was done, by what, to which original.

Needs the extra ``c2pa``. Nothing goes to the network: no time-stamp server is asked, and a manifest that a picture
only points to is not fetched. A signature tells who vouches for the picture's history, and that nothing was changed
since; who that is, only a list of trusted signers tells.
"""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import datetime, timezone
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image

from mien import __version__
from mien.errors import MienError
from mien.photo.provenance import SOURCE_TYPE
from mien.photo.read import Photo

MEDIA = {
    **{"JPEG": "image/jpeg", "PNG": "image/png", "WEBP": "image/webp", "TIFF": "image/tiff"},
    **{"mp4": "video/mp4", "mov": "video/quicktime"},
}
_SETTINGS = {
    "builder": {"thumbnail": {"enabled": False}},
    "verify": {"remote_manifest_fetch": False, "ocsp_fetch": False},
}
_CURVES = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}
_LARGEST = 1_000_000  # bytes of a PEM file
_LONGEST, _MOST = 200, 20  # signs of a name, and names of a kind, that are told of a stranger's manifest


class Signer:
    """Signs written pictures in the name of a certificate's holder.

    certificate: a PEM file with the holder's certificate and those that vouch for it, if any, in this order.
    key: the PEM file of its private key, not encrypted: EC (P-256, P-384, P-521), Ed25519 or RSA.
    Raises MienError where these cannot be read, do not belong together, or may not sign a picture today.
    """

    def __init__(self, certificate: str | Path, key: str | Path) -> None:
        c2pa = _library()
        from cryptography.hazmat.primitives import serialization as pem

        certificates = _certificates(Path(certificate))
        private = _private_key(Path(key))
        _check(certificates[0], private, f"{certificate}", f"{key}")
        info = c2pa.C2paSignerInfo(
            alg=c2pa.C2paSigningAlg[_algorithm(private, f"{key}")],
            sign_cert=b"".join(each.public_bytes(pem.Encoding.PEM) for each in certificates),
            private_key=private.private_bytes(pem.Encoding.PEM, pem.PrivateFormat.PKCS8, pem.NoEncryption()),
            ta_url=None,
        )
        self._c2pa, self._context = c2pa, c2pa.Context.from_dict(_SETTINGS)
        try:
            self._signer = c2pa.Signer.from_info(info)
            dot, file = Image.new("RGB", (1, 1)), BytesIO()
            dot.save(file, "PNG")
            self._embed(file.getvalue(), "PNG", "dot.png", Photo.from_pil(dot), False)
        except c2pa.C2paError as error:
            raise MienError(
                f"{certificate} cannot sign pictures ({_plain(error)}): it needs the key usage digitalSignature, the "
                "extended key usage emailProtection and an authority key identifier; docs/safety.md makes one"
            ) from error

    def sign(self, contents: bytes, image_format: str, name: str, photo: Photo, changed: bool) -> bytes:
        """The file ``contents`` with a manifest: opened ``photo``, its parent, and edited it where ``changed``.

        image_format: as `format_of` gives it; MienError for BMP. name: of the file, without its folder; like the
        original's, it stands in the manifest. An original's own manifest is kept as a part of this one.
        """
        check_format(name, image_format)
        try:
            return self._embed(contents, image_format, name, photo, changed)
        except self._c2pa.C2paError as error:
            raise MienError(f"{name} cannot be signed ({_plain(error)}); edit it without --sign") from error

    def _embed(self, contents: bytes, image_format: str, name: str, photo: Photo, changed: bool) -> bytes:
        mien = {"name": "mien", "version": __version__}
        actions: list[dict[str, Any]] = [{"action": "c2pa.opened", "parameters": {"ingredientIds": ["original"]}}]
        if changed:
            actions.append({"action": "c2pa.edited", "digitalSourceType": SOURCE_TYPE, "softwareAgent": mien})
        assertions = [{"label": "c2pa.actions.v2", "data": {"actions": actions}}]
        manifest = {"title": name, "claim_generator_info": [mien], "assertions": assertions}
        title = photo.path.name if photo.path else "a picture in memory"
        media, source = MEDIA.get(photo.format or "", "image/bmp"), photo.source
        if source is None:
            media, source = "application/octet-stream", photo.rgb.tobytes()
        parent = {"title": title, "relationship": "parentOf", "label": "original"}
        with self._c2pa.Builder(json.dumps(manifest), self._context) as builder:
            builder.add_ingredient(json.dumps(parent), media, BytesIO(source))
            signed = BytesIO()
            builder.sign(self._signer, MEDIA[image_format], BytesIO(contents), signed)
        return signed.getvalue()


def check_format(name: str | Path, image_format: str) -> None:
    """MienError where the format has no place for a manifest."""
    if image_format not in MEDIA:
        raise MienError(f"{name}: {image_format} cannot carry a signature; write .jpg, .png, .webp or .tif")


def anchors(path: Path) -> str:
    """The certificates, PEM, of a list of trusted signers or of those who vouch for signers. Raises MienError."""
    _library()
    from cryptography.hazmat.primitives.serialization import Encoding

    return "".join(each.public_bytes(Encoding.PEM).decode() for each in _certificates(path))


def verify(contents: bytes, kind: str, trusted: str | None = None) -> dict[str, Any] | None:
    """What the manifest in a picture or MP4 says; None where the extra is missing. kind: a key of `MEDIA`.

    state: "trusted" (holds, and the signer is ``trusted`` or vouched for), "valid" (holds), "invalid" or "unreadable".
    checked: whether there was a list. signer, time, actions, originals: what it says, which proves nothing where it
    does not hold. problems: C2PA's codes of what does not hold.
    """
    try:
        c2pa = _library()
    except MienError:
        return None
    settings = _SETTINGS | ({"trust": {"user_anchors": trusted}} if trusted else {})
    about: dict[str, Any] = {"state": "unreadable", "checked": bool(trusted), "signer": None, "time": None}
    about |= {"actions": [], "originals": [], "problems": []}
    try:
        with (
            c2pa.Context.from_dict(settings) as context,
            c2pa.Reader(MEDIA[kind], BytesIO(contents), context=context) as reader,
        ):
            store = json.loads(reader.json())
    except (c2pa.C2paError, ValueError, KeyError) as error:
        return about | {"problems": [_plain(error)]}
    about["state"] = str(store.get("validation_state", "invalid")).lower()
    codes = [str(each.get("code")) for each in store.get("validation_status") or []]
    about["problems"] = [_plain(code) for code in codes if code != "signingCredential.untrusted"][:_MOST]
    with suppress(Exception):  # a stranger's manifest may have any shape
        manifest = store["manifests"][store["active_manifest"]]
        about["originals"] = [_plain(each.get("title")) for each in manifest.get("ingredients", ())][:_MOST]
        signature = manifest.get("signature_info", {})
        about["time"] = _plain(signature["time"]) if signature.get("time") else None
        names = dict.fromkeys(_plain(signature[key]) for key in ("common_name", "issuer") if signature.get(key))
        about["signer"] = ", ".join(names) or None
        about["actions"] = [text for each in manifest["assertions"] for text in _actions(each)][:_MOST]
    return about


def told(about: dict[str, Any]) -> str:
    """What `verify` gave, as lines to read."""
    signer = f'signed by "{about["signer"]}"' if about["signer"] else "its signer has no name"
    if about["state"] == "unreadable":
        return f"C2PA: present, but it cannot be read ({about['problems'][0]})"
    if about["state"] == "trusted":
        line = f"C2PA: holds; {signer}, who is trusted by your list of signers"
    elif about["state"] == "valid":
        listed = "who is NOT on your list" if about["checked"] else "not checked against a list"
        line = f"C2PA: holds; {signer}, {listed} of trusted signers"
    else:
        touched = any("ash.mismatch" in code for code in about["problems"])
        why = "the picture was changed after signing" if touched else "it is not valid"
        line = f"C2PA: does NOT hold: {why} ({', '.join(about['problems'])})"
    done, originals = (", ".join(f'"{text}"' for text in about[key]) for key in ("actions", "originals"))
    return f"{line}\nC2PA says: {done or 'nothing of what was done'}; from {originals or 'no named original'}"


def _library() -> Any:
    try:
        import c2pa
    except (ImportError, OSError) as error:  # OSError: its shared library does not load here
        raise MienError('content credentials need c2pa-python: pip install "mien[c2pa]"') from error
    return c2pa


def _contents(path: Path, what: str) -> bytes:
    try:
        if not path.is_file():
            raise MienError(f"{path} is not a file; name {what} as PEM")
        with path.open("rb") as file:
            return file.read(_LARGEST)
    except OSError as error:
        raise MienError(f"{path} cannot be read ({error.strerror}); check its permissions") from error


def _certificates(path: Path) -> list[Any]:
    from cryptography import x509

    try:
        return list(x509.load_pem_x509_certificates(_contents(path, "a certificate")))
    except ValueError as error:
        raise MienError(f"{path} holds no certificate in PEM (-----BEGIN CERTIFICATE-----)") from error


def _private_key(path: Path) -> Any:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        return load_pem_private_key(_contents(path, "a private key"), None)
    except TypeError as error:
        raise MienError(f"{path} is encrypted; give an open key: openssl pkey -in {path} -out open.pem") from error
    except (ValueError, UnsupportedAlgorithm):  # their texts might quote the file
        raise MienError(f"{path} holds no private key in PEM (-----BEGIN PRIVATE KEY-----)") from None


def _algorithm(private: Any, name: str) -> str:
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    if isinstance(private, ec.EllipticCurvePrivateKey) and private.curve.name in _CURVES:
        return _CURVES[private.curve.name]
    if isinstance(private, ed25519.Ed25519PrivateKey):
        return "ED25519"
    if isinstance(private, rsa.RSAPrivateKey):
        return "PS256"
    raise MienError(f"{name} is a key of a kind that C2PA does not know; make one with the curve P-256")


def _check(certificate: Any, private: Any, name: str, key: str) -> None:
    """What c2pa would refuse without saying which."""
    from cryptography import x509
    from cryptography.exceptions import UnsupportedAlgorithm

    try:
        same = certificate.public_key() == private.public_key()
        constraints = [each.value for each in certificate.extensions if isinstance(each.value, x509.BasicConstraints)]
        begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    except (ValueError, UnsupportedAlgorithm, x509.DuplicateExtension) as error:
        raise MienError(f"{name} is a certificate of an odd kind ({_plain(error)}); make another") from error
    if not same:
        raise MienError(f"{key} is not the private key of {name}; give the two that were made together")
    if any(each.ca for each in constraints):
        raise MienError(f"{name} is the certificate of an authority (CA); sign with one that it issued")
    if not begins <= datetime.now(timezone.utc) <= ends:
        raise MienError(f"{name} is valid from {begins:%Y-%m-%d} to {ends:%Y-%m-%d}, not today; get a fresh one")


def _actions(assertion: dict[str, Any]) -> list[str]:
    """ "edited by mien 0.1.0 (compositeWithTrainedAlgorithmicMedia)" and the like; none of another assertion."""
    texts = []
    if str(assertion["label"]).startswith("c2pa.actions"):
        for each in assertion["data"]["actions"]:
            agent, kind = each.get("softwareAgent"), str(each.get("digitalSourceType") or "").rpartition("/")[2]
            if isinstance(agent, dict):
                agent = " ".join(str(agent[key]) for key in ("name", "version") if agent.get(key))
            text = str(each["action"]).removeprefix("c2pa.")
            texts.append(_plain(text + (f" by {agent}" if agent else "") + (f" ({kind})" if kind else "")))
    return texts


def _plain(text: object) -> str:
    """Printable, without double quotes, and of bounded length."""
    return str(MienError(str(text)[:_LONGEST])).replace('"', "'")
