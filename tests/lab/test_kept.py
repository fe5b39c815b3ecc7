"""Parts of a long computation: made once, made again where anything they depend on differs or a file is cut off."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mien.errors import MienError
from mien.lab.kept import Kept, digest


def test_what_was_made_is_not_made_again(tmp_path: Path) -> None:
    made = []

    def make() -> dict[str, np.ndarray]:
        made.append(1)
        return {"a": np.arange(3, dtype=np.uint8), "b": np.array([np.nan, 0.1])}

    kept = Kept(tmp_path / "parts")
    for _ in range(3):
        found = kept.arrays(("edit", 1), make)
        np.testing.assert_array_equal(found["b"], [np.nan, 0.1])
        assert found["a"].dtype == np.uint8
    assert len(made) == 1
    kept.arrays(("edit", 2), make)
    assert len(made) == 2
    Kept().arrays(("edit", 1), make)
    assert len(made) == 3
    kept.clear()
    assert not (tmp_path / "parts").exists()
    kept.clear()


def test_a_file_that_was_cut_off_is_made_again(tmp_path: Path) -> None:
    kept = Kept(tmp_path)
    kept.arrays((1,), lambda: {"a": np.arange(1000)})
    (file,) = tmp_path.iterdir()
    for content in (file.read_bytes()[:100], b"", b"not an archive"):
        file.write_bytes(content)
        assert kept.arrays((1,), lambda: {"a": np.arange(7)})["a"].tolist() == list(range(7))
    assert [p.name for p in tmp_path.iterdir()] == [file.name]


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    kept = Kept(tmp_path)
    kept.arrays((1,), lambda: {"a": np.arange(3)})
    (file,) = tmp_path.iterdir()
    np.savez(file, a=np.array([{}], object))
    assert kept.arrays((1,), lambda: {"a": np.arange(3)})["a"].tolist() == [0, 1, 2]


def test_a_digest_differs_where_anything_does() -> None:
    a = np.arange(6, dtype=np.int32)
    ways = [(a,), (a.astype(np.int64),), (a.reshape(2, 3),), (a, a), (a + 1,), ("a",), (b"a",), ("a", "b"), ("ab",)]
    assert len({digest(*way) for way in ways}) == len(ways)
    assert digest(a[::2]) == digest(np.array([0, 2, 4], np.int32))


def test_a_place_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(MienError, match="cannot be made a folder"):
        Kept(tmp_path / "file" / "parts").arrays((1,), lambda: {"a": np.arange(3)})
