"""From manifests to batches: the right rows, the right fields, the same ones every time."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from drawn import DISPLACEMENT, PEOPLE, average_face, manifest
from PIL import Image
from tiny import Toy, faces

from mien.errors import MienError
from mien.expressions import BLENDSHAPES, EXPRESSIONS, LANDMARK_MIRROR, MIRROR, mirrored
from mien.lab import data
from mien.lab.data import FaceTable, draw, join, load, mix, without_twins
from mien.lab.faces import Faces

ALL = frozenset({"image", "emotion", "blendshapes", "landmarks", "identity"})


def written(path: Path, **columns: object) -> Path:
    """A manifest of four gray pictures with the given columns beside (or in place of) name, split and image."""
    blob = io.BytesIO()
    Image.new("RGB", (8, 8), (100, 100, 100)).save(blob, "PNG")
    rows: dict[str, object] = {"name": list("abcd"), "split": ["train"] * 4, "image": [blob.getvalue()] * 4}
    meta = columns.pop("meta", {})
    pq.write_table(pa.table(rows | columns).replace_schema_metadata(meta), path)
    return path


def test_every_split_holds_its_own_people(drawn: Path) -> None:
    stored = pq.read_table(drawn, columns=["name", "split"]).to_pydict()
    people: dict[str, set[str]] = {}
    for split in data.SPLITS:
        names = load(drawn, split, ALL, 16).names
        assert names == [n for n, s in zip(stored["name"], stored["split"], strict=True) if s == split]
        people[split] = {name[:4] for name in names}
    assert sum(map(len, people.values())) == len(set.union(*people.values())) == PEOPLE


def test_splits_of_the_real_faces_share_nobody(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data, "_decode", lambda blob, size: np.zeros((size, size, 3), np.uint8))
    path = shared / "data" / "lfw-expressions-128.parquet"
    rows = pq.read_table(path, columns=["name", "identity"]).to_pydict()
    identity = dict(zip(rows["name"], rows["identity"], strict=True))
    people = [{identity[name] for name in load(path, split, frozenset({"image"}), 1).names} for split in data.SPLITS]
    assert all(len(group) > 100 for group in people)
    assert not people[0] & people[1]
    assert not people[0] & people[2]
    assert not people[1] & people[2]


def test_fields_come_as_the_record_says(drawn: Path) -> None:
    table = load(drawn, "train", ALL, 32)
    batch = table.take(torch.tensor([5, 0]))
    assert table.faces.image.dtype == torch.uint8
    assert batch.image.shape == (2, 3, 32, 32)
    assert -1 <= batch.image.min() < -0.2 < 0.2 < batch.image.max() <= 1
    assert batch.blendshapes.shape == (2, 52)
    assert batch.landmarks.shape == (2, 68, 2)
    row = pq.read_table(drawn, filters=[("name", "==", table.names[5])]).to_pylist()[0]
    assert EXPRESSIONS[batch.emotion[0]] == row["emotion"]
    np.testing.assert_array_equal(batch.blendshapes[0], np.float32(row["blendshapes"]))
    np.testing.assert_array_equal(batch.landmarks[0].flatten(), np.float32(row["landmarks"]))
    pixels = np.asarray(Image.open(io.BytesIO(row["image"])).resize((32, 32), Image.Resampling.LANCZOS), np.float32)
    np.testing.assert_allclose(batch.image[0].permute(1, 2, 0), pixels / 127.5 - 1, atol=1e-6)


def test_equal_identities_are_the_same_person(drawn: Path) -> None:
    table = faces(drawn)
    for number, name in zip(table.faces.identity.tolist(), table.names, strict=True):
        twins = [n for n, k in zip(table.names, table.faces.identity.tolist(), strict=True) if k == number]
        assert {twin[:4] for twin in twins} == {name[:4]}


def test_fields_that_are_not_asked_for_stay_on_the_disk(drawn: Path) -> None:
    assert set(load(drawn, "val", frozenset({"image", "landmarks"}), 16).faces.present()) - {"emotion"} == {
        "image",
        "landmarks",
    }


def test_limit_takes_the_first_rows(drawn: Path) -> None:
    assert load(drawn, "train", ALL, 16, limit=5).names == faces(drawn).names[:5]


def one_line(error: pytest.ExceptionInfo[MienError], *words: str) -> None:
    text = str(error.value)
    assert "\n" not in text
    assert all(word in text for word in words), text


def test_a_missing_column_is_named_with_those_there_are(tmp_path: Path) -> None:
    path = manifest(tmp_path / "bare.parquet", 16, leave_out=("blendshapes",))
    with pytest.raises(MienError) as error:
        load(path, "train", ALL, 16)
    one_line(error, "bare.parquet", "no column blendshapes", "landmarks")


def test_a_manifest_without_labels_serves_methods_that_read_none(tmp_path: Path) -> None:
    path = manifest(tmp_path / "bare.parquet", 16, leave_out=("emotion",))
    assert load(path, "train", frozenset({"image", "blendshapes"}), 16).faces.emotion is None
    with pytest.raises(MienError) as error:
        load(path, "train", frozenset({"image", "emotion"}), 16)
    one_line(error, "no column emotion")


def test_an_unknown_or_empty_split_is_named(drawn: Path, tmp_path: Path) -> None:
    with pytest.raises(MienError) as error:
        load(drawn, "training", ALL, 16)
    one_line(error, "'training'", "train, val, test")
    with pytest.raises(MienError) as error:
        load(written(tmp_path / "m.parquet"), "val", frozenset({"image"}), 16)
    one_line(error, "no usable row in split 'val'")


def test_where_nobody_is_held_out_those_learned_from_are_watched(tmp_path: Path) -> None:
    mine = written(tmp_path / "m.parquet", emotion=["neutral", "happiness"] * 2)
    learned, watched = Toy.tables([mine], 16)
    assert watched is learned
    assert learned.names == list("abcd")


def test_files_that_are_no_manifest_are_named(tmp_path: Path) -> None:
    (tmp_path / "text.parquet").write_text("name,split\n")
    (tmp_path / "empty.parquet").write_bytes(b"")
    for path in (tmp_path / "absent.parquet", tmp_path / "text.parquet", tmp_path / "empty.parquet", tmp_path):
        with pytest.raises(MienError) as error:
            load(path, "train", ALL, 16)
        one_line(error, str(path))


def test_a_picture_that_cannot_be_decoded_is_named(tmp_path: Path) -> None:
    path = written(tmp_path / "m.parquet", image=[b"no picture"] * 4)
    with pytest.raises(MienError) as error:
        load(path, "train", frozenset({"image"}), 16)
    one_line(error, "m.parquet")


def test_votes_count_by_clear_majority(tmp_path: Path) -> None:
    """More than half of the ten votes; a tie, a mere plurality and a majority for "unknown" are left out."""
    votes = [[0, 6, 4], [5, 5, 0], [4, 3, 3], [2, 1, 7]]
    column = pa.array(votes, pa.list_(pa.uint8(), 3))
    path = written(tmp_path / "m.parquet", votes=column, meta={"votes": "neutral,happiness,unknown"})
    table = load(path, "train", frozenset({"image", "emotion"}), 16)
    assert table.names == ["a"]
    assert table.faces.emotion.tolist() == [EXPRESSIONS.index("happiness")]


def test_votes_without_their_names_are_refused(tmp_path: Path) -> None:
    column = pa.array([[1, 0]] * 4, pa.list_(pa.uint8(), 2))
    with pytest.raises(MienError) as error:
        load(written(tmp_path / "m.parquet", votes=column), "train", frozenset({"image", "emotion"}), 16)
    one_line(error, "votes")


def test_fer2013_reads_by_its_votes(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data, "_decode", lambda blob, size: np.zeros((size, size, 3), np.uint8))
    path = shared / "data" / "fer2013-48.parquet"
    table = load(path, "val", frozenset({"image", "emotion"}), 1)
    rows = {row["name"]: row for row in pq.read_table(path, columns=["name", "split", "votes"]).to_pylist()}
    assert 2000 < len(table) < sum(row["split"] == "val" for row in rows.values())
    for name, emotion in list(zip(table.names, table.faces.emotion.tolist(), strict=True))[::50]:
        assert rows[name]["votes"][emotion] * 2 > sum(rows[name]["votes"])  # its columns begin in our order


def test_only_labelled_rows_teach_labels(tmp_path: Path) -> None:
    path = written(tmp_path / "m.parquet", emotion=["happiness", "", None, "contempt"])
    assert load(path, "train", frozenset({"image", "emotion"}), 16).names == ["a"]
    others = load(path, "train", frozenset({"image"}), 16)
    assert others.faces.emotion.tolist() == [EXPRESSIONS.index("happiness"), -1, -1, -1]


def test_rows_without_blendshapes_are_left_out(tmp_path: Path) -> None:
    shapes = pa.array([[0.1] * 52, None, [0.3] * 52, [0.4] * 52], pa.list_(pa.float16(), 52))
    table = load(written(tmp_path / "m.parquet", blendshapes=shapes), "train", frozenset({"image", "blendshapes"}), 16)
    assert table.names == ["a", "c", "d"]
    torch.testing.assert_close(table.faces.blendshapes[:, 0], torch.tensor([0.1, 0.3, 0.4]), atol=1e-3, rtol=0)


def labelled(*labels: int, shapes: list[float] | None = None) -> FaceTable:
    spread = None if shapes is None else torch.tensor(shapes)[:, None].expand(-1, 52)
    record = Faces(torch.zeros(len(labels), 3, 4, 4, dtype=torch.uint8), torch.tensor(labels), spread)
    return FaceTable(record, [str(i) for i in range(len(labels))], "digest")


def test_weights_follow_the_formula() -> None:
    table = labelled(1, 1, 1, 1, 2, -1)
    np.testing.assert_allclose(table.weights(0), np.ones(6))
    np.testing.assert_allclose(table.weights(1), [1 / 4, 1 / 4, 1 / 4, 1 / 4, 1, 1 / 4])
    np.testing.assert_allclose(table.weights(0.5), np.sqrt([1 / 4, 1 / 4, 1 / 4, 1 / 4, 1, 1 / 4]))

    values = np.array([0.2, 0.2, 0.2, 0.9])
    score = (values - values.mean()) / (values.std(ddof=1) + 0.02)
    expected = np.clip(score**2, 0.1, 10) / 4
    np.testing.assert_allclose(labelled(0, 0, 0, 0, shapes=values.tolist()).weights(1), expected, rtol=1e-5)


def test_balance_1_draws_every_label_about_equally_often() -> None:
    table = labelled(*[0] * 90, *[3] * 10)
    rows = torch.cat([draw(table.weights(1), 10, 0, step, 0) for step in range(200)])
    assert (table.faces.emotion[rows] == 3).float().mean().item() == pytest.approx(0.5, abs=0.1)


def test_a_draw_is_a_function_of_its_key() -> None:
    weights = torch.rand(50)
    torch.manual_seed(1)
    first = draw(weights, 8, 0, 3, 1)
    torch.manual_seed(2)
    assert torch.equal(first, draw(weights, 8, 0, 3, 1))
    keys = [(0, 3, 1), (0, 4, 1), (0, 3, 0), (1, 3, 1)]
    assert len({tuple(draw(weights, 8, *key).tolist()) for key in keys}) == len(keys)
    assert len(first.unique()) == 8, "nobody twice in a batch while there are enough"
    assert draw(torch.tensor([1.0, 0.0, 1.0]), 9, 0, 0, 0).unique().tolist() == [0, 2]


def test_seeds_mix_and_fit() -> None:
    seeds = {mix(a, b) for a in range(20) for b in range(20)}
    assert len(seeds) == 400
    assert min(seeds) >= 0
    assert max(seeds) < 2**63


def test_twins_are_dropped_whichever_way_round(drawn: Path) -> None:
    train, held = faces(drawn), faces(drawn, "val")
    exact, mirror = held.faces.image[3], held.faces.image[7].flip(-1)
    lighter = (held.faces.image[9].float() * 0.9 + 12).to(torch.uint8)
    images = torch.cat([train.faces.image[:2], torch.stack([exact, mirror, lighter]), train.faces.image[2:4]])
    table = FaceTable(train.faces[torch.arange(7)].having(image=images), list("abcdefg"), "digest")
    left = without_twins(table, held)
    assert left.names == ["a", "b", "f", "g"]
    assert torch.equal(left.faces.image, images[[0, 1, 5, 6]])
    assert left.digest != table.digest


def test_real_strangers_are_no_twins(shared: Path) -> None:
    path = shared / "data" / "lfw-expressions-128.parquet"
    train, held = (load(path, split, frozenset({"image"}), 32, limit=300) for split in ("train", "test"))
    assert len(without_twins(train, held)) >= 297
    with pytest.raises(MienError, match="nothing to train on"):
        without_twins(held, held)


def test_tables_join_with_what_they_have_in_common(drawn: Path, tmp_path: Path) -> None:
    other = manifest(tmp_path / "other.parquet", 16, leave_out=("landmarks",))
    one, two = load(drawn, "val", ALL, 16), load(other, "val", ALL - {"landmarks"}, 16)
    both = join([one, two])
    assert set(both.faces.present()) == ALL - {"landmarks"}
    assert both.names == one.names + two.names
    assert len(both) == len(both.faces) == len(one) + len(two)
    assert torch.equal(both.faces.image[len(one) :], two.faces.image)
    assert both.digest not in (one.digest, two.digest)


def test_people_of_two_manifests_keep_apart(drawn: Path) -> None:
    table = load(drawn, "val", ALL, 16)
    both = join([table, replace(table, digest="another")])
    people = both.faces.identity
    assert len(people.unique()) == 2 * len(table.faces.identity.unique())


def test_flipping_twice_is_no_flip(drawn: Path) -> None:
    batch = faces(drawn).take(torch.arange(8))
    again = batch.flipped().flipped()
    for name, value in batch.present().items():
        torch.testing.assert_close(again.present()[name], value, msg=name)
    assert not torch.equal(batch.flipped().image, batch.image)


def test_a_flip_moves_pixels_names_and_points_together() -> None:
    """A smirk on the person's left, drawn; its flip, drawn from the flipped points; and the flipped pixels."""
    from drawn import draw_face

    shapes = torch.zeros(1, 52)
    shapes[0, BLENDSHAPES.index("mouthSmileLeft")] = 1
    points = torch.tensor(average_face() + DISPLACEMENT[BLENDSHAPES.index("mouthSmileLeft")]).float()[None]
    picture = draw_face(points[0].numpy(), (220, 180, 160), np.full((1, 1, 3), 30))
    batch = Faces(torch.tensor(picture).permute(2, 0, 1)[None], None, shapes, points).flipped()
    assert batch.blendshapes[0].nonzero().tolist() == [[BLENDSHAPES.index("mouthSmileRight")]]
    redrawn = draw_face(batch.landmarks[0].numpy(), (220, 180, 160), np.full((1, 1, 3), 30))
    away = np.abs(redrawn.astype(int) - batch.image[0].permute(1, 2, 0).numpy().astype(int)).mean()
    assert away < 0.15 * np.abs(redrawn.astype(int) - picture).mean()
    right = average_face() + DISPLACEMENT[BLENDSHAPES.index("mouthSmileRight")]
    np.testing.assert_allclose(batch.landmarks[0], right, atol=1e-5)


def test_mirrors_are_involutions_that_swap_sides() -> None:
    assert [MIRROR[i] for i in MIRROR] == list(range(52))
    assert [LANDMARK_MIRROR[i] for i in LANDMARK_MIRROR] == list(range(68))
    assert mirrored("mouthSmileLeft") == "mouthSmileRight"
    assert mirrored("jawOpen") == "jawOpen"
    face = average_face()
    flipped = np.stack([1 - face[list(LANDMARK_MIRROR), 0], face[list(LANDMARK_MIRROR), 1]], 1)
    np.testing.assert_allclose(flipped, face, atol=0.012)


def test_real_faces_are_the_same_in_the_mirror_on_average(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data, "_decode", lambda blob, size: np.zeros((size, size, 3), np.uint8))
    table = load(shared / "data" / "lfw-expressions-128.parquet", "train", frozenset({"image", "landmarks"}), 1)
    average = table.faces.only("landmarks").map(lambda value: value.mean(0, keepdim=True))
    assert (average.flipped().landmarks - average.landmarks).abs().max() < 0.01


def test_regions_that_no_prepare_wrote_are_refused(tmp_path: Path) -> None:
    path = manifest(tmp_path / "drawn.parquet")
    table = pq.read_table(path)
    maps = []
    for value in (2, 9):
        blob = io.BytesIO()
        Image.new("L", (8, 8), value).save(blob, "PNG")
        maps.append(blob.getvalue())
    train = table["split"].to_pylist().index("train")
    for blob, said in ((maps[0], None), (maps[1], "go beyond 5"), (b"no PNG", "cannot be read")):
        column = pa.array([blob if row == train else None for row in range(len(table))], pa.binary())
        pq.write_table(table.append_column("regions", column), path)
        if said:
            with pytest.raises(MienError, match=said):
                load(path, "train", frozenset({"image", "regions"}), 16)
        else:
            regions = load(path, "train", frozenset({"image", "regions"}), 16).faces.regions
            assert (regions[0] == 2).all()
            assert (regions[1:] == 255).all()


def test_where_chooses_face_by_face(drawn: Path) -> None:
    batch = faces(drawn).take(torch.arange(4))
    chosen = Faces.where(torch.tensor([True, False, True, False]), batch.flipped(), batch)
    for name, value in chosen.present().items():
        assert torch.equal(value[1::2], batch.present()[name][1::2])
        assert torch.equal(value[0::2], batch.flipped().present()[name][0::2])
