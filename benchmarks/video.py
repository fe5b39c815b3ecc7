"""Frames a second of a 720p clip with one face, where the time goes, and memory at two lengths.

    python benchmarks/video.py [--seconds 4] [--long 30]
    python benchmarks/video.py --seconds 0 --long 600 [--pulse 20] [--rate 10] [--grain 0]

The clip is made here: the example portrait, moved and grainy, H.264, four seconds of it again and again. Stages are
the processor's seconds of each part alone on one thread (left out with --seconds 0); the whole is measured by the clock
and by the processor, and its memory along the way. With --pulse only one second in so many is edited, by keys.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image

from mien import Editor, target
from mien.editor import Seen
from mien.photo import blend
from mien.photo.read import Photo
from mien.video.clip import Frame, open_clip
from mien.video.curve import Curve, constant
from mien.video.edit import Job, Outcome, Wish, edit_clip, on_one_thread
from mien.video.track import Tracker

EXAMPLE = Path(__file__).parent.parent / "examples" / "astronaut.png"
MOMENTS = (2, 4, 10, 30, 60, 120, 180, 240, 300, 360, 420, 480, 540, 599)
"""Seconds of the clip after which the memory held is printed."""
os.environ.setdefault("MIEN_THREADS", "1")  # as `mien edit` does for clips


def make(path: Path, count: int, rate: int, sigma: float) -> Path:
    """A face of some 240 pixels that moves and turns, with grain."""
    portrait, rng = Image.open(EXAMPLE).convert("RGB"), np.random.default_rng(0)
    grain = [np.rint(rng.normal(0, sigma, (720, 1280, 1))).astype(np.int16) for _ in range(4)]
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", rate=rate, options={"crf": "16", "preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = 1280, 720, "yuv420p"
        for i in range(count):
            scale, turn = 0.4 / (1 + 0.05 * np.sin(i / 12)), 0.05 * np.sin(i / 15)
            c, s = np.cos(turn) * scale, np.sin(turn) * scale
            x, y = 640 + 30 * np.sin(i / 9), 324 + 12 * np.cos(i / 7)
            way = (c, s, 224 - c * x - s * y, -s, c, 115 + s * x - c * y)
            moved = portrait.transform((1280, 720), Image.Transform.AFFINE, way, Image.Resampling.BILINEAR)
            rgb = np.clip(np.asarray(moved, np.int16) + grain[i % 4], 0, 255).astype(np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(rgb, "rgb24")))
        container.mux(stream.encode(None))
    return path


def looped(path: Path, seconds: float, rate: int, sigma: float, short: float = 4.0) -> Path:
    """A clip so long, of the packets of a short one over and over."""
    count = round(min(seconds, short) * rate)
    once = make(path.with_name(f"once-{path.name}"), count, rate, sigma)
    with av.open(str(once)) as source:
        packets: list[Any] = [(bytes(p), p.pts, p.dts, p.is_keyframe) for p in source.demux(video=0) if p.size]
        step = source.streams.video[0].duration or 0
        with av.open(str(path), "w") as container:
            stream: Any = container.add_stream_from_template(source.streams.video[0])
            for turn in range(round(seconds * rate / count)):
                for data, pts, dts, key in packets:
                    packet: Any = av.Packet(data)
                    packet.stream, packet.time_base = stream, source.streams.video[0].time_base
                    packet.pts, packet.dts, packet.is_keyframe = pts + turn * step, dts + turn * step, key
                    container.mux(packet)
    return path


def stages(path: Path, count: int = 30) -> None:
    """Print milliseconds of processor time a frame for each part, the others not running."""
    editor, wish = Editor(), Wish(target.by_name("surprise"), constant(1.0))
    single, tracker = on_one_thread(editor), Tracker(editor.finder)
    spent: dict[str, float] = {}

    def timed(name: str, work: Callable[..., Any], *given: Any) -> Any:
        began = time.process_time()
        result = work(*given)
        spent[name] = spent.get(name, 0) + time.process_time() - began
        return result

    apply = blend.apply
    blend.apply = lambda *given: timed("  of it rendering", apply, *given)
    with open_clip(path) as clip, av.open("/dev/null", "w", format="mp4") as out:
        stream: Any = out.add_stream("libx264", rate=30, options={"crf": "17", "preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = 1280, 720, "yuv420p"
        tracker.follow(clip.first.rgb, 0.0)  # models are opened
        single.edit(clip.first.rgb, "surprise")
        spent.clear()
        for _ in range(count):
            frame = timed("decode, show as RGB", next, clip.items)
            tracks = timed("follow the face", tracker.follow, frame.rgb, frame.time)
            jobs, seen = wish.jobs(tracks, frame.time, 0)
            after = timed("edit", _edited, single, frame, jobs, seen)
            timed("put back into the planes", frame.edited, after)
            timed("encode", lambda native: out.mux(stream.encode(native)), frame.native)
    blend.apply = apply
    for name, seconds in spent.items():
        print(f"{name:28}{1000 * seconds / count:8.1f} ms a frame")


def _edited(editor: Editor, frame: Frame, jobs: list[Job], seen: list[Seen]) -> np.ndarray:
    photo = Photo(rgb=frame.rgb, native=frame.rgb, mode="RGB")
    return editor.edit(photo, jobs[0][1], intensity=jobs[0][2], seen=seen).rgb


def whole(path: Path, seconds: float, pulse: float) -> None:
    """Edit the clip and print frames a second, processor time and memory; run in a process of its own."""
    curve = constant(1.0)
    if pulse:
        curve = Curve(tuple((at + on, on % 1 * 2) for at in np.arange(0, seconds, pulse) for on in (0, 0.5, 1)))
    editor, wish = Editor(), Wish(target.by_name("surprise"), curve)
    began, worked = time.perf_counter(), time.process_time()
    written = iter(range(1, 10**9))

    def advance() -> None:
        if (at := next(written) / clip.rate) in MOMENTS:
            print(f"  after {at} s: {resident():.0f} MB, {peak():.0f} MB at most", flush=True)

    with open_clip(path) as clip:
        out = path.with_name("out.mp4")
        outcome: Outcome = edit_clip(clip, out, editor, wish, overwrite=True, advance=advance)
    wall, work = time.perf_counter() - began, time.process_time() - worked
    print(
        f"{outcome.frames} frames ({outcome.clip_seconds:.0f} s), {outcome.edited} edited: "
        f"{outcome.frames / wall:.1f} frames/s, {1000 * work / outcome.frames:.0f} ms of processor a frame, "
        f"{peak():.0f} MB at most"
    )


def peak() -> float:
    """MB of memory held at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def resident() -> float:
    """MB of memory held now (Linux)."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--long", type=float, default=30)
    parser.add_argument("--pulse", type=float, default=0, help="edit one second in so many, more than 1")
    parser.add_argument("--rate", type=int, default=30, help="frames a second of the clip")
    parser.add_argument("--grain", type=float, default=3, help="its standard deviation, in levels of 255")
    parser.add_argument("--whole", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.whole:
        whole(given.whole, given.long, given.pulse)
        return
    with tempfile.TemporaryDirectory() as folder:
        if given.seconds:
            stages(make(Path(folder) / "stages.mp4", 40, given.rate, given.grain))
        for seconds in filter(None, (given.seconds, given.long)):
            clip = looped(Path(folder) / f"{seconds:g}.mp4", seconds, given.rate, given.grain)
            words = ["--whole", str(clip), "--long", str(seconds), "--pulse", str(given.pulse)]
            subprocess.run([sys.executable, __file__, *words], check=True)


if __name__ == "__main__":
    main()
