"""One process at a time in a folder."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mien.errors import MienError


@contextmanager
def alone(folder: Path, *strays: str) -> Iterator[None]:
    """Holds ``folder``, which is made where it is not there: MienError while another process holds it.

    The lock is the system's, on the folder itself, so that a dead process, even a killed one, holds nothing; where
    there are no such locks (Windows, some network disks) nothing is refused. Half-written files that a killed process
    left there, which one of the patterns ``strays`` matches, are removed. A folder made for nothing goes again.
    """
    made = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        held = None if sys.platform == "win32" else os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise MienError(f"{folder}: cannot be made a folder ({error.strerror}); choose another --out") from error
    if held is None:
        yield
        return
    import fcntl

    try:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise MienError(
                f"{folder}: another process is at work there; wait for it, or choose another --out"
            ) from error
        except OSError:
            pass
        else:
            for stray in (path for pattern in strays for path in folder.glob(pattern)):
                with suppress(OSError):
                    stray.unlink()
        yield
    finally:
        os.close(held)
        if made:
            with suppress(OSError):  # it is not empty
                folder.rmdir()
