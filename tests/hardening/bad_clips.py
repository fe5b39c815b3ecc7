"""Bad and odd clips, made here: what each is called, its bytes, and whether it must be edited or refused."""

from __future__ import annotations

import gzip
import io
import struct
import zipfile
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from pictures import EITHER, READ, REFUSED, Case, saved
from PIL import Image

PORTRAIT = Image.open(Path(__file__).parents[2] / "examples" / "astronaut.png").convert("RGB").crop((125, 15, 320, 210))


def head(side: int = 96, other: int = 0) -> np.ndarray:
    """(other or side, side, 3) uint8: a face."""
    return np.asarray(PORTRAIT.resize((side, other or side)))


def clip(
    pictures: list[np.ndarray], form: str = "mp4", codec: str = "libx264", start: int = 0, sound: bool = False
) -> bytes:
    """A clip of these pictures, 40 ms each, the first at ``start`` ms."""
    file = io.BytesIO()
    with av.open(file, "w", format=form) as container:
        options = {"crf": "20", "preset": "ultrafast"} if codec == "libx264" else {}
        stream: Any = container.add_stream(codec, rate=25, options=options)
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = {"png": "rgb24", "ffv1": "bgr0", "mjpeg": "yuvj420p"}.get(codec, "yuv420p")
        audio: Any = container.add_stream("aac", rate=48000) if sound else None
        for number, rgb in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(rgb, "rgb24").reformat(format=stream.pix_fmt)
            frame.pts, frame.time_base = (start // 40 + number), Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if audio:
            _sound(container, audio)
    return file.getvalue()


def _sound(container: Any, stream: Any) -> None:
    for number in range(8):
        samples = av.AudioFrame.from_ndarray(np.zeros((2, 1024), np.float32), "fltp", "stereo")
        samples.sample_rate, samples.pts = 48000, 1024 * number
        container.mux(stream.encode(samples))
    container.mux(stream.encode(None))


def only_sound(form: str) -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format=form) as container:
        _sound(container, container.add_stream("aac", rate=48000))
    return file.getvalue()


def animated(kind: str) -> bytes:
    """Three pictures: a face, a wall, the face again."""
    face, wall = Image.fromarray(head()), Image.new("RGB", (96, 96), (90, 90, 90))
    return saved(kind, face, save_all=True, append_images=[wall, face.copy()], duration=100)


def whole() -> dict[str, bytes]:
    """One of each container, which must be edited."""
    three = [head()] * 3
    return {
        "whole.mp4": clip(three, sound=True),
        "whole.mkv": clip(three, "matroska"),
        "whole.webm": clip(three, "webm", "libvpx-vp9"),
        "whole.avi": clip(three, "avi", "mjpeg"),
        "whole.ts": clip(three, "mpegts"),
        "whole.gif": animated("GIF"),
        "whole.webp": animated("WEBP"),
    }


def cut(clips: dict[str, bytes]) -> Iterator[Case]:
    """Truncated at twelve places; and nothing at all."""
    for name, data in clips.items():
        for part in range(12):
            yield f"cut-{part}-{name}", data[: len(data) * part // 12], EITHER if part > 1 else REFUSED


def flipped(clips: dict[str, bytes]) -> Iterator[Case]:
    """A few random bits turned."""
    draw = np.random.default_rng(4)
    for name, data in clips.items():
        for number in range(4):
            bits = np.unpackbits(np.frombuffer(data, np.uint8))
            bits[draw.integers(0, len(bits), 4**number)] ^= 1
            yield f"bits-{number}-{name}", np.packbits(bits).tobytes(), EITHER


def gif_blocks(data: bytes) -> list[int]:
    """Where each picture's descriptor begins (GIF89a, section 20)."""
    at, found = 13 + (3 << ((data[10] & 7) + 1) if data[10] & 128 else 0), []
    while data[at] in (0x21, 0x2C):
        if data[at] == 0x2C:
            found.append(at)
            at += 11 + (3 << ((data[at + 9] & 7) + 1) if data[at + 9] & 128 else 0)
        else:
            at += 2
        while data[at]:
            at += 1 + data[at]
        at += 1
    return found


def patched(data: bytes, at: int, form: str, *values: int) -> bytes:
    into = bytearray(data)
    struct.pack_into(form, into, at, *values)
    return bytes(into)


def bombs() -> Iterator[Case]:
    """Little on the disk, much in memory."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.mp4", bytes(20_000_000))
    yield "zip-bomb.mp4", file.getvalue(), REFUSED
    yield "gzip-bomb.mkv", gzip.compress(bytes(20_000_000)), REFUSED
    mp4 = clip([head()] * 2)
    for name, at in (("file", mp4.index(b"avc1") + 28), ("track", mp4.index(b"tkhd") + 80)):
        yield f"huge-in-its-{name}.mp4", patched(mp4, at, ">HH", 65535, 65535), EITHER
    png = clip([head()], "avi", "png")
    at = png.index(b"IHDR") + 4
    for side in (4, 9999, 40_000, 2**31 - 1):
        yield f"a-picture-of-{side}.avi", patched(png, at, ">II", side, side), EITHER
    gif, webp = animated("GIF"), animated("WEBP")
    first, second, _ = gif_blocks(gif)
    for side in (200, 9999, 20_000, 65535):
        yield f"canvas-{side}.gif", patched(gif, 6, "<HH", side, side), EITHER
        yield f"first-picture-{side}.gif", patched(gif, first + 5, "<HH", side, side), REFUSED
        yield f"later-picture-{side}.gif", patched(gif, second + 5, "<HH", side, side), READ
    at = webp.index(b"VP8X") + 12
    yield "canvas-of-16384.webp", patched(webp, at, "<HBHB", 16383, 0, 16383, 0), EITHER
    yield "canvas-of-9999.webp", patched(webp, at, "<HBHB", 9998, 0, 9998, 0), EITHER


def odd() -> Iterator[Case]:
    """Unusual, but clips; and what is none."""
    yield "one-frame.mp4", clip([head()]), READ
    yield "one-frame-with-sound.mkv", clip([head()], "matroska", sound=True), READ
    yield "odd-sides.mkv", clip([head(97, 95)] * 2, "matroska", "ffv1"), READ
    yield "two-sizes.ts", clip([head()] * 2, "mpegts") + clip([head(128)] * 2, "mpegts", start=80), READ
    yield "grows-much.ts", clip([head()] * 2, "mpegts") + clip([head(2000)] * 2, "mpegts", start=80), READ
    yield "one-pixel.mkv", clip([head(1)] * 2, "matroska", "ffv1"), REFUSED
    yield "a-line.mkv", clip([head(4000, 1)] * 2, "matroska", "ffv1"), REFUSED
    yield "wrong-name.mp4", clip([head()] * 2, "matroska"), READ
    yield "wrong-name.gif", clip([head()] * 2), READ
    yield "wrong-name.webm", animated("GIF"), READ
    yield "still.gif", saved("GIF", Image.fromarray(head())), READ
    yield "only-sound.mp4", only_sound("mp4"), REFUSED
    yield "only-sound.mkv", only_sound("matroska"), REFUSED
    yield "empty.mp4", b"", REFUSED
    yield "zeros.mkv", bytes(5000), REFUSED
    yield "text.mp4", b"not a clip at all\n" * 9, REFUSED
    yield "subtitles.mp4", b"1\n00:00:00,000 --> 00:00:09,000\nHello\n\n" * 9, REFUSED
    yield "subtitles.mkv", b"WEBVTT\n\n00:00.000 --> 00:09.000\nHello\n", REFUSED
    yield "photograph.mp4", saved("PNG", Image.fromarray(head())), REFUSED
    yield "photograph.mkv", saved("JPEG", Image.fromarray(head())), REFUSED
    yield "script.mp4", b"#!/bin/sh\necho no\n", REFUSED
    yield "playlist.mp4", b"ffconcat version 1.0\nfile whole.mp4\n", REFUSED
    yield "only-a-box.mp4", struct.pack(">I4s4sI4s", 20, b"ftyp", b"isom", 0, b"isom"), REFUSED
    yield "a-box-of-4-gb.mp4", struct.pack(">I4s", 2**32 - 1, b"moov") + bytes(100), REFUSED


def corpus() -> Iterator[Case]:
    clips = whole()
    yield from ((name, data, READ) for name, data in clips.items())
    yield from odd()
    yield from bombs()
    yield from cut(clips)
    yield from flipped(clips)
