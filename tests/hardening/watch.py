"""The clock and the scales of the corpus, and how long a look is taken."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

SOAK = "MIEN_SOAK" in os.environ
"""Whether tests that break things at random do so often: `make soak`."""
SECONDS, BYTES = 5.0, 1_000_000_000
WORST: dict[str, tuple[float, str]] = {}


def watched(name: str, work: Callable[[], Any]) -> Any:
    """What ``work`` gives, if it took less than 5 s of this process's time and 1 GB more of its memory."""
    before = _reset()
    began = time.process_time()
    try:
        return work()
    finally:
        took, grew = time.process_time() - began, _memory("VmHWM") - before
        for kind, value in (("seconds", took), ("bytes", float(grew))):
            WORST[kind] = max(WORST.get(kind, (0.0, "")), (value, name))
        assert took < SECONDS, f"{name} took {took:.1f} s"
        assert grew < BYTES, f"{name} took {grew / 1e6:.0f} MB"


def _reset() -> int:
    """Lower the high-water mark of memory to what is in use now, and give that."""
    with suppress(OSError):  # not Linux, or not allowed: then only growth beyond the earlier peak is seen
        Path("/proc/self/clear_refs").write_text("5")
    return _memory("VmRSS")


def _memory(field: str) -> int:
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(field)), 0)
