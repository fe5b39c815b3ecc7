"""Each layout on a tiny tree in its official naming: recognised without being told, and read as it is meant."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mien.errors import MienError
from mien.expressions import BLENDSHAPES
from mien.lab.collections import LAYOUTS, Entry, find_layout
from mien.lab.collections.entry import REGIONS
from mien.lab.collections.people import SHARES, people_of, splits_of, twins
from mien.lab.collections.units import SHAPES, muscles_of

Row = tuple[str, str, str | None, str | None]
"""Name, emotion, identity, split."""


def put(root: Path, *names: str) -> Path:
    """Pictures of a few pixels by these names."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (4, 4), len(name)).save(path)
    return root


def write(path: Path, *lines: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")


def fer_table(root: Path) -> None:
    gray = " ".join(["7"] * 48 * 48)
    rows = [f"3,{gray},Training", f"6,{gray},PublicTest", f"0,{gray},PrivateTest", f"2,{gray},Training"]
    write(root / "fer2013.csv", "emotion,pixels,Usage", *rows)


def fer2013(root: Path) -> list[Row]:
    fer_table(root)
    said = [("happiness", "train"), ("neutral", "val"), ("anger", "test"), ("fear", "train")]
    return [(f"fer{i:07d}.png", emotion, None, split) for i, (emotion, split) in enumerate(said)]


def fer2013_folders(root: Path) -> list[Row]:
    put(root, "train/angry/Training_3908.jpg", "test/happy/PublicTest_1.jpg", "test/happy/PrivateTest_2.jpg")
    return [
        ("test/happy/PrivateTest_2.jpg", "happiness", None, "test"),
        ("test/happy/PublicTest_1.jpg", "happiness", None, "val"),
        ("train/angry/Training_3908.jpg", "anger", None, "train"),
    ]


def ferplus(root: Path) -> list[Row]:
    fer_table(root)
    write(
        root / "fer2013new.csv",
        "Usage,Image name,neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF",
        "Training,fer0000000.png,4,0,0,1,3,2,0,0,0,0",
        "PublicTest,fer0000001.png,1,0,9,0,0,0,0,0,0,0",
        "PrivateTest,fer0000002.png,0,0,0,0,0,0,0,8,0,2",
        "Training,,0,0,0,0,0,0,0,0,0,10",
    )
    said = [("", "train"), ("surprise", "val"), ("contempt", "test"), ("", "train")]
    return [(f"fer{i:07d}.png", emotion, None, split) for i, (emotion, split) in enumerate(said)]


def affectnet(root: Path) -> list[Row]:
    lists, images = root / "Manually_Annotated_file_lists", root / "Manually_Annotated" / "Manually_Annotated_Images"
    head = "subDirectory_filePath,face_x,face_y,face_width,face_height,facial_landmarks,expression,valence,arousal"
    write(lists / "training.csv", head, "689/a.jpg,10,20,30,40,1;2,6,-0.1,0.2", "689/b.jpg,1,2,3,4,1;2,10,-2,-2")
    write(lists / "validation.csv", head, "2/c.jpg,5,6,7,8,1;2,3,0.1,0.2")
    put(images, "689/a.jpg", "689/b.jpg", "2/c.jpg")
    return [
        ("689/a.jpg", "anger", None, "train"),
        ("689/b.jpg", "", None, "train"),
        ("2/c.jpg", "surprise", None, "test"),
    ]


def affectnet_arrays(root: Path) -> list[Row]:
    """As it is given out since 2021."""
    put(root, "train_set/images/0.jpg", "val_set/images/7.jpg")
    for folder, number, label in (("train_set", 0, "1"), ("val_set", 7, "7")):
        (root / folder / "annotations").mkdir()
        np.save(root / folder / "annotations" / f"{number}_exp.npy", np.array(label))
    return [("train_set/0.jpg", "happiness", None, "train"), ("val_set/7.jpg", "contempt", None, "test")]


def celeba(root: Path) -> list[Row]:
    put(root / "Img" / "img_align_celeba", "000001.jpg", "162771.jpg", "182638.jpg")
    write(
        root / "Anno" / "list_attr_celeba.txt",
        "3",
        "Male Mouth_Slightly_Open Smiling ",
        "000001.jpg  1 -1  1",
        "162771.jpg -1 -1 -1",
        "182638.jpg -1  1 -1",
    )
    write(root / "Anno" / "identity_CelebA.txt", "000001.jpg 2880", "162771.jpg 2937", "182638.jpg 8692")
    write(root / "Eval" / "list_eval_partition.txt", "000001.jpg 0", "162771.jpg 1", "182638.jpg 2")
    return [
        ("000001.jpg", "happiness", "2880", "train"),
        ("162771.jpg", "neutral", "2937", "val"),
        ("182638.jpg", "", "8692", "test"),
    ]


def celebamask(root: Path) -> list[Row]:
    put(root, "CelebA-HQ-img/0.jpg", "CelebA-HQ-img/10.jpg", "CelebA-HQ-img/2.jpg")
    put(root, "CelebAMask-HQ-mask-anno/0/00000_skin.png", "CelebAMask-HQ-mask-anno/0/00000_l_brow.png")
    head = "idx\t\torig_idx\torig_file"
    rows = ("0\t\t119613\t119614.jpg", "2\t\t170000\t170001.jpg", "10\t\t200000\t200001.jpg")
    write(root / "CelebA-HQ-to-CelebA-mapping.txt", head, *rows)
    write(root / "CelebAMask-HQ-attribute-anno.txt", "3", "Mouth_Slightly_Open Smiling", "0.jpg  -1 1", "2.jpg  -1 -1")
    write(root / "identity_CelebA.txt", "119614.jpg 5", "170001.jpg 6", "200001.jpg 7")
    return [("0.jpg", "happiness", "5", "train"), ("2.jpg", "neutral", "6", "val"), ("10.jpg", "", "7", "test")]


def lfw(root: Path) -> list[Row]:
    put(root, "lfw/Aaron_Eckhart/Aaron_Eckhart_0001.jpg", "lfw/Abel_Pacheco/Abel_Pacheco_0004.jpg", "lfw/extra.jpg")
    return [
        ("Aaron_Eckhart_0001.jpg", "", "Aaron_Eckhart", None),
        ("Abel_Pacheco_0004.jpg", "", "Abel_Pacheco", None),
    ]


def rafd(root: Path) -> list[Row]:
    names = [
        "Rafd045_61_Kid_female_surprised_right.jpg",
        "Rafd090_01_Caucasian_female_angry_frontal.jpg",
        "Rafd090_28_Moroccan_male_contemptuous_left.jpg",
        "Rafd180_01_Caucasian_female_happy_frontal.jpg",
    ]
    put(root, *names)
    said = [("surprise", "61"), ("anger", "01"), ("contempt", "28"), ("happiness", "01")]
    return [(name, emotion, person, None) for name, (emotion, person) in zip(names, said, strict=True)]


def kdef(root: Path) -> list[Row]:
    put(root, "AF01/AF01ANS.JPG", "AF01/AF01AFHL.JPG", "BF01/BF01NEFR.JPG", "BM35/BM35SUHR.JPG")
    return [
        ("AF01AFHL.JPG", "fear", "F01", None),
        ("AF01ANS.JPG", "anger", "F01", None),
        ("BF01NEFR.JPG", "neutral", "F01", None),
        ("BM35SUHR.JPG", "surprise", "M35", None),
    ]


def ckplus(root: Path) -> list[Row]:
    frames = [f"S005_001_{i:08d}.png" for i in range(1, 7)]
    put(root / "cohn-kanade-images" / "S005" / "001", *frames)
    put(root / "cohn-kanade-images" / "S010" / "002", "S010_002_00000001.png", "S010_002_00000002.png")
    write(root / "Emotion" / "S005" / "001" / "S005_001_00000006_emotion.txt", "   3.0000000e+00")
    (root / "Emotion" / "S010" / "002").mkdir(parents=True)
    return [
        (frames[0], "neutral", "S005", None),
        *((name, "disgust", "S005", None) for name in frames[-3:]),
        ("S010_002_00000001.png", "neutral", "S010", None),
        ("S010_002_00000002.png", "", "S010", None),
    ]


def mug(root: Path) -> list[Row]:
    put(root / "subjects3", *(f"001/session0/anger/take000/img_{i:04d}.jpg" for i in range(9)))
    put(root / "subjects3", *(f"084/neutral/take001/img_{i:04d}.jpg" for i in range(4)))
    first, second = "subjects3/001/session0/anger/take000/img_%04d.jpg", "subjects3/084/neutral/take001/img_%04d.jpg"
    return [
        (first % 0, "neutral", "001", None),
        *((first % i, "anger", "001", None) for i in (3, 4, 5)),
        *((second % i, "neutral", "084", None) for i in range(4)),
    ]


def oulu(root: Path) -> list[Row]:
    put(root, *(f"NI/Strong/P001/Anger/{i:03d}.jpeg" for i in range(6)))
    put(root, *(f"VL/Dark/P080/Surprise/{i:03d}.jpeg" for i in range(2)))
    return [
        ("NI/Strong/P001/Anger/000.jpeg", "neutral", "P001", None),
        *((f"NI/Strong/P001/Anger/{i:03d}.jpeg", "anger", "P001", None) for i in (3, 4, 5)),
        ("VL/Dark/P080/Surprise/000.jpeg", "neutral", "P080", None),
        ("VL/Dark/P080/Surprise/001.jpeg", "surprise", "P080", None),
    ]


def emotionet(root: Path) -> list[Row]:
    url = "https://s3.us-east-2.amazonaws.com/emotionet/Images/N_0000000001"
    units = ["0"] * 60
    units[0], units[1], units[11] = "1", "999", "1"
    line = "\t".join([f"{url}/N_0000000001_00039.jpg", "http://elsewhere/x.jpg", *units])
    gone = "\t".join([f"{url}/N_0000000001_00040.jpg", "http://elsewhere/y.jpg", *units])
    write(root / "emotioNet_challenge_files_server_challenge_1.2_aws" / "dataFile_1000.txt", line, gone)
    put(root / "images", "N_0000000001_00039.jpg")
    return [(f"N_0000000001/N_0000000001_000{n}.jpg", "", None, None) for n in (39, 40)]


def openface(root: Path) -> list[Row]:
    head = "frame, face_id, timestamp, confidence, success, AU01_r, AU12_r, AU12_c"
    rows = ("1, 0, 0.000, 0.98, 1, 2.50, 5.00, 1.00", "2, 0, 0.033, 0.10, 0, 0.00, 0.00, 0.00")
    write(root / "processed" / "clip.csv", head, *rows)
    put(root / "processed" / "clip_aligned", "frame_det_00_000001.bmp", "frame_det_00_000002.bmp")
    write(root / "processed" / "photo.csv", "face,confidence,x_0,x_1,y_0,y_1,AU01_r", "0,0.9,10,30,20,60,1.0")
    put(root / "processed", "photo.jpg")
    return [
        ("processed/clip/frame_det_00_000001", "", "processed/clip/0", None),
        ("processed/clip/frame_det_00_000002", "", "processed/clip/0", None),
        ("processed/photo/face_det_000000", "", None, None),
    ]


def pyfeat(root: Path) -> list[Row]:
    head = "FaceRectX,FaceRectY,FaceRectWidth,FaceRectHeight,FaceScore,x_0,AU01,AU12,anger,input,frame"
    there, lost = "196.9,140.6,173.8,257.6,0.99,1,0.4,0.9,0.0,C:\\pictures\\a.jpg,0", ",,,,,,,,,b.jpg,1"
    write(root / "fex.csv", head, there, lost)
    put(root, "a.jpg", "b.jpg")
    return [("a.jpg#0", "", None, None), ("b.jpg#1", "", None, None)]


def csv(root: Path) -> list[Row]:
    write(
        root / "mine.csv",
        "path,emotion,identity,split,x0,y0,x1,y1,jawOpen,AU12",
        "a/1.png,Happy,ann,train,1,2,3,4,0.25,0.5",
        "a/2.png,,bob,,,,,,,",
    )
    put(root, "a/1.png", "a/2.png")
    return [("a/1.png", "happiness", "ann", "train"), ("a/2.png", "", "bob", None)]


def folder(root: Path) -> list[Row]:
    put(root, "Happy/1.jpg", "happy/ann/1.jpg", "Sad/bob/mon/1.png", "other.png", ".trash/happy/1.jpg", "notes/a.png")
    return [
        ("other.png", "", None, None),
        ("Happy/1.jpg", "happiness", None, None),
        ("Sad/bob/mon/1.png", "sadness", "bob/mon", None),
        ("happy/ann/1.jpg", "happiness", "ann", None),
        ("notes/a.png", "", "notes", None),
    ]


def split_folder(root: Path) -> list[Row]:
    put(root, "train/anger/1.jpg", "validation/fear/eve/2.jpg")
    return [("train/anger/1.jpg", "anger", None, "train"), ("validation/fear/eve/2.jpg", "fear", "eve", "val")]


TREES: list[tuple[str, Callable[[Path], list[Row]], str]] = [
    ("ferplus", ferplus, ""),
    ("fer2013", fer2013, ""),
    ("fer2013", fer2013, "fer2013.csv"),
    ("fer2013-folders", fer2013_folders, ""),
    ("affectnet", affectnet, ""),
    ("affectnet", affectnet_arrays, ""),
    ("celebamask-hq", celebamask, ""),
    ("celeba", celeba, ""),
    ("lfw", lfw, ""),
    ("rafd", rafd, ""),
    ("kdef", kdef, ""),
    ("ck+", ckplus, ""),
    ("mug", mug, ""),
    ("oulu-casia", oulu, ""),
    ("emotionet", emotionet, ""),
    ("openface", openface, ""),
    ("py-feat", pyfeat, "fex.csv"),
    ("csv", csv, "mine.csv"),
    ("folder", folder, ""),
    ("folder", split_folder, ""),
]


def read(layout: str, path: Path) -> dict[str, Entry]:
    return {entry.name: entry for entry in LAYOUTS[layout].read(path)}


@pytest.mark.parametrize(("layout", "tree", "part"), TREES)
def test_a_layout_is_recognised_and_read(
    layout: str, tree: Callable[[Path], list[Row]], part: str, tmp_path: Path
) -> None:
    expected = tree(tmp_path)
    assert find_layout(tmp_path / part) == layout
    entries = list(LAYOUTS[layout].read(tmp_path / part))
    assert [(e.name, e.emotion, e.identity, e.split) for e in entries] == expected
    for entry in entries:
        assert isinstance(entry.picture, np.ndarray) or entry.picture.is_file() or entry.unusable


def test_every_layout_has_its_tree_here() -> None:
    assert {layout for layout, _, _ in TREES} == set(LAYOUTS)


def test_pictures_that_are_crops_already_say_so(tmp_path: Path) -> None:
    """Only they are kept whole when no face is found in them."""
    crops = {"ferplus", "fer2013", "fer2013-folders"}
    for layout, tree, part in TREES:
        tree(root := tmp_path / tree.__name__ / (part or "folder"))
        said = {entry.cropped for entry in read(layout, root / part).values()}
        if layout not in ("affectnet", "openface"):  # which have both
            assert said == {layout in crops}, layout


def test_what_a_collection_knows_to_be_unusable(tmp_path: Path) -> None:
    for layout, tree, names, why in (
        ("ferplus", ferplus, ["fer0000003.png"], "no face"),
        ("affectnet", affectnet, ["689/b.jpg"], "no face"),
        ("rafd", rafd, ["Rafd180_01_Caucasian_female_happy_frontal.jpg"], "profile"),
        ("kdef", kdef, ["BF01NEFR.JPG"], "profile"),
        ("emotionet", emotionet, ["N_0000000001/N_0000000001_00040.jpg"], "not downloaded"),
        ("openface", openface, ["processed/clip/frame_det_00_000002"], "no face"),
    ):
        tree(tmp_path / layout)
        unusable = {entry.name: entry.unusable for entry in read(layout, tmp_path / layout).values() if entry.unusable}
        assert list(unusable) == names
        assert why in unusable[names[0]]


def test_masks_are_those_of_their_picture_and_in_the_order_of_painting(tmp_path: Path) -> None:
    celebamask(tmp_path)
    put(tmp_path, *(f"CelebAMask-HQ-mask-anno/{folder}_skin.png" for folder in ("0/00010", "1/00002", "0/02000")))
    put(tmp_path, "CelebA-HQ-img/2000.jpg", "CelebAMask-HQ-mask-anno/1/02000_hair.png")
    entries = read("celebamask-hq", tmp_path)
    found = {name: [(REGIONS[region], file.name) for region, file in entry.regions] for name, entry in entries.items()}
    assert found == {
        "0.jpg": [("skin", "00000_skin.png"), ("brows", "00000_l_brow.png")],
        "2.jpg": [],
        "10.jpg": [("skin", "00010_skin.png")],
        "2000.jpg": [("background", "02000_hair.png")],
    }


def test_boxes_are_corners_in_pixels(tmp_path: Path) -> None:
    for tree in (affectnet, openface, pyfeat, csv):
        tree(tmp_path / tree.__name__)
    assert read("affectnet", tmp_path / "affectnet")["689/a.jpg"].box == (10, 20, 40, 60)
    assert read("openface", tmp_path / "openface")["processed/photo/face_det_000000"].box == (10, 20, 30, 60)
    assert read("py-feat", tmp_path / "pyfeat" / "fex.csv")["a.jpg#0"].box == pytest.approx(
        (196.9, 140.6, 370.7, 398.2)
    )
    assert read("csv", tmp_path / "csv" / "mine.csv")["a/1.png"].box == (1, 2, 3, 4)
    assert read("csv", tmp_path / "csv" / "mine.csv")["a/2.png"].box is None


def test_tables_of_action_units_become_blendshapes(tmp_path: Path) -> None:
    for tree in (emotionet, openface, pyfeat, csv):
        tree(tmp_path / tree.__name__)
    smile = {"mouthSmileLeft", "mouthSmileRight"}
    of_url = read("emotionet", tmp_path / "emotionet")["N_0000000001/N_0000000001_00039.jpg"].muscles or {}
    assert {name for name, value in of_url.items() if value} == smile | {"browInnerUp"}
    assert not {"browOuterUpLeft", "browOuterUpRight"} & set(of_url), "999 says nothing of AU 2"
    clip = read("openface", tmp_path / "openface")["processed/clip/frame_det_00_000001"]
    assert clip.muscles == {"browInnerUp": 0.5, "mouthSmileLeft": 1.0, "mouthSmileRight": 1.0}
    assert (read("py-feat", tmp_path / "pyfeat" / "fex.csv")["a.jpg#0"].muscles or {})["mouthSmileLeft"] == 0.9
    assert read("csv", tmp_path / "csv" / "mine.csv")["a/1.png"].muscles == {
        "jawOpen": 0.25,
        "mouthSmileLeft": 0.5,
        "mouthSmileRight": 0.5,
    }


def test_the_units_name_blendshapes_that_exist_on_both_sides() -> None:
    for shapes in SHAPES.values():
        assert set(shapes) <= set(BLENDSHAPES)
        assert sum(name.endswith("Left") for name in shapes) == sum(name.endswith("Right") for name in shapes)


def test_two_units_of_one_blendshape_give_the_larger() -> None:
    assert muscles_of({"AU26_r": "1", "AU27_r": "4", "AU26_c": "1"}) == {"jawOpen": 0.8}
    assert muscles_of({"AU26_r": "9"}) == {"jawOpen": 1.0}


def test_a_pickled_annotation_is_not_opened(tmp_path: Path) -> None:
    affectnet_arrays(tmp_path)
    np.save(tmp_path / "train_set" / "annotations" / "0_exp.npy", np.array({"expression": 1}, object))
    assert read("affectnet", tmp_path)["train_set/0.jpg"].emotion == ""


def test_damaged_rows_spoil_no_others(tmp_path: Path) -> None:
    fer_table(tmp_path)
    with (tmp_path / "fer2013.csv").open("a") as file:
        file.write("3,1 2 3,Training\nx,,Other\n")
    entries = list(LAYOUTS["fer2013"].read(tmp_path))
    assert [bool(entry.unusable) for entry in entries] == [False] * 4 + [True] * 2


def test_labels_that_do_not_belong_to_the_pictures_are_refused(tmp_path: Path) -> None:
    ferplus(tmp_path)
    text = (tmp_path / "fer2013new.csv").read_text().splitlines()
    (tmp_path / "fer2013new.csv").write_text("\n".join(text[:-1]))
    with pytest.raises(MienError, match="differ in length"):
        list(LAYOUTS["ferplus"].read(tmp_path))


def test_what_is_in_no_layout_is_said_with_the_choices(tmp_path: Path) -> None:
    put(tmp_path, "holiday/1.jpg")
    with pytest.raises(MienError, match=r"no layout that mien knows.*rafd"):
        find_layout(tmp_path)
    assert find_layout(tmp_path, "folder") == "folder"


def test_splits_are_stable_shared_out_and_by_person() -> None:
    people = [f"person {i // 3}" for i in range(9000)]
    splits = splits_of(people, [None] * len(people))
    for name, share in SHARES.items():
        assert splits.count(name) / len(splits) == pytest.approx(share, abs=0.02)
    assert len(set(zip(people, splits, strict=True))) == len(set(people))
    assert splits_of(["newcomer", *people], [None] * (len(people) + 1))[1:] == splits


def test_official_splits_win_and_the_held_out_copy_is_kept() -> None:
    assert splits_of(["a", "b", "c"], ["train", "val", "test"]) == ["train", "val", "test"]
    assert splits_of(["a", "a", "b", "b"], ["train", "test", "val", "train"]) == ["", "test", "val", ""]


def test_a_collection_without_val_gives_some_of_train() -> None:
    people = [str(i) for i in range(4000)]
    splits = splits_of(people, ["train"] * 3200 + ["test"] * 800)
    assert splits[3200:] == ["test"] * 800
    assert splits.count("val") == pytest.approx(200, abs=50)


def test_twins_are_found_mirrored_and_recompressed_and_others_are_not() -> None:
    rng = np.random.default_rng(0)
    rough = [Image.fromarray(rng.integers(0, 255, (5, 5), np.uint8)).resize((16, 16), 3) for _ in range(30)]
    pictures = np.stack([np.asarray(image) for image in rough])
    noisy = (pictures[:5] + rng.normal(0, 1, (5, 16, 16))).clip(0, 255).astype(np.uint8)
    groups = twins(np.concatenate([pictures, noisy, pictures[5:8, :, ::-1]]))
    assert groups == [*range(30), *range(5), *range(5, 8)]
    assert twins(np.full((3, 16, 16), 9, np.uint8)) == [0, 1, 2], "blank pictures are alike, but nobody's twins"


def test_nameless_twins_are_one_person() -> None:
    thumbs = [bytes(np.random.default_rng(seed).integers(0, 255, 256, np.uint8)) for seed in (0, 1, 0)]
    entries = [Entry(name, Path(name)) for name in ("c", "b", "a")]
    assert people_of(entries, thumbs) == ["a", "b", "a"]
    assert people_of([*entries, Entry("d", Path("d"), identity="x")], [*thumbs, thumbs[0]])[3] == "x"
