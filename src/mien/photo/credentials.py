"""Content Credentials (C2PA) of pictures and clips: a signed manifest of what was done, by what, to which original.

Needs the extra ``c2pa``. Nothing goes to the network: no time-stamp server is asked, and a manifest that a picture
only points to is not fetched. A signature tells who vouches for the picture's history, and that nothing was changed
since; who that is, only a list of trusted signers tells.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image

from mien import __version__
from mien.errors import MienError
from mien.photo.certificates import algorithm, certificates, check, plain, private_key
from mien.photo.provenance import SOURCE_TYPE
from mien.photo.read import Photo
from mien.video.kinds import container_of

MEDIA = {
    **{"JPEG": "image/jpeg", "PNG": "image/png", "WEBP": "image/webp", "TIFF": "image/tiff"},
    **{"mp4": "video/mp4", "mov": "video/quicktime"},
}
Seal = Callable[[Path, bool], None]
"""Signs a finished clip in place, given whether more was done than to copy it; once."""
_MAGIC = {
    b"\xff\xd8": "image/jpeg",
    b"\x89PNG": "image/png",
    b"II*\0": "image/tiff",
    b"MM\0*": "image/tiff",
    b"GIF8": "image/gif",
}
_SETTINGS = {
    "builder": {"thumbnail": {"enabled": False}},
    "verify": {"remote_manifest_fetch": False, "ocsp_fetch": False},
}
_TOOL = {"name": "mien", "version": __version__}
_EDITED = {"action": "c2pa.edited", "digitalSourceType": SOURCE_TYPE, "softwareAgent": _TOOL}
_MOST = 20  # names of a kind that are told of a stranger's manifest


class Signer:
    """Signs written pictures and clips in the name of a certificate's holder.

    certificate: a PEM file with the holder's certificate and those that vouch for it, if any, in this order.
    key: the PEM file of its private key, not encrypted: EC (P-256, P-384, P-521), Ed25519 or RSA.
    Raises MienError where these cannot be read, do not belong together, or may not sign a picture today.
    """

    def __init__(self, certificate: str | Path, key: str | Path) -> None:
        c2pa = _library()
        from cryptography.hazmat.primitives import serialization as pem

        chain = certificates(Path(certificate))
        private = private_key(Path(key))
        check(chain[0], private, f"{certificate}", f"{key}")
        info = c2pa.C2paSignerInfo(
            alg=c2pa.C2paSigningAlg[algorithm(private, f"{key}")],
            sign_cert=b"".join(each.public_bytes(pem.Encoding.PEM) for each in chain),
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
                f"{certificate} cannot sign pictures ({plain(error)}): it needs the key usage digitalSignature, the "
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
            raise MienError(f"{name} cannot be signed ({plain(error)}); edit it without --sign") from error

    def seal(self, path: Path, *sources: Path) -> Seal:
        """What will sign the clip ``path``, an MP4 or MOV, which is made of ``sources``, its parent first.

        It is made before the clip, since MienErrors come best before the work.
        """
        kind = container_of(path)
        check_format(path, kind)
        builder = self._builder(path.name)
        labels = ["original", *(f"input {number}" for number in range(1, len(sources)))]
        for label, source in zip(labels, sources, strict=True):
            about = {"title": source.name, "label": label}
            about["relationship"] = "parentOf" if label == "original" else "inputTo"
            try:
                with source.open("rb") as file:
                    media, _ = _media(file.read(12)), file.seek(0)
                    builder.add_ingredient(json.dumps(about), media, file)
            except (self._c2pa.C2paError, OSError) as error:
                raise MienError(f"{source} cannot be signed for ({plain(error)}); edit it without --sign") from error

        def sign(clip: Path, changed: bool) -> None:
            signed = clip.with_name(f"{clip.stem}-signed{clip.suffix}")
            try:
                if changed:
                    inputs = {"parameters": {"ingredientIds": labels[1:]}} if labels[1:] else {}
                    builder.add_action(_EDITED | inputs)
                with clip.open("rb") as unsigned, signed.open("w+b") as out:
                    builder.sign(self._signer, MEDIA[kind], unsigned, out)
                os.replace(signed, clip)
            except self._c2pa.C2paError as error:
                raise MienError(f"{path} cannot be signed ({plain(error)}); edit it without --sign") from error
            finally:
                signed.unlink(missing_ok=True)

        return sign

    def _builder(self, name: str) -> Any:
        """Of a manifest in which the ingredient "original" was opened."""
        opened = {"action": "c2pa.opened", "parameters": {"ingredientIds": ["original"]}}
        assertions = [{"label": "c2pa.actions.v2", "data": {"actions": [opened]}}]
        manifest = {"title": name, "claim_generator_info": [_TOOL], "assertions": assertions}
        return self._c2pa.Builder(json.dumps(manifest), self._context)

    def _embed(self, contents: bytes, image_format: str, name: str, photo: Photo, changed: bool) -> bytes:
        title = photo.path.name if photo.path else "a picture in memory"
        media, source = MEDIA.get(photo.format or "", "image/bmp"), photo.source
        if source is None:
            media, source = "application/octet-stream", photo.rgb.tobytes()
        parent = {"title": title, "relationship": "parentOf", "label": "original"}
        with self._builder(name) as builder:
            builder.add_ingredient(json.dumps(parent), media, BytesIO(source))
            if changed:
                builder.add_action(_EDITED)
            signed = BytesIO()
            builder.sign(self._signer, MEDIA[image_format], BytesIO(contents), signed)
        return signed.getvalue()


def check_format(name: str | Path, image_format: str) -> None:
    """MienError where the format has no place for a manifest."""
    if image_format not in MEDIA:
        ways = "a photograph as .jpg, .png, .webp or .tif, a clip as .mp4 or .mov"
        raise MienError(f"{name}: {image_format} cannot carry a signature; write {ways}")


def _media(head: bytes) -> str:
    """By a file's first 12 bytes; C2PA looks for a history of their own in those that it knows."""
    if head[4:8] == b"ftyp":
        return MEDIA["mov" if head[8:12] == b"qt  " else "mp4"]
    if head[:4] == b"RIFF":
        return {b"WEBP": "image/webp", b"AVI ": "video/avi"}.get(head[8:12], "application/octet-stream")
    return next((media for magic, media in _MAGIC.items() if head.startswith(magic)), "application/octet-stream")


def anchors(path: Path) -> str:
    """The certificates, PEM, of a list of trusted signers or of those who vouch for signers. Raises MienError."""
    _library()
    from cryptography.hazmat.primitives.serialization import Encoding

    return "".join(each.public_bytes(Encoding.PEM).decode() for each in certificates(path))


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
        return about | {"problems": [plain(error)]}
    about["state"] = str(store.get("validation_state", "invalid")).lower()
    codes = [str(each.get("code")) for each in store.get("validation_status") or []]
    about["problems"] = [plain(code) for code in codes if code != "signingCredential.untrusted"][:_MOST]
    with suppress(Exception):  # a stranger's manifest may have any shape
        manifest = store["manifests"][store["active_manifest"]]
        about["originals"] = [plain(each.get("title")) for each in manifest.get("ingredients", ())][:_MOST]
        signature = manifest.get("signature_info", {})
        about["time"] = plain(signature["time"]) if signature.get("time") else None
        names = dict.fromkeys(plain(signature[key]) for key in ("common_name", "issuer") if signature.get(key))
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


def _actions(assertion: dict[str, Any]) -> list[str]:
    """ "edited by mien 0.1.0 (compositeWithTrainedAlgorithmicMedia)" and the like; none of another assertion."""
    texts = []
    if str(assertion["label"]).startswith("c2pa.actions"):
        for each in assertion["data"]["actions"]:
            agent, kind = each.get("softwareAgent"), str(each.get("digitalSourceType") or "").rpartition("/")[2]
            if isinstance(agent, dict):
                agent = " ".join(str(agent[key]) for key in ("name", "version") if agent.get(key))
            text = str(each["action"]).removeprefix("c2pa.")
            texts.append(plain(text + (f" by {agent}" if agent else "") + (f" ({kind})" if kind else "")))
    return texts
