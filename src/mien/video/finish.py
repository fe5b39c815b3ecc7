"""What FFmpeg's writers leave out, put into a finished file in place: the mark, and how long the last frame shows.

The mark of an edited clip is an XMP packet: in MP4 and MOV the `uuid` box that Adobe's XMP specification (part 3)
names, in GIF an application extension, in WebP its XMP chunk. Matroska and WebM have it as a tag (see ``write``).
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO

from mien import __version__
from mien.photo import provenance

_XMP_BOX = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")


def packet() -> bytes:
    """The XMP packet of a clip that mien edited."""
    return provenance.mark(None, f"mien {__version__}")


def finish(path: Path, kind: str, last: float, end: float, mark: bool) -> None:
    """kind: FFmpeg's name of the container. last: seconds that the last frame shows, 0 where nobody knows. end: seconds
    that all of it takes."""
    with path.open("r+b") as file:
        if kind in ("mp4", "mov") and mark:
            file.seek(0, 2)
            file.write(struct.pack(">I4s", 24 + len(packet()), b"uuid") + _XMP_BOX + packet())
        elif kind == "gif":
            if last:
                _gif_last(file, round(last * 100))
            if mark:
                file.seek(-1, 2)
                ladder = b"\x01" + bytes(range(255, -1, -1)) + b"\x00"  # leads readers of sub-blocks to their end
                file.write(b"\x21\xff\x0bXMP DataXMP" + packet() + ladder + b";")
        elif kind == "webp":
            if last:
                _webp_last(file, round(end * 1000))
            if mark:
                _webp_mark(file, packet())


def _gif_last(file: BinaryIO, hundredths: int) -> None:
    """Set the delay of the last graphic control extension (GIF89a, section 23)."""
    file.seek(10)
    flags = file.read(1)[0]
    file.seek(13 + (3 << ((flags & 7) + 1) if flags & 128 else 0))
    place = 0
    while (block := file.read(1)) in (b"\x21", b"\x2c"):
        if block == b"\x21":
            if file.read(1) == b"\xf9":
                place = file.tell() + 2
        else:
            flags = file.read(9)[8]
            file.seek((3 << ((flags & 7) + 1) if flags & 128 else 0) + 1, 1)
        while (length := file.read(1)) and length[0]:
            file.seek(length[0], 1)
    if place:
        file.seek(place)
        file.write(struct.pack("<H", min(max(hundredths, 2), 65535)))


def _webp_last(file: BinaryIO, end: int) -> None:
    """Set the duration in the last ANMF chunk, so that all take ``end`` milliseconds. Frames alike are one there."""
    file.seek(12)
    place = before = last = 0
    while len(head := file.read(8)) == 8:
        name, size = struct.unpack("<4sI", head)
        at = file.tell()
        if name == b"ANMF":
            place, before = at + 12, before + last
            file.seek(place)
            last = int.from_bytes(file.read(3), "little")
        file.seek(at + size + size % 2)
    if place:
        file.seek(place)
        file.write(min(max(end - before, 1), 2**24 - 1).to_bytes(3, "little"))


def _webp_mark(file: BinaryIO, xmp: bytes) -> None:
    file.seek(20)
    flags = file.read(1)[0]
    file.seek(20)
    file.write(bytes([flags | 4]))
    file.seek(0, 2)
    file.write(b"XMP " + struct.pack("<I", len(xmp)) + xmp + b"\0" * (len(xmp) % 2))
    size = file.tell() - 8
    file.seek(4)
    file.write(struct.pack("<I", size))
