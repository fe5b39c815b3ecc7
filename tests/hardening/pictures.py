"""Bad and odd pictures, made here: what each is called, its bytes, and whether it must be read or refused."""

from __future__ import annotations

import gzip
import io
import struct
import zipfile
import zlib
from collections.abc import Iterator

import numpy as np
from PIL import Image, ImageCms, PngImagePlugin, TiffImagePlugin

READ, REFUSED, EITHER = "read", "refused", "either"
Case = tuple[str, bytes, str]


def smooth(height: int = 20, width: int = 30, channels: int = 3) -> np.ndarray:
    """(H, W, C) uint8, all slopes."""
    y, x = np.mgrid[:height, :width]
    return np.stack([4 * x, 6 * y, 2 * x + 3 * y, 255 - 9 * y][:channels], axis=2).astype(np.uint8)


def saved(kind: str, image: Image.Image | None = None, **options: object) -> bytes:
    file = io.BytesIO()
    (image or Image.fromarray(smooth())).save(file, kind, **options)
    return file.getvalue()


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(width: int, height: int, data: bytes = b"", depth: int = 8, colour: int = 2, *more: bytes) -> bytes:
    """A PNG of these parts, which need not fit each other."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(more) + chunk(b"IDAT", zlib.compress(data, 1)) + chunk(b"IEND", b"")


def tiff(tags: dict[int, object], data: bytes, order: str = "II") -> bytes:
    """An uncompressed TIFF with one strip and these tags."""
    directory = TiffImagePlugin.ImageFileDirectory_v2(prefix=order.encode())
    for tag, value in {259: 1, 273: 0, 277: 3, 278: 20, 279: len(data), 284: 1, **tags}.items():
        directory[tag] = value
    file = io.BytesIO()
    directory.save(file)
    return file.getvalue() + data


def exif(entries: bytes, count: int, after: int = 0, first: int = 8) -> bytes:
    return b"Exif\0\0II*\0" + struct.pack("<IH", first, count) + entries + struct.pack("<I", after)


def with_segment(marker: int, data: bytes) -> bytes:
    """A JPEG with one more segment at its front, of which the length may lie."""
    whole = saved("JPEG")
    return whole[:2] + struct.pack(">BBH", 255, marker, min(len(data) + 2, 65535)) + data + whole[2:]


def cut() -> Iterator[Case]:
    """Every format, truncated at every tenth byte. (What lacks only its end mark may be read.)"""
    small = Image.fromarray(smooth(8, 8))
    for kind in ("JPEG", "PNG", "WEBP", "TIFF", "BMP"):
        whole = saved(kind, small)
        for end in range(0, len(whole), 10):
            yield f"cut-{kind.lower()}-{end}", whole[:end], EITHER if end > len(whole) - 20 else REFUSED


def bombs() -> Iterator[Case]:
    """Little on the disk, much in memory."""
    yield "huge.png", png(2**31 - 1, 2**31 - 1), REFUSED
    yield "large-of-nothing.png", png(50_000, 50_000, bytes(100)), REFUSED
    yield "below-the-limit.png", png(9999, 9999, bytes(1000)), REFUSED
    yield "flat-100-megapixels.png", png(9999, 9999, bytes(9999 * (1 + 9999 * 3))), REFUSED
    text = chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(60_000_000), 1))
    yield "text-bomb.png", png(2, 2, bytes(14), 8, 2, text), EITHER
    profile = chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(60_000_000), 1))
    yield "icc-bomb.png", png(2, 2, bytes(14), 8, 2, profile), EITHER
    yield "pixels-beyond-the-size.png", png(2, 2, bytes(60_000_000)), EITHER
    xmp = chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + b"<" * 1_000_000)
    yield "xmp-of-junk.png", png(2, 2, bytes(14), 8, 2, xmp), READ
    elements = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'>" + b"<a/>" * 5_000_000 + b"</x:xmpmeta>"
    yield "xmp-of-20-mb.webp", saved("WEBP", xmp=elements), READ
    yield "many-chunks.png", png(2, 2, bytes(14), 8, 2, *[chunk(b"tEXt", b"k%d\0v" % i) for i in range(50_000)]), EITHER
    jpeg = bytearray(saved("JPEG"))
    at = jpeg.index(b"\xff\xc0") + 5
    jpeg[at : at + 4] = struct.pack(">HH", 65500, 65500)
    yield "huge.jpg", bytes(jpeg), REFUSED
    jpeg[at : at + 4] = struct.pack(">HH", 9990, 9990)
    yield "below-the-limit.jpg", bytes(jpeg), REFUSED
    bmp = bytearray(saved("BMP"))
    for name, side in (("huge", 2**31 - 1), ("below-the-limit", 9990), ("upside-down", -(2**31) + 1), ("zero", 0)):
        bmp[18:26] = struct.pack("<ii", abs(side), side)
        yield f"{name}.bmp", bytes(bmp), REFUSED
    for name, side in (("huge", 2**32 - 1), ("below-the-limit", 9990), ("zero", 0)):
        yield f"{name}.tif", tiff({256: side, 257: side, 258: (8, 8, 8), 262: 2}, bytes(100)), REFUSED
    strips = {256: 30, 257: 20, 258: (8, 8, 8), 262: 2, 273: (0,) * 200_000, 279: (1,) * 200_000}
    yield "many-strips.tif", tiff(strips, smooth().tobytes()), EITHER
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.png", bytes(20_000_000))
    yield "zip-bomb.png", file.getvalue(), REFUSED
    yield "gzip-bomb.jpg", gzip.compress(bytes(20_000_000)), REFUSED


def odd() -> Iterator[Case]:
    """Unusual, but pictures."""
    one = Image.fromarray(smooth(1, 1))
    for kind, suffix in (("JPEG", "jpg"), ("PNG", "png"), ("WEBP", "webp"), ("TIFF", "tif"), ("BMP", "bmp")):
        yield f"one-pixel.{suffix}", saved(kind, one), READ
    yield "a-line.png", saved("PNG", Image.fromarray(smooth(20_000, 1))), READ
    yield "a-row.png", saved("PNG", Image.fromarray(smooth(1, 20_000))), READ
    cmyk = Image.frombytes("CMYK", (30, 20), smooth(20, 30, 4).tobytes())
    yield "cmyk.jpg", saved("JPEG", cmyk), READ
    yield "cmyk.tif", saved("TIFF", cmyk), READ
    ycck = saved("JPEG", cmyk).replace(b"Adobe\0d\0\0\0\0\0", b"Adobe\0d\0\0\0\0\2")
    yield "ycck.jpg", ycck, READ
    yield "lab.tif", saved("TIFF", Image.frombytes("LAB", (30, 20), smooth().tobytes())), REFUSED
    yield "float.tif", saved("TIFF", Image.fromarray(np.full((20, 30), np.nan, np.float32))), REFUSED
    yield "int32.tif", saved("TIFF", Image.fromarray(np.full((20, 30), 7, np.int32))), REFUSED
    deep = (smooth().astype("<u2") * 257).tobytes()
    yield "16-bit.tif", tiff({256: 30, 257: 20, 258: (16,) * 3, 262: 2}, deep), READ
    yield "16-bit-gray.png", saved("PNG", Image.fromarray(np.full((20, 30), 999, np.uint16))), READ
    yield "one-bit.png", saved("PNG", Image.new("1", (30, 20), 1)), READ
    yield "one-bit.tif", saved("TIFF", Image.new("1", (30, 20), 1), compression="group4"), READ
    yield "palette.png", saved("PNG", Image.fromarray(smooth()).quantize(5)), READ
    no_palette = png(30, 20, bytes(20 * 31), 8, 3)
    yield "palette-that-is-not-there.png", no_palette, EITHER
    yield "interlaced.png", interlaced(), READ
    yield "progressive.jpg", saved("JPEG", progressive=True), READ
    two = [Image.fromarray(smooth()), Image.fromarray(smooth()[::-1])]
    for kind in ("PNG", "WEBP", "TIFF"):
        yield f"animated.{kind.lower()}", saved(kind, two[0], save_all=True, append_images=two[1:]), REFUSED
    plain = saved("TIFF")
    start = struct.unpack_from("<I", plain, 4)[0]
    at = start + 2 + 12 * plain[start]
    yield "next-directory-is-empty.tif", plain[:at] + struct.pack("<I", len(plain)) + plain[at + 4 :] + bytes(6), EITHER
    for name in ("LZW", "JPEG", "packbits", "tiff_adobe_deflate"):
        yield f"{name}.tif", saved("TIFF", compression=name if name != "LZW" else "tiff_lzw"), READ
    yield "thumbnail.jpg", saved("JPEG", exif=exif(b"", 0, 14) + exif(b"", 0)[14:]), READ
    for suffix, kind in (("jpg", "PNG"), ("png", "JPEG"), ("webp", "BMP"), ("bmp", "WEBP"), ("txt", "TIFF")):
        yield f"wrong-name.{suffix}", saved(kind), READ
    yield "clip.png", b"\0\0\0\x18ftypmp42" + bytes(200), REFUSED
    yield "text.jpg", b"not a picture at all\n" * 9, REFUSED
    yield "empty.jpg", b"", REFUSED
    yield "zeros.jpg", bytes(5000), REFUSED
    yield "page.jpg", b"%PDF-1.7\n" + bytes(99), REFUSED
    yield "script.jpg", b"%!PS-Adobe-3.0\n(/etc/passwd) run\n", REFUSED
    yield "vector.png", b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>", REFUSED
    yield "gif.jpg", saved("GIF"), REFUSED
    yield "only-the-magic.png", b"\x89PNG\r\n\x1a\n", REFUSED
    yield "zero-wide.png", png(0, 20), REFUSED
    yield "riff-that-is-sound.webp", b"RIFF\x24\0\0\0WAVEfmt " + bytes(28), REFUSED
    yield "checksums-are-wrong.png", saved("PNG")[:-20] + b"\0" * 20, REFUSED


def interlaced() -> bytes:
    """An Adam7 PNG of one gray level, by the format's own rules: seven passes, each row with its filter byte."""
    rows = b""
    for x0, y0, dx, dy in (
        (0, 0, 8, 8),
        (4, 0, 8, 8),
        (0, 4, 4, 8),
        (2, 0, 4, 4),
        (0, 2, 2, 4),
        (1, 0, 2, 2),
        (0, 1, 1, 2),
    ):
        width, height = -(-(30 - x0) // dx), -(-(20 - y0) // dy)
        rows += (b"\0" + b"\x80" * width) * height
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 30, 20, 8, 0, 0, 0, 1))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def metadata() -> Iterator[Case]:
    """Good pixels, with EXIF, ICC, XMP and text that mean harm or nothing: the pixels must be read all the same."""
    pointer = struct.pack("<HHII", 0x8769, 4, 1, 8)
    orientation = struct.pack("<HHIHH", 0x0112, 3, 1, 999, 0)
    for name, data in {
        "exif-loop-to-itself": exif(b"", 0, 8),
        "exif-subdirectory-loop": exif(pointer, 1),
        "exif-gps-loop": exif(struct.pack("<HHII", 0x8825, 4, 1, 8), 1, 8),
        "exif-count-lies": exif(b"", 65535),
        "exif-offset-lies": exif(b"", 0, first=2**32 - 1),
        "exif-orientation-999": exif(orientation, 1),
        "exif-value-of-4-gb": exif(struct.pack("<HHII", 0x010F, 2, 2**32 - 1, 8), 1),
        "exif-divides-by-zero": exif(struct.pack("<HHII", 0x011A, 5, 1, 8), 1),
        "exif-of-unknown-kind": exif(struct.pack("<HHII", 0x0110, 99, 1, 8), 1),
        "exif-junk": b"Exif\0\0" + bytes(range(256)) * 20,
        "exif-empty": b"Exif\0\0",
        "exif-no-byte-order": b"Exif\0\0XX*\0\x08\0\0\0\0\0",
    }.items():
        yield f"{name}.jpg", with_segment(0xE1, data), READ
        yield f"{name}.png", saved("PNG", exif=data), READ
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for name, data in {
        "icc-junk": b"\xff" * 5000,
        "icc-size-lies": struct.pack(">I", 2**32 - 1) + srgb[4:],
        "icc-tag-count-lies": srgb[:128] + struct.pack(">I", 2**32 - 1) + srgb[132:],
        "icc-of-4-mb": srgb + bytes(4_000_000),
        "icc-cut": srgb[:100],
    }.items():
        yield f"{name}.jpg", saved("JPEG", icc_profile=data), READ
        yield f"{name}.tif", saved("TIFF", icc_profile=data), READ
    nested = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'>" + b"<a>" * 9000 + b"</a>" * 9000 + b"</x:xmpmeta>"
    laughs = b'<!DOCTYPE a [<!ENTITY l "lol"><!ENTITY m "&l;&l;&l;&l;">]><x:xmpmeta>&m;</x:xmpmeta>'
    outside = b'<!DOCTYPE a [<!ENTITY f SYSTEM "file:///etc/passwd">]><x:xmpmeta>&f;</x:xmpmeta>'
    for name, data in {
        "xmp-nested": nested,
        "xmp-laughs": laughs,
        "xmp-outside": outside,
        "xmp-junk": b"\xff<" * 99,
    }.items():
        yield f"{name}.jpg", with_segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + data), READ
        info = PngImagePlugin.PngInfo()
        info.add_itxt("XML:com.adobe.xmp", data.decode("latin-1"))
        yield f"{name}.png", saved("PNG", pnginfo=info), READ
    yield "mpf-junk.jpg", with_segment(0xE2, b"MPF\0" + b"\xff" * 60), EITHER
    yield "photoshop-junk.jpg", with_segment(0xED, b"Photoshop 3.0\x008BIM\x04\x04\0\0\xff\xff\xff\xff"), READ
    yield "a-segment-longer-than-the-file.jpg", saved("JPEG")[:2] + b"\xff\xe1\xff\xff" + saved("JPEG")[2:], REFUSED
    yield "a-segment-of-no-length.jpg", saved("JPEG")[:2] + b"\xff\xe1\0\0" + saved("JPEG")[2:], EITHER


def flipped() -> Iterator[Case]:
    """Sound files with a few random bits turned: anything but a crash."""
    draw = np.random.default_rng(9)
    for kind in ("JPEG", "PNG", "WEBP", "TIFF", "BMP"):
        whole = saved(kind)
        for number in range(30):
            bits = np.unpackbits(np.frombuffer(whole, np.uint8))
            bits[draw.integers(0, len(bits), 1 + number % 8)] ^= 1
            yield f"bits-{kind.lower()}-{number}", np.packbits(bits).tobytes(), EITHER


def corpus() -> Iterator[Case]:
    for part in (cut, bombs, odd, metadata, flipped):
        yield from part()
