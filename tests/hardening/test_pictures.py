"""Whatever a file holds, it is a photograph or it is refused in one line: soon, in little memory, and read only."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import numpy as np
from pictures import READ, REFUSED, corpus
from watch import WORST, watched

from mien.errors import MienError
from mien.photo.inspect import inspect, told
from mien.photo.read import read
from mien.photo.write import write


def one_line(error: MienError, path: Path) -> None:
    assert str(path) in str(error)
    assert "\n" not in str(error)


def test_each_picture_of_the_corpus_is_read_or_refused(tmp_path: Path) -> None:
    wrong, count = [], 0
    for name, data, expected in corpus():
        path = tmp_path / name
        path.write_bytes(data)
        count += 1
        with suppress(MienError):
            watched(f"{name}, inspected", lambda path=path: told(inspect(path)))
        try:
            photo = watched(name, lambda path=path: read(path))
            outcome = READ
            assert photo.rgb.dtype == np.uint8, name
            if expected == READ:
                watched(name, lambda photo=photo: write(photo, 255 - photo.rgb, tmp_path / "out.png", overwrite=True))
        except MienError as error:
            one_line(error, path)
            outcome = REFUSED
        except Exception as error:
            wrong.append(f"{name}: {error!r}")
            continue
        finally:
            assert path.read_bytes() == data, name
            path.unlink()
        if expected in (READ, REFUSED) and outcome != expected:
            wrong.append(f"{name} was {outcome}")
    (tmp_path / "out.png").unlink()
    assert not wrong, wrong
    assert count > 300
    assert not list(tmp_path.iterdir())
    print(count, WORST)
