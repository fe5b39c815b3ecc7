"""Photographs in: one file becomes one `Photo`, with all that is needed to write it back in kind.

The plugin classes of Pillow are opened by the file's first bytes, not through `Image.open`: that one imposes a
process-wide limit on pixels (ours is per call), warns on stderr, and takes a phone's JPEG with a depth map for an
animation. Only these five classes can ever run, whatever the file calls itself.
"""

from __future__ import annotations

import re
import struct
import sys
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ExifTags, Image, ImageOps
from PIL.BmpImagePlugin import BmpImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile, get_sampling
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from mien.errors import MienError

MAX_PIXELS = 100_000_000
_MANY, _TIGHTEST = 20_000_000, 64  # of more pixels than this, no photograph packs so many into a byte
_LARGEST = 2_000_000_000  # bytes

_OPENERS: dict[bytes, type[ImageFile]] = {
    b"\xff\xd8\xff": JpegImageFile,
    b"\x89PNG\r\n\x1a\n": PngImageFile,
    b"RIFF": WebPImageFile,
    b"II*\0": TiffImageFile,
    b"MM\0*": TiffImageFile,
    b"II+\0": TiffImageFile,
    b"MM\0+": TiffImageFile,
    b"BM": BmpImageFile,
}
# Pillow's modes, and the mode that their pixels are kept in.
_NATIVE = {
    **{"1": "L", "L": "L", "LA": "LA", "La": "LA", "P": "RGB", "PA": "RGBA", "RGB": "RGB", "RGBX": "RGB"},
    **{"RGBA": "RGBA", "RGBa": "RGBA", "YCbCr": "RGB", "CMYK": "CMYK"},
}
# The tags that describe a photograph, as against those that lay out one TIFF file.
DESCRIPTIVE_TAGS = (270, 271, 272, 305, 306, 315, 18246, 33432, 34665, 34853, *range(40091, 40096))
_COLOUR_CHUNKS = (b"cHRM", b"gAMA", b"sRGB", b"cICP")


@dataclass(frozen=True, eq=False)
class Photo:
    """A still photograph.

    rgb: (H, W, 3) uint8, upright: what finder and model see. Alpha is left out, not composited.
    native: the same pixels as the file has them, upright: (H, W) for mode L, else (H, W, C); uint8 or uint16.
    mode: "L", "LA", "RGB", "RGBA" or "CMYK", the meaning of `native`'s channels. Palettes are expanded.
    format: "JPEG", "PNG", "WEBP", "TIFF", "BMP", or None when it came from memory.
    exif: with the orientation set to 1 and no thumbnail, since both describe the file and not the pixels here.
    encoding: how the file was encoded, in the words of `write`; only used for a file of the same format.
    source: the file itself, so that an unedited photograph can be handed back to the byte.
    """

    rgb: np.ndarray = field(repr=False)
    native: np.ndarray = field(repr=False)
    mode: str
    format: str | None = None
    path: Path | None = None
    icc: bytes | None = field(default=None, repr=False)
    exif: bytes | None = field(default=None, repr=False)
    xmp: bytes | None = field(default=None, repr=False)
    dpi: tuple[float, float] | None = None
    encoding: dict[str, Any] = field(default_factory=dict, repr=False)
    source: bytes | None = field(default=None, repr=False)

    @classmethod
    def from_array(cls, rgb: np.ndarray) -> Photo:
        """A photo of an (H, W, 3) uint8 array, which is copied. Raises MienError for any other array."""
        if (
            not isinstance(rgb, np.ndarray)
            or rgb.dtype != np.uint8
            or rgb.ndim != 3
            or rgb.shape[2] != 3
            or not rgb.size
        ):
            found = f"{rgb.dtype} {rgb.shape}" if isinstance(rgb, np.ndarray) else type(rgb).__name__
            raise MienError(f"a photograph in memory must be an (H, W, 3) uint8 array, not {found}; convert it first")
        return cls(rgb=rgb.copy(), native=rgb.copy(), mode="RGB")

    @classmethod
    def from_pil(cls, image: Image.Image) -> Photo:
        """A photo of a Pillow image, turned upright; raises MienError for a mode that photographs do not have."""
        image.load()
        metadata = _metadata(image)
        native, mode = _native(_upright(image), "the image")
        return cls(rgb=rgb_view(native, mode), native=native, mode=mode, **metadata)


def read(path: str | Path, max_pixels: int = MAX_PIXELS) -> Photo:
    """Read a JPEG, PNG, WebP, TIFF or BMP still. `max_pixels` is compared with the header, before any decoding.

    Of a phone's multi-picture JPEG (depth, gain map) the main picture is read. 16-bit gray and colour keep their
    depth. Raises MienError, and nothing else, for whatever is wrong with the file.
    """
    path = Path(path)
    source = _contents(path)
    opener = _opener(source)
    if opener is None:
        raise MienError(f"{path} is not a JPEG, PNG, WebP, TIFF or BMP picture; convert it to one of these")
    try:
        return _decode(opener, source, path, max_pixels)
    except MienError:
        raise
    except Image.DecompressionBombError as error:
        raise MienError(f"{path} has too many pixels to read safely; make it smaller first") from error
    except MemoryError as error:
        raise MienError(f"{path} needs more memory than there is; make it smaller first") from error
    except Exception as error:  # Pillow's parsers raise nearly every built-in exception for hostile files
        raise MienError(
            f"{path} is damaged, cut short or of an unusual kind; save it anew or get a fresh copy"
        ) from error


def open_header(path: Path) -> tuple[bytes, ImageFile | None]:
    """The file's bytes and its picture, not decoded; None where it is none of the five formats. Raises MienError."""
    source = _contents(path, anything=True)
    opener = _opener(source)
    try:
        return source, opener(BytesIO(source)) if opener else None
    except Exception as error:  # as in read
        raise MienError(f"{path} is damaged or cut short; get a fresh copy") from error


def rgb_view(native: np.ndarray, mode: str) -> np.ndarray:
    """(H, W, 3) uint8 of native pixels: alpha ignored, 16 bits rounded to 8, CMYK by Pillow's plain formula."""
    pixels = eight_bits(native)
    if mode == "CMYK":
        size = (pixels.shape[1], pixels.shape[0])
        return np.array(Image.frombytes("CMYK", size, pixels.tobytes()).convert("RGB"))
    if mode in ("L", "LA"):
        gray = pixels.reshape(*pixels.shape[:2], -1)[:, :, :1]
        return np.repeat(gray, 3, axis=2)
    return np.array(pixels[:, :, :3], order="C")


def eight_bits(pixels: np.ndarray) -> np.ndarray:
    """uint8 as it is; uint16 in [0, 65535] divided by 257 and rounded."""
    if pixels.dtype == np.uint8:
        return pixels
    return ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)


def check_size(path: Path, width: int, height: int, size: int, max_pixels: int) -> None:
    """MienError where a picture, or a clip's frame, has too many pixels, or more than ``size`` bytes can mean."""
    if width * height > max_pixels:
        raise MienError(
            f"{path} has {width} x {height} pixels, above the limit of {max_pixels / 1e6:g} million; "
            "make it smaller or raise the limit"
        )
    if width * height > max(_MANY, _TIGHTEST * size):
        raise MienError(
            f"{path} claims {width} x {height} pixels in {size} bytes, as no photograph does; make it smaller first"
        )


def _opener(source: bytes) -> type[ImageFile] | None:
    return next((opener for magic, opener in _OPENERS.items() if source.startswith(magic)), None)


def _contents(path: Path, anything: bool = False) -> bytes:
    try:
        if path.is_dir():
            raise MienError(f"{path} is a folder; name a photograph in it")
        if not path.exists():
            raise MienError(f"{path} does not exist; check the name")
        if not path.is_file():  # a pipe or a device could block or never end
            raise MienError(f"{path} is not a regular file; name a photograph")
        if path.stat().st_size > _LARGEST:
            raise MienError(f"{path} is larger than {_LARGEST // 10**9} GB; save it as a smaller picture")
        with path.open("rb") as file:
            head = file.read(8)
            source = head + file.read() if anything or _opener(head) else head  # what is no picture stays on the disk
    except (OSError, MemoryError) as error:
        reason = getattr(error, "strerror", None) or "it does not fit into memory"
        raise MienError(f"{path} cannot be read ({reason}); check its permissions and the disk") from error
    if not source:
        raise MienError(f"{path} is empty; get a fresh copy")
    return source


def _decode(opener: type[ImageFile], source: bytes, path: Path, max_pixels: int) -> Photo:
    image = opener(BytesIO(source))
    check_size(path, image.width, image.height, len(source), max_pixels)
    if getattr(image, "n_frames", 1) > 1:
        raise MienError(f"{path} has several pictures in it and mien edits stills; save one of them by itself")
    native, mode, metadata = _load(image, opener, source, path)
    return Photo(
        rgb=rgb_view(native, mode),
        native=native,
        mode=mode,
        format=image.format,
        path=path,
        encoding=_encoding(image, source),
        source=source,
        **metadata,
    )


def _load(
    image: ImageFile, opener: type[ImageFile], source: bytes, path: Path
) -> tuple[np.ndarray, str, dict[str, Any]]:
    """Native pixels, mode and metadata. Of 16-bit colour Pillow gives the high bytes: read the low ones, too."""
    gray_alpha = [str(tile.args) for tile in image.tile] == ["LA;16B"]
    low = None if "transparency" in image.info else _low_byte_tiles(image)
    if gray_alpha:  # as four bytes a pixel it is read whole
        image.tile = [image.tile[0]._replace(args="RGBA")]
    image.load()
    metadata = _metadata(image)
    upright = _upright(image, in_place=True)
    if gray_alpha:
        return np.ascontiguousarray(upright).view(">u2").astype(np.uint16), "LA", metadata
    native, mode = _native(upright, str(path))
    if low:
        again = opener(BytesIO(source))
        again.tile = low
        native = native.astype(np.uint16) << 8 | np.asarray(_upright(again))
    return native, mode, metadata


def _low_byte_tiles(image: ImageFile) -> list[Any] | None:
    """The tiles of a 16-bit colour image in the other byte order, which gives the low bytes; None for other images."""
    other = {"16B": "16L", "16L": "16B", "16N": "16B" if sys.byteorder == "little" else "16L"}
    tiles = []
    for tile in image.tile:
        args = tile.args if isinstance(tile.args, tuple) else (tile.args,)
        channels, _, order = str(args[0]).partition(";")
        if channels not in ("RGB", "RGBA", "RGBX", "CMYK") or order not in other:
            return None
        rawmode = f"{channels};{other[order]}"
        tiles.append(tile._replace(args=(rawmode, *args[1:]) if isinstance(tile.args, tuple) else rawmode))
    return tiles or None


def _native(image: Image.Image, name: str) -> tuple[np.ndarray, str]:
    if image.mode.startswith("I;16"):
        return np.asarray(image).astype(np.uint16), "L"
    mode = _NATIVE.get(image.mode)
    if mode is None:
        raise MienError(f"{name} has pixels of the kind {image.mode}; save it as 8- or 16-bit gray or RGB")
    if image.has_transparency_data:
        mode = {"L": "LA", "RGB": "RGBA"}.get(mode, mode)
    return np.array(image if image.mode == mode else image.convert(mode)), mode


def _upright(image: Image.Image, in_place: bool = False) -> Image.Image:
    image.load()  # out here: what is wrong with the pixels must be told
    try:
        if not in_place:
            return ImageOps.exif_transpose(image)
        ImageOps.exif_transpose(image, in_place=True)  # a copy of a large photograph would not fit
    except Exception:  # EXIF that cannot be parsed tells no orientation; the pixels are still good
        pass
    return image


def _metadata(image: Image.Image) -> dict[str, Any]:
    """ICC, EXIF, XMP and resolution of a loaded image that is not yet turned upright."""
    xmp = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp") or None
    xmp = xmp.encode() if isinstance(xmp, str) else xmp
    dpi = image.info.get("dpi") or (0, 0)
    return {
        "icc": image.info.get("icc_profile") or None,
        "exif": _exif(image),
        # Some readers believe an orientation in the XMP, too.
        "xmp": re.sub(rb"""(tiff:Orientation(?:=["']|>))[0-9]""", rb"\g<1>1", xmp) if xmp else None,
        "dpi": (float(dpi[0]), float(dpi[1])) if all(1 <= float(value) < 65535 for value in dpi) else None,
    }


def _exif(image: Image.Image) -> bytes | None:
    raw = image.info.get("exif")
    if isinstance(raw, bytes):
        return _upright_exif(raw)
    try:  # TIFF has its EXIF spread among its own tags
        found, kept = image.getexif(), Image.Exif()
        for tag in DESCRIPTIVE_TAGS:
            if tag in found:
                kept[tag] = found.get_ifd(tag) if tag in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo) else found[tag]
        return kept.tobytes() if len(kept) else None
    except Exception:  # as in _upright: what cannot be parsed cannot be kept
        return None


def _upright_exif(exif: bytes) -> bytes | None:
    """The same bytes with orientation 1 and the thumbnail blanked; None where they cannot be parsed.

    Patched in place, since writing EXIF anew moves the maker notes and breaks the offsets inside them.
    """
    body = bytearray(exif.removeprefix(b"Exif\0\0"))
    try:
        order = {b"II": "<", b"MM": ">"}[bytes(body[:2])]
        (first,) = struct.unpack_from(order + "I", body, 4)
        after = _set_tags(body, order, first, {ExifTags.Base.Orientation: 1})[0]
        if after + 4 <= len(body):
            (second,) = struct.unpack_from(order + "I", body, after)
            struct.pack_into(order + "I", body, after, 0)
            values = _set_tags(body, order, second, {})[1] if second else {}
            start = values.get(ExifTags.Base.JpegIFOffset, 0)
            end = min(start + values.get(ExifTags.Base.JpegIFByteCount, 0), len(body))
            if after < start < end:
                body[start:end] = bytes(end - start)
    except (KeyError, struct.error):
        return None
    return b"Exif\0\0" + bytes(body)


def _set_tags(body: bytearray, order: str, at: int, wanted: dict[int, int]) -> tuple[int, dict[int, int]]:
    """Set the integer tags of the directory at `at`; gives where it ends, and the values that it had."""
    (count,) = struct.unpack_from(order + "H", body, at)
    values = {}
    for entry in range(at + 2, at + 2 + 12 * count, 12):
        tag, kind = struct.unpack_from(order + "HH", body, entry)
        code = {1: "B", 3: "H", 4: "I"}.get(kind)
        if code:
            (values[tag],) = struct.unpack_from(order + code, body, entry + 8)
            if tag in wanted:
                struct.pack_into(order + code, body, entry + 8, wanted[tag])
    return at + 2 + 12 * count, values


def _encoding(image: ImageFile, source: bytes) -> dict[str, Any]:
    """What `write` needs to encode a file of the same format in the same way."""
    if isinstance(image, JpegImageFile):
        tables = [list(image.quantization[key]) for key in sorted(image.quantization)]
        kept = {"qtables": tables, "subsampling": max(get_sampling(image), 0)} if tables else {}
        return {**kept, "progressive": bool(image.info.get("progressive")), "comment": image.info.get("comment", b"")}
    if isinstance(image, WebPImageFile):
        return {"lossless": any(name == b"VP8L" for name, _ in _chunks(source, 12, "<4sI"))}
    if isinstance(image, TiffImageFile):
        return {"compress": image.info.get("compression", "raw") != "raw"}
    if isinstance(image, PngImageFile):
        chunks = [(name, data) for name, data in _chunks(source, 8, ">I4s") if name in _COLOUR_CHUNKS]
        text = {key: value for key, value in image.text.items() if not key.startswith(("XML:", "Raw profile type"))}
        return {"chunks": chunks, "text": text}
    return {}


def _chunks(source: bytes, at: int, head: str) -> list[tuple[bytes, bytes]]:
    """Names and contents of the chunks of a PNG (length, name, data, checksum) or RIFF (name, length, data, pad)."""
    found = []
    while at + 8 <= len(source):
        first, second = struct.unpack_from(head, source, at)
        name, size = (first, second) if head.startswith("<") else (second, first)
        found.append((name, source[at + 8 : at + 8 + size] if name in _COLOUR_CHUNKS else b""))
        at += 8 + size + (size % 2 if head.startswith("<") else 4)
    return found
