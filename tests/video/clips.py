"""Clips made by code: the example portrait moved over frames with sensor noise, sounding a sine."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from mien import target
from mien.cli import main
from mien.editor import Editor
from mien.video.clip import open_clip
from mien.video.curve import constant
from mien.video.edit import Outcome, Wish, edit_clip

EXAMPLE = Path(__file__).parents[2] / "examples" / "astronaut.png"
SURPRISE = target.by_name("surprise")
PORTRAIT = Image.open(EXAMPLE).convert("RGB")


def still(side: int = 256, shift: tuple[float, float] = (0, 0), zoom: float = 1.0, height: int = 0) -> np.ndarray:
    """(height, side, 3): the portrait's head, ``shift`` in pixels of the frame."""
    height = height or side
    scale = 300 / side / zoom
    x, y = 224 - scale * (side / 2 + shift[0]), 130 - scale * (height / 2 + shift[1])
    moved = PORTRAIT.transform(
        (side, height), Image.Transform.AFFINE, (scale, 0, x, 0, scale, y), Image.Resampling.BICUBIC
    )
    return np.asarray(moved)


def stranger(rgb: np.ndarray, order: tuple[int, int, int] = (0, 0, 0), light: float = 0.7) -> np.ndarray:
    """The same picture as of somebody else: in other colours."""
    return (rgb[..., order] * light).astype(np.uint8)


def noisy(rgb: np.ndarray, seed: int, sigma: float = 3.0) -> np.ndarray:
    """With a camera's grain."""
    grain = np.random.default_rng(seed).normal(0, sigma, (*rgb.shape[:2], 1))
    return np.clip(np.rint(rgb + grain), 0, 255).astype(np.uint8)


def moving(count: int = 12, side: int = 256) -> list[np.ndarray]:
    """A head that drifts and comes nearer."""
    return [noisy(still(side, (2.0 * i, 1.0 * i), 1 + 0.01 * i), i) for i in range(count)]


def blank(side: int = 256) -> np.ndarray:
    """A grey wall."""
    return np.full((side, side, 3), 110, np.uint8)


def write_clip(
    path: Path,
    pictures: Sequence[np.ndarray],
    *,
    times: Sequence[int] | None = None,
    rate: int = 25,
    codec: str = "libx264",
    form: str = "yuv420p",
    sound: str | None = "aac",
    turn: int = 0,
    full: bool = False,
    options: dict[str, str] | None = None,
) -> Path:
    """Write ``pictures`` at ``times`` in milliseconds (default: ``rate``), with a sine as sound."""
    options = options or ({"crf": "8", "preset": "ultrafast"} if codec in ("libx264", "libx265") else {})
    if codec == "libx265":
        options["x265-params"] = "log-level=none:bframes=0"
    with av.open(str(path), "w") as container:
        video: Any = container.add_stream(codec, rate=rate, options=options)
        video.height, video.width = pictures[0].shape[:2]
        video.pix_fmt = form
        video.codec_context.time_base = Fraction(1, 1000)
        video.codec_context.color_range = 2 if full else 1
        video.codec_context.colorspace = 1
        if turn:
            video.set_display_rotation(turn)
        audio: Any = container.add_stream(sound, rate=48000) if sound else None
        if audio:
            audio.codec_context.layout = "mono"
        container.metadata["title"] = "a head"
        step = 1000 // rate
        for number, rgb in enumerate(pictures):
            made = av.VideoFrame.from_ndarray(rgb, "rgb24")
            frame = made.reformat(format=form, dst_colorspace=1, dst_color_range=2 if full else 1)
            frame.pts, frame.time_base = (times[number] if times else number * step), Fraction(1, 1000)
            frame.duration = step
            container.mux(video.encode(frame))
        if audio:
            length = (times[-1] if times else len(pictures) * step) * 48
            wave = (8000 * np.sin(np.arange(length) / 20)).astype(np.int16)[None]
            for at in range(0, length, 1024):
                samples = av.AudioFrame.from_ndarray(wave[:, at : at + 1024], "s16", "mono")
                samples.sample_rate, samples.pts, samples.time_base = 48000, at, Fraction(1, 48000)
                container.mux(audio.encode(samples))
            container.mux(audio.encode(None))
        container.mux(video.encode(None))
    return path


def packets(path: Path, kind: str) -> list[tuple[float, bytes]]:
    """(seconds, content) of every packet of the first stream of a kind."""
    with av.open(str(path)) as container:
        stream = getattr(container.streams, kind)[0]
        return [(float(p.pts * p.time_base), bytes(p)) for p in container.demux(stream) if p.size]


def times(path: Path) -> list[float]:
    """Seconds of every frame."""
    with av.open(str(path)) as container:
        return [round(float(frame.pts * frame.time_base), 4) for frame in container.decode(video=0)]


def frames(path: Path) -> np.ndarray:
    """(N, H, W, 3) uint8, as decoded, not turned."""
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def edited(
    editor: Editor, source: Path, out: Path, intensity: float = 1.0, face: str = "all", **options: Any
) -> Outcome:
    """Edit a clip to surprise."""
    with open_clip(source) as clip:
        return edit_clip(clip, out, editor, Wish(SURPRISE, constant(intensity), face), **options)


def run(*words: object) -> int:
    """The exit code of ``mien`` with these words."""
    with pytest.raises(SystemExit) as end:
        main([str(word) for word in words])
    return int(end.value.code or 0)
