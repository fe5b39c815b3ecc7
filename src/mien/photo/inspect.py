"""What a picture or clip says about itself. Nothing is decoded or written; only a C2PA signature is verified."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

from PIL import ExifTags

from mien.errors import MienError
from mien.photo import credentials
from mien.photo.provenance import SOURCE_TYPE, read_mark
from mien.photo.read import open_header

_C2PA_BOX = bytes.fromhex("d8fec3d61b0e483c92975828877ec481")  # the uuid of C2PA's box in an MP4
_C2PA_TAG = 52545


def inspect(path: str | Path, trust: Path | None = None) -> dict[str, Any]:
    """What the file says: format, size, mode, frames, orientation, icc, c2pa, credentials, source_type, tool, edited,
    by_mien.

    c2pa: whether it carries such data. credentials: what these say and whether they hold, as `credentials.verify`
    gives it; None where there are none or the extra ``c2pa`` is missing. trust: a PEM file of trusted signers.
    edited: whether its IPTC DigitalSourceType says that a trained model took part; by_mien: whether that mark names
    mien. A clip is looked at for marks and C2PA only.
    Raises MienError where the file is neither.
    """
    path = Path(path)
    trusted = credentials.anchors(trust) if trust else None
    source, image = open_header(path)
    about: dict[str, Any] = {"file": str(path)}
    if image is None:
        if source[4:8] not in (b"ftyp", b"moov") and source[:4] not in (b"\x1a\x45\xdf\xa3", b"GIF8"):
            raise MienError(f"{path} is not a JPEG, PNG, WebP, TIFF, BMP, MP4, MOV, Matroska, WebM or GIF file")
        about |= {"format": path.suffix.lower().lstrip(".") or "clip", "c2pa": _C2PA_BOX in source}
    else:
        try:
            orientation = int(image.getexif().get(ExifTags.Base.Orientation, 1))
        except Exception:  # EXIF that cannot be parsed tells no orientation
            orientation = 1
        icc = image.info.get("icc_profile")
        about |= {
            "format": image.format,
            "size": list(image.size),
            "mode": image.mode,
            "frames": _count(image),
            "orientation": orientation,
            "icc": _profile(icc) if icc else None,
            "c2pa": _c2pa(source, str(image.format), image),
        }
    kind = image.format if image else "mov" if source[4:12] == b"ftypqt  " else "mp4"
    about["credentials"] = credentials.verify(source, str(kind), trusted) if about["c2pa"] else None
    mark = read_mark(path)
    about |= {"source_type": mark.get("source_type"), "tool": mark.get("tool")}
    about["edited"] = "rainedAlgorithmicMedia" in (mark.get("source_type") or "")
    about["by_mien"] = mark.get("source_type") == SOURCE_TYPE and (mark.get("tool") or "").startswith("mien")
    return about


def told(about: dict[str, Any]) -> str:
    """The same in lines to read."""
    size = "{} x {}, ".format(*about["size"]) if "size" in about else ""
    lines = [f"{about['file']!r}: {about['format']}, {size}{about.get('mode', 'a clip')}"]
    by = "by mien" if about["by_mien"] else f"by {about['tool']}" if about["tool"] else "by an unnamed tool"
    lines.append(f"edited: says so, {by}" if about["edited"] else "edited: no mark, which proves nothing")
    if about["source_type"] or about["tool"]:
        lines.append(f"source type: {about['source_type'] or 'none'}; tool: {about['tool'] or 'none'}")
    if about["credentials"]:
        lines.append(credentials.told(about["credentials"]))
    else:
        lines.append(f"C2PA: {'present, not verified' if about['c2pa'] else 'none'}")
    if "orientation" in about:
        lines.append(f"orientation: {about['orientation']}; ICC: {about['icc'] or 'none'}; pictures: {about['frames']}")
    return "\n".join(lines)


def _count(image: Any) -> int:
    try:
        return int(getattr(image, "n_frames", 1))
    except Exception:  # a TIFF whose next directory is damaged: up to there it has one
        return 1


def _profile(icc: bytes) -> str:
    return f"{len(icc)} bytes, {icc[16:20].decode('latin-1').strip() or 'unknown'}".replace("\n", " ")


def _c2pa(source: bytes, kind: str, image: Any) -> bool:
    """Where the format keeps it: JPEG APP11 segments, PNG's caBX and WebP's C2PA chunk, TIFF tag 52545."""
    if kind == "TIFF":
        return _C2PA_TAG in image.tag_v2
    if kind == "JPEG":
        return any(name == "APP11" and b"c2pa" in data for name, data in getattr(image, "applist", ()))
    layout, at, wanted = {"PNG": (">I4s", 8, b"caBX"), "WEBP": ("<4sI", 12, b"C2PA")}.get(kind, ("", 0, b""))
    while layout and at + 8 <= len(source):
        pair = struct.unpack_from(layout, source, at)
        name, size = pair if kind == "WEBP" else pair[::-1]
        if name == wanted:
            return True
        at += 8 + size + (size % 2 if kind == "WEBP" else 4)
    return False
