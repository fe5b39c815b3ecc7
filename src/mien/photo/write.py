"""Photographs out: the edit is carried into the file's own kind of pixels and written aside, then renamed.

What a format cannot hold is converted: alpha is flattened on white for JPEG and BMP, 16 bits become 8 for JPEG, WebP
and BMP, CMYK becomes RGB for PNG, WebP and BMP, gray becomes RGB for WebP, 16-bit gray with alpha becomes RGB with
alpha for TIFF. An ICC profile stays as long as the colour model does. The one alpha that is lost is a 16-bit PNG gray
that is declared transparent as a value.
"""

from __future__ import annotations

import os
import secrets
import struct
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import metadata
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ExifTags, Image
from PIL.PngImagePlugin import PngInfo
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from mien.errors import MienError
from mien.photo import provenance
from mien.photo.credentials import Signer, check_format
from mien.photo.read import DESCRIPTIVE_TAGS, Photo, eight_bits

SUFFIXES = {
    **{".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG", ".webp": "WEBP"},
    **{".tif": "TIFF", ".tiff": "TIFF", ".bmp": "BMP"},
}
_MODES = {
    "JPEG": ("L", "RGB", "CMYK"),
    "PNG": ("L", "LA", "RGB", "RGBA"),
    "WEBP": ("RGB", "RGBA"),
    "TIFF": ("L", "LA", "RGB", "RGBA", "CMYK"),
    "BMP": ("L", "RGB"),
}
_LONGEST_SIDE = {"JPEG": 65500, "WEBP": 16383}
_JPEG_SEGMENT = 65533  # bytes that one metadata segment holds
_XMP_NAME = 29  # of these, the name in front of XMP takes
_DEFLATE = 4  # of 12-megapixel photographs: as small as level 6 and five times as fast
_LUMA = np.array([0.299, 0.587, 0.114])


def write(
    photo: Photo,
    edited_rgb: np.ndarray,
    path: str | Path,
    *,
    overwrite: bool = False,
    mark: bool = True,
    tool: str | None = None,
    sign: Signer | None = None,
) -> Path:
    """Write `photo` with the pixels of `edited_rgb`, (H, W, 3) uint8, in the format that the suffix of `path` names.

    A pixel that equals `photo.rgb` keeps its native value. With no pixel changed and the format the same, the file is
    a copy of the source, to the byte; a changed picture says so in its XMP (`provenance`), unless `mark` is False.
    `tool` is the name in that mark, by default "mien" and its version. `sign` adds a signed manifest (`credentials`),
    to a copy too. Raises MienError.
    """
    path = Path(path)
    image_format = format_of(path)
    if sign:
        check_format(path, image_format)
    if edited_rgb.shape != photo.rgb.shape or edited_rgb.dtype != np.uint8:
        found = f"{edited_rgb.dtype} {edited_rgb.shape}"
        raise MienError(
            f"the edited picture is {found}, not uint8 {photo.rgb.shape}; edit at the photograph's own size"
        )
    longest = max(photo.rgb.shape)
    if longest > _LONGEST_SIDE.get(image_format, longest):
        raise MienError(f"{path}: {longest} pixels is too long a side for {image_format}; write .png or .tif")
    differs = edited_rgb != photo.rgb
    changed = differs[..., 0] | differs[..., 1] | differs[..., 2]  # any(axis=2) takes nine times as long
    with write_aside(path, overwrite) as aside:
        if photo.source is not None and image_format == photo.format and not changed.any():
            contents = photo.source
        else:
            native = carry(photo, edited_rgb, changed)
            pixels, mode = _fit(native, photo.mode, edited_rgb, image_format)
            kept = _kept(photo, mode, image_format, (tool or _this_tool()) if mark and changed.any() else None)
            how = photo.encoding if image_format == photo.format else {}
            contents = _ENCODERS[image_format](pixels, mode, kept, how)
        if sign:
            contents = sign.sign(contents, image_format, path.name, photo, bool(changed.any()))
        aside.write_bytes(contents)
    return path


def format_of(path: str | Path) -> str:
    """ "JPEG", "PNG", "WEBP", "TIFF" or "BMP" by the suffix in any case; MienError for another."""
    suffix = Path(path).suffix
    if suffix.lower() not in SUFFIXES:
        raise MienError(f"{path}: mien does not write {suffix or 'a name without a suffix'}; use {', '.join(SUFFIXES)}")
    return SUFFIXES[suffix.lower()]


@contextmanager
def write_aside(path: str | Path, overwrite: bool = False, folder: Path | None = None) -> Iterator[Path]:
    """Yields an empty file beside `path`, with its suffix, that takes its name when the block ends without an error.

    However the block ends, nothing else is left behind. An existing file is replaced only if `overwrite`, even when
    it appears while the block runs. OSError, from the block too, becomes MienError. folder: another one, on the same
    disk, for the file while it is written.
    """
    path = Path(path)
    aside = (folder or path.parent) / f".mien-{secrets.token_hex(8)}{path.suffix}"
    try:
        if path.is_dir():
            raise MienError(f"{path} is a folder; name a file in it")
        if not path.parent.is_dir():
            raise MienError(f"the folder {path.parent} does not exist; make it first")
        if not overwrite and os.path.lexists(path):
            raise FileExistsError
        aside.touch(exist_ok=False)  # unlike tempfile's, with the permissions that the umask asks for
        yield aside
        with aside.open("rb+") as file:
            os.fsync(file.fileno())
        _take_name(aside, path, overwrite)
    except FileExistsError as error:
        raise MienError(f"{path} exists; give --overwrite or another -o") from error
    except OSError as error:
        raise MienError(f"{path} cannot be written ({error.strerror or error}); choose another place") from error
    finally:
        with suppress(OSError):
            aside.unlink()


def _take_name(aside: Path, path: Path, overwrite: bool) -> None:
    if overwrite:
        os.replace(aside, path)
        return
    try:
        os.link(aside, path)  # unlike a rename, it fails where another was faster
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links: claim the name first
        os.close(os.open(path, os.O_CREAT | os.O_EXCL))
        os.replace(aside, path)


def carry(photo: Photo, edited_rgb: np.ndarray, changed: np.ndarray) -> np.ndarray:
    """`photo.native` with the difference of `edited_rgb` to `photo.rgb` added where `changed`, (H, W) bool.

    Adding the difference, instead of putting the new value, keeps the low bits of 16-bit pixels. Alpha stays.
    """
    if photo.mode == "RGB" and photo.native.dtype == np.uint8:
        return edited_rgb
    native = photo.native.copy()
    pixels = native[changed]
    if photo.mode == "CMYK":
        native[changed] = _ink(pixels, edited_rgb[changed])
        return native
    top = np.iinfo(native.dtype).max
    difference = (edited_rgb[changed].astype(np.float64) - photo.rgb[changed]) * (top // 255)
    if photo.mode == "L":
        native[changed] = np.clip(np.rint(pixels + difference @ _LUMA), 0, top)
    elif photo.mode == "LA":
        pixels[:, 0] = np.clip(np.rint(pixels[:, 0] + difference @ _LUMA), 0, top)
        native[changed] = pixels
    else:
        pixels[:, :3] = np.clip(pixels[:, :3] + difference, 0, top)
        native[changed] = pixels
    return native


def _ink(cmyk: np.ndarray, rgb: np.ndarray) -> np.ndarray:
    """(N, 4) ink that shows as `rgb`, (N, 3) uint8, with as much of the old black as it allows (r = (1-c)(1-k))."""
    top = np.iinfo(cmyk.dtype).max
    light = rgb / 255.0
    black = np.minimum(cmyk[:, 3:] / top, 1 - light.max(axis=1, keepdims=True))
    colour = 1 - light / np.maximum(1 - black, 1e-9)
    colour[black[:, 0] >= 1] = 0
    return np.rint(np.clip(np.concatenate([colour, black], axis=1), 0, 1) * top).astype(cmyk.dtype)


def _fit(native: np.ndarray, mode: str, rgb: np.ndarray, image_format: str) -> tuple[np.ndarray, str]:
    """Pixels and mode that the format can hold."""
    modes = _MODES[image_format]
    if mode == "CMYK" and mode not in modes:
        return rgb, "RGB"
    pixels = native if image_format in ("PNG", "TIFF") else eight_bits(native)
    if mode == "L" and mode not in modes:
        return np.repeat(pixels[:, :, None], 3, axis=2), "RGB"
    # Of 16-bit TIFF, gray with alpha is the kind that Pillow could not read again.
    if mode == "LA" and (image_format == "WEBP" or (image_format == "TIFF" and pixels.dtype == np.uint16)):
        return pixels[:, :, [0, 0, 0, 1]], "RGBA"
    if mode in ("LA", "RGBA") and mode not in modes:
        alpha = pixels[:, :, -1:].astype(np.float32) / 255
        flat = np.rint(pixels[:, :, :-1] * alpha + 255 * (1 - alpha)).astype(np.uint8)
        return (flat[:, :, 0], "L") if mode == "LA" else (flat, "RGB")
    return pixels, mode


def _kept(photo: Photo, mode: str, image_format: str, tool: str | None) -> dict[str, Any]:
    """The metadata that the file can hold, in Pillow's words; marked where there is a `tool`.

    A JPEG segment ends at 64 kB. Of too large an XMP packet only the mark is written, too large an EXIF is left out.
    """
    xmp, exif, room = photo.xmp, photo.exif, _JPEG_SEGMENT if image_format == "JPEG" else sys.maxsize
    if tool:
        xmp = provenance.mark(xmp, tool)
        if len(xmp) > room - _XMP_NAME:
            xmp = provenance.mark(None, tool)
    kept: dict[str, Any] = {"dpi": photo.dpi}
    kept["icc_profile"] = photo.icc if mode.rstrip("A") == photo.mode.rstrip("A") else None
    kept["exif"] = exif if len(exif or b"") <= room else None
    kept["xmp"] = xmp if len(xmp or b"") <= room - _XMP_NAME else None
    return {key: value for key, value in kept.items() if value}


def _pillow(pixels: np.ndarray, mode: str, image_format: str, **options: Any) -> bytes:
    size = (pixels.shape[1], pixels.shape[0])
    file = BytesIO()
    image = Image.frombuffer(mode, size, np.ascontiguousarray(pixels), "raw", mode, 0, 1)
    image.save(file, image_format, **options)
    return file.getvalue()


def _jpeg(pixels: np.ndarray, mode: str, kept: dict[str, Any], how: dict[str, Any]) -> bytes:
    fine = {} if "qtables" in how else {"quality": 95, "subsampling": 0}  # a quality would scale the tables
    return _pillow(pixels, mode, "JPEG", **fine, **how, **kept)


def _webp(pixels: np.ndarray, mode: str, kept: dict[str, Any], how: dict[str, Any]) -> bytes:
    options = {key: value for key, value in kept.items() if key != "dpi"}
    return _pillow(pixels, mode, "WEBP", quality=95, exact=True, **how, **options)  # exact: colour under alpha stays


def _bmp(pixels: np.ndarray, mode: str, kept: dict[str, Any], how: dict[str, Any]) -> bytes:
    return _pillow(pixels, mode, "BMP", **{key: value for key, value in kept.items() if key == "dpi"})


def _png(pixels: np.ndarray, mode: str, kept: dict[str, Any], how: dict[str, Any]) -> bytes:
    info = PngInfo()
    for name, data in how.get("chunks", ()):
        info.add(name, data)
    for key, text in how.get("text", {}).items():
        info.add_text(key, text)
    if "xmp" in kept:
        info.add_itxt("XML:com.adobe.xmp", kept["xmp"].decode("utf-8", "replace"))
    options = {key: value for key, value in kept.items() if key != "xmp"} | {
        "pnginfo": info,
        "compress_level": _DEFLATE,
    }
    if pixels.dtype == np.uint8:
        return _pillow(pixels, mode, "PNG", **options)
    return _deep_png(pixels, mode, _pillow(np.zeros((1, 1), np.uint8), "L", "PNG", **options))


def _deep_png(pixels: np.ndarray, mode: str, shell: bytes) -> bytes:
    """A 16-bit PNG, which Pillow writes for gray only: `shell` is a PNG whose size and pixels are put in its place."""
    height, width = pixels.shape[:2]
    rows = np.ascontiguousarray(pixels.astype(">u2").reshape(height, -1)).view(np.uint8)
    upward = np.full((height, 1 + rows.shape[1]), 2, np.uint8)  # each row begins with its filter: 2, the row above
    upward[:, 1:] = np.diff(rows, axis=0, prepend=np.zeros_like(rows[:1]))
    colour = {"L": 0, "RGB": 2, "LA": 4, "RGBA": 6}[mode]
    replaced = {
        b"IHDR": struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, 0),
        b"IDAT": zlib.compress(upward.tobytes(), _DEFLATE),
    }
    parts, at = [shell[:8]], 8
    while at < len(shell):
        size, name = struct.unpack_from(">I4s", shell, at)
        data = replaced.get(name, shell[at + 8 : at + 8 + size])
        parts += [struct.pack(">I", len(data)), name, data, struct.pack(">I", zlib.crc32(data, zlib.crc32(name)))]
        at += 12 + size
    return b"".join(parts)


def _tiff(pixels: np.ndarray, mode: str, kept: dict[str, Any], how: dict[str, Any]) -> bytes:
    """One strip, uncompressed like its source or else deflated: Pillow's own writer drops 16-bit colour, and fails to
    compress a file that has an EXIF directory."""
    height, width = pixels.shape[:2]
    samples = pixels.astype(pixels.dtype.newbyteorder("<")).reshape(height, width, -1)
    tags = ImageFileDirectory_v2(prefix=b"II")
    compress = how.get("compress", True)
    if compress:
        samples = np.diff(samples, axis=1, prepend=np.zeros_like(samples[:, :1]))
        tags[317] = 2  # predictor: difference to the pixel on the left
    data = zlib.compress(samples.tobytes(), _DEFLATE) if compress else samples.tobytes()
    tags[256], tags[257], tags[258] = width, height, (8 * pixels.itemsize,) * samples.shape[2]
    tags[259], tags[277], tags[284] = 8 if compress else 1, samples.shape[2], 1
    tags[262] = {"L": 1, "LA": 1, "RGB": 2, "RGBA": 2, "CMYK": 5}[mode]
    tags[273], tags[278], tags[279] = 0, height, len(data)
    if mode.endswith("A"):
        tags[338] = 2  # alpha that the colours are not multiplied with
    if "dpi" in kept:
        tags[296], (tags[282], tags[283]) = 2, kept["dpi"]
    for number, name in ((34675, "icc_profile"), (700, "xmp")):
        if name in kept:
            tags[number] = kept[name]
    for number, value in _exif_tags(kept.get("exif")).items():
        tags[number] = value
    file = BytesIO()
    tags.save(file)
    return file.getvalue() + data


def _exif_tags(exif: bytes | None) -> dict[int, Any]:
    """The descriptive tags that can be written, one by one: a camera's odd value must not cost the picture."""
    tags: dict[int, Any] = {}
    found = Image.Exif()
    with suppress(Exception):
        found.load(exif or b"")
    for number in DESCRIPTIVE_TAGS:
        with suppress(Exception):
            value = found[number]
            if number in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo):
                value = {key: v for key, v in found.get_ifd(number).items() if key != ExifTags.IFD.Interop}
            trial = ImageFileDirectory_v2(prefix=b"II")
            trial[number] = value
            trial.tobytes()
            tags[number] = value
    return tags


def _this_tool() -> str:
    try:
        return f"mien {metadata.version('mien')}"
    except metadata.PackageNotFoundError:  # run from a checkout that is not installed
        return "mien"


_ENCODERS = {"JPEG": _jpeg, "PNG": _png, "WEBP": _webp, "TIFF": _tiff, "BMP": _bmp}
