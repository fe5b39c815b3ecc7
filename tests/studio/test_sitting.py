"""A photograph in the studio: shown small, downloaded large, gone when the visitor is."""

from __future__ import annotations

import gc
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mien import Editor, MienError
from mien.editor import REFERENCE
from mien.studio.parts import Studio
from mien.studio.sitting import KEPT, Sitting, liking
from mien.studio.tabs import edit_all


@pytest.fixture(scope="module")
def editors() -> dict[str, Editor]:
    return {"flowfill": Editor()}


def sit(path: Path, editors: dict[str, Editor], folder: Path) -> Sitting:
    return Sitting(path, editors, folder, 50_000_000)


def test_a_large_photograph_is_shown_small_and_the_edit_lies_where_the_face_is(
    pictures: Path, editors: dict[str, Editor], tmp_path: Path
) -> None:
    large = tmp_path / "large.png"
    Image.open(pictures / "two.png").resize((2400, 1300)).save(large)
    sitting = sit(large, editors, tmp_path)
    sitting.ask("to", to="surprise", face="2")
    before, after = (np.asarray(Image.open(path), float) for path in sitting.picture())
    assert before.shape == (867, 1600, 3)
    moved = np.abs(before - after).max(-1) > 25
    assert moved[:, 900:].sum() > 500
    assert not moved[:, :860].any()
    closer = np.asarray(Image.open(sitting.picture(closeup=True)[0]))
    assert closer.shape[0] == closer.shape[1]


def test_what_one_control_does_in_a_row_is_one_step(pictures: Path, editors: dict[str, Editor], tmp_path: Path) -> None:
    sitting = sit(pictures / "me.jpg", editors, tmp_path)
    sitting.ask("to", to="anger")
    for value in (0.9, 0.8, 0.7):
        sitting.ask("intensity", intensity=value)
    assert sitting.undo()
    assert (sitting.wish.to, sitting.wish.intensity) == ("anger", 1.0)
    assert sitting.undo()
    assert sitting.wish.to is None
    assert not sitting.undo()


def test_the_files_of_a_long_drag_do_not_pile_up_and_all_go_with_the_sitting(
    pictures: Path, editors: dict[str, Editor], tmp_path: Path
) -> None:
    sitting = sit(pictures / "me.jpg", editors, tmp_path)
    pixels = np.zeros((8, 8, 3), np.uint8)
    for _ in range(3 * KEPT):
        sitting.show(pixels)
    assert len(list(sitting.folder.iterdir())) <= KEPT + 3
    folder = sitting.folder
    del sitting
    gc.collect()
    assert not folder.exists()


def test_a_name_without_a_suffix_gets_one(pictures: Path, editors: dict[str, Editor], tmp_path: Path) -> None:
    (tmp_path / "blob").write_bytes((pictures / "me.jpg").read_bytes())
    sitting = sit(tmp_path / "blob", editors, tmp_path)
    sitting.ask("to", to="fear")
    assert sitting.download().name == "blob-fear.jpeg"


def test_nothing_wished_is_nothing_to_download(pictures: Path, editors: dict[str, Editor], tmp_path: Path) -> None:
    with pytest.raises(MienError, match="nothing is changed yet"):
        sit(pictures / "me.jpg", editors, tmp_path).download()


def test_a_face_to_be_like_is_there_for_models_that_look_at_it(pictures: Path, editors: dict[str, Editor]) -> None:
    target = liking(pictures / "me.jpg", editors["flowfill"], 50_000_000).target
    assert target.face is not None
    assert target.face.shape == (REFERENCE, REFERENCE, 3)
    assert target.face.std() > 20
    assert target.scores is not None


def test_only_the_model_runs_again(pictures: Path, editors: dict[str, Editor], tmp_path: Path) -> None:
    """The finder is not asked twice, and a megapixel answers within 300 ms of this process's time (two threads)."""
    path = tmp_path / "megapixel.png"
    Image.open(pictures / "me.jpg").resize((1000, 1000)).save(path)
    sitting = sit(path, editors, tmp_path)
    sitting.ask("to", to="happiness")
    sitting.picture()
    asked: list[object] = []
    find, editors["flowfill"].finder.find = editors["flowfill"].finder.find, asked.append  # type: ignore[assignment]
    try:
        times = []
        for step in range(9):
            sitting.ask("intensity", intensity=0.5 + step / 20)
            began = time.process_time()
            sitting.picture()
            times.append(time.process_time() - began)
    finally:
        editors["flowfill"].finder.find = find  # type: ignore[method-assign]
    assert not asked
    assert np.median(times) <= 2 * 0.3


def test_a_batch_that_is_stopped_leaves_nothing(pictures: Path, editors: dict[str, Editor], tmp_path: Path) -> None:
    working = edit_all(Studio(editors, tmp_path, 10**7, 1, 60), [pictures / "me.jpg"] * 3, "fear", 1, "all", "flowfill")
    for told, packed in working:
        assert packed is None
        if "1 of 3" in told:
            break
    assert [path for path in tmp_path.rglob("*") if path.is_file()]
    working.close()
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
