"""Which files are clips, told without PyAV: the photograph's commands ask this before anything heavy is loaded."""

from __future__ import annotations

from pathlib import Path

from mien.errors import MienError

CONTAINERS = {
    **{".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska"},
    **{".webm": "webm", ".gif": "gif", ".webp": "webp"},
}
"""What mien writes: FFmpeg's name of the container by suffix. It reads more: ``mien.video.clip.FORMATS``."""
_OTHERS = (".avi", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts", ".3gp", ".flv", ".wmv", ".ogv")


def is_clip(path: str | Path) -> bool:
    """By the suffix; a ``.webp`` is a clip where its header says that it is animated."""
    path = Path(path)
    suffix = path.suffix.lower()
    return is_animated(path) if suffix == ".webp" else suffix in (*CONTAINERS, *_OTHERS)


def is_animated(path: Path) -> bool:
    """Whether a WebP holds an animation."""
    try:
        if not path.is_file():  # a pipe would block
            return False
        with path.open("rb") as file:
            head = file.read(21)
    except OSError:
        return False
    return head[:4] == b"RIFF" and head[8:16] == b"WEBPVP8X" and bool(head[20] & 2)


def container_of(path: Path) -> str:
    """FFmpeg's name of the container that ``path``'s suffix asks for; MienError for another suffix."""
    try:
        return CONTAINERS[path.suffix.lower()]
    except KeyError:
        raise MienError(
            f"{path}: no clip is written as {path.suffix or 'a name without a suffix'}; use {', '.join(CONTAINERS)}"
        ) from None
