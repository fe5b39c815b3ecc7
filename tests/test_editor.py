"""One photograph, edited by the models that mien ships: what moves, and what must not."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from mien.editor import Edited, Editor, Seen
from mien.errors import MienError
from mien.expressions import BLENDSHAPES
from mien.photo.read import Photo

EXAMPLE = Path(__file__).parent.parent / "examples" / "astronaut.png"


@pytest.fixture(scope="module")
def editor() -> Editor:
    return Editor()


@pytest.fixture(scope="module")
def photo() -> Photo:
    return Photo.from_pil(Image.open(EXAMPLE))


@pytest.fixture(scope="module")
def seen(editor: Editor, photo: Photo) -> list[Seen]:
    return editor.see(photo)


def score(item: Seen, *muscles: str) -> float:
    return float(np.mean([item.blendshapes[BLENDSHAPES.index(name)] for name in muscles]))


def side_by_side(photo: Photo) -> np.ndarray:
    """The example's head twice, close together."""
    head = photo.rgb[20:260, 130:330]
    return np.concatenate([head, head[:, ::-1]], 1)


def test_the_face_is_found_and_measured_as_it_is(seen: list[Seen]) -> None:
    assert len(seen) == 1
    assert score(seen[0], "mouthSmileLeft", "mouthSmileRight") > 0.5
    assert seen[0].expression == "happiness"


def test_a_smile_is_taken_away(editor: Editor, photo: Photo, seen: list[Seen]) -> None:
    after = editor.see(editor.edit(photo, "neutral", seen=seen).rgb)[0]
    assert score(after, "mouthSmileLeft", "mouthSmileRight") < 0.5 * score(seen[0], "mouthSmileLeft", "mouthSmileRight")


def test_surprise_lifts_the_brows_and_takes_the_smile_away(editor: Editor, photo: Photo, seen: list[Seen]) -> None:
    after = editor.see(editor.edit(photo, "surprise", seen=seen).rgb)[0]
    for muscle in ("browOuterUpLeft", "browInnerUp"):
        assert score(after, muscle) > score(seen[0], muscle) + 0.15, muscle
    assert score(after, "mouthSmileLeft", "mouthSmileRight") < 0.5 * score(seen[0], "mouthSmileLeft", "mouthSmileRight")


@pytest.mark.parametrize(("wish", "more"), [("surprise", 0.15), ({"jawOpen": 0.7}, 0.15)])
def test_the_jaw_opens_as_far_as_asked(
    editor: Editor, photo: Photo, seen: list[Seen], wish: str | dict[str, float], more: float
) -> None:
    after = editor.see(editor.edit(photo, wish, seen=seen).rgb)[0]
    assert score(after, "jawOpen") > score(seen[0], "jawOpen") + more


def test_a_reference_photographs_jaw_is_followed(editor: Editor, photo: Photo, seen: list[Seen]) -> None:
    reference = editor.edit(photo, "surprise", seen=seen)
    copied = editor.see(editor.edit(photo, like=reference.rgb, seen=seen).rgb)[0]
    assert score(copied, "jawOpen") > score(seen[0], "jawOpen") + 0.1


def test_intensity_zero_is_the_photograph_bit_for_bit(editor: Editor, photo: Photo, seen: list[Seen]) -> None:
    np.testing.assert_array_equal(editor.edit(photo, "anger", intensity=0, seen=seen).rgb, photo.rgb)


def test_more_intensity_changes_more(editor: Editor, photo: Photo, seen: list[Seen]) -> None:
    results = editor.sweep(photo, "surprise", [0, 0.25, 0.5, 0.75, 1], seen=seen)
    changes = [np.abs(r.rgb.astype(int) - photo.rgb).sum() for r in results]
    assert changes[0] == 0
    assert all(more > less for less, more in pairwise(changes))


def test_a_sweep_is_the_same_as_single_edits(editor: Editor, photo: Photo, seen: list[Seen]) -> None:
    swept = editor.sweep(photo, "sadness", [0.3, 0.8], seen=seen)
    for result, intensity in zip(swept, [0.3, 0.8], strict=True):
        single = editor.edit(photo, "sadness", intensity=intensity, seen=seen).rgb
        assert np.abs(single.astype(int) - result.rgb).max() <= 1


def test_nothing_beyond_the_face_changes(editor: Editor, photo: Photo, seen: list[Seen]) -> None:
    result = editor.edit(photo, "surprise", seen=seen)
    changed = np.argwhere((result.rgb != photo.rgb).any(-1))
    x0, y0, x1, y1 = seen[0].face.box
    reach = seen[0].face.size
    assert len(changed) > 500
    assert changed[:, 1].min() > x0 - reach
    assert changed[:, 1].max() < x1 + reach
    assert changed[:, 0].min() > y0 - reach
    assert changed[:, 0].max() < y1 + reach


def test_only_the_chosen_face_changes_and_the_other_keeps_every_pixel(editor: Editor, photo: Photo) -> None:
    pair = side_by_side(photo)
    faces = editor.see(pair)
    assert len(faces) == 2
    left = min(range(2), key=lambda i: faces[i].face.box[0])
    result = editor.edit(pair, "surprise", face=str(left + 1), seen=faces)
    changed = np.argwhere((result.rgb != pair).any(-1))
    assert changed[:, 1].max() < faces[1 - left].face.box[0]
    x, y = faces[left].face.points.mean(0)
    same = editor.edit(pair, "surprise", face=f"{x:.0f},{y:.0f}", seen=faces)
    np.testing.assert_array_equal(same.rgb, result.rgb)


def test_all_faces_change_in_one_call(editor: Editor, photo: Photo) -> None:
    pair = side_by_side(photo)
    result = editor.edit(pair, "surprise")
    middle = pair.shape[1] // 2
    assert (result.rgb != pair)[:, :middle].any()
    assert (result.rgb != pair)[:, middle:].any()
    assert result.chosen == [0, 1]


def test_a_single_muscle_moves_what_it_names(editor: Editor, photo: Photo, seen: list[Seen]) -> None:
    after = editor.see(editor.edit(photo, {"jawOpen": 1.0}, seen=seen).rgb)[0]
    assert score(after, "jawOpen") > score(seen[0], "jawOpen") + 0.15
    assert abs(score(after, "browInnerUp") - score(seen[0], "browInnerUp")) < 0.15


def test_a_reference_photograph_is_followed(editor: Editor, photo: Photo, seen: list[Seen]) -> None:
    reference: Edited = editor.edit(photo, "surprise", seen=seen)
    copied = editor.see(editor.edit(photo, like=reference.rgb, seen=seen).rgb)[0]
    assert score(copied, "browInnerUp") > score(seen[0], "browInnerUp") + 0.05
    assert score(copied, "browOuterUpLeft") > score(seen[0], "browOuterUpLeft") + 0.15
    assert score(copied, "mouthSmileLeft", "mouthSmileRight") < 0.5 * score(
        seen[0], "mouthSmileLeft", "mouthSmileRight"
    )


def test_a_gray_face_stays_gray(editor: Editor, photo: Photo) -> None:
    gray = np.repeat(photo.rgb.mean(2, keepdims=True).round().astype(np.uint8), 3, 2)
    after = editor.edit(Photo.from_array(gray), "neutral").rgb
    assert not np.array_equal(after, gray)
    assert np.ptp(after.astype(int), axis=2).max() <= 1


def test_the_edit_is_made_at_the_photographs_own_resolution(editor: Editor, photo: Photo) -> None:
    large = np.asarray(Image.fromarray(photo.rgb).resize((1536, 1536), Image.Resampling.LANCZOS))
    grain = np.random.default_rng(0).integers(-25, 25, (512, 512, 1)).repeat(3, 0).repeat(3, 1)
    large = np.clip(large + grain, 0, 255).astype(np.uint8)  # pores of 3 px, which a 128 px crop of 400 px cannot hold
    faces = editor.see(large)
    result = editor.edit(large, "surprise", seen=faces).rgb
    x0, y0, x1, y1 = (int(v) for v in faces[0].face.box)

    def sharpness(rgb: np.ndarray) -> float:
        g = rgb[y0:y1, x0:x1].mean(-1)
        return float((4 * g[1:-1, 1:-1] - g[:-2, 1:-1] - g[2:, 1:-1] - g[1:-1, :-2] - g[1:-1, 2:]).var())

    assert sharpness(result) > 0.7 * sharpness(large)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (dict(to="happyness"), "choose one of"),
        (dict(to="happiness", intensity=1.6), "between 0 and 1.5"),
        (dict(to="happiness", face="7"), "1"),
        (dict(to={"jawOpn": 0.5}), "jawOpen"),
        (dict(), "say what to change to"),
    ],
)
def test_a_wish_that_cannot_be_met_says_what_can(
    editor: Editor, photo: Photo, seen: list[Seen], call: dict[str, object], message: str
) -> None:
    with pytest.raises(MienError, match=message) as error:
        editor.edit(photo, seen=seen, **call)  # type: ignore[arg-type]
    assert "\n" not in str(error.value)


def test_a_picture_without_a_face_is_refused_in_one_line(editor: Editor) -> None:
    with pytest.raises(MienError, match="no face"):
        editor.edit(np.full((200, 200, 3), 90, np.uint8), "happiness")


def hand_before(rgb: np.ndarray, face: Seen) -> tuple[np.ndarray, np.ndarray]:
    """``rgb`` with a drawn hand of the face's own skin before its mouth, and where the hand is, (H, W) booleans."""
    left, right = (face.face.landmarks[i] for i in (48, 54))
    (x, y), width = (left + right) / 2, float(np.hypot(*(right - left)))
    nose = face.face.landmarks[28:31].mean(0).astype(int)
    skin = tuple(int(c) for c in np.median(rgb[nose[1] - 3 : nose[1] + 4, nose[0] - 3 : nose[0] + 4], (0, 1)))
    hand, mask = Image.fromarray(rgb.repeat(4, 0).repeat(4, 1)), Image.new("L", (4 * rgb.shape[1], 4 * rgb.shape[0]))
    for picture, colours in ((hand, (tuple(int(0.75 * c) for c in skin), skin)), (mask, (255, 255))):
        draw = ImageDraw.Draw(picture)
        for finger in range(4):
            across, down = 4 * (x - 1.3 * width), 4 * (y + (0.26 * finger - 0.36) * width)
            for colour, thick in zip(colours, (0.14, 0.12), strict=True):
                box = [across, down - 4 * thick * width, 4 * (x + 0.7 * width), down + 4 * thick * width]
                draw.rounded_rectangle(box, 4 * thick * width, colour)
    size = (rgb.shape[1], rgb.shape[0])
    shown = np.asarray(hand.resize(size, Image.Resampling.BOX))
    return shown, np.asarray(mask.resize(size, Image.Resampling.BOX)) > 250


def test_a_hand_before_the_mouth_stays_as_it_is(editor: Editor, photo: Photo, seen: list[Seen]) -> None:
    covered, hand = hand_before(photo.rgb, seen[0])
    face = editor.see(covered)
    kept, painted = (
        Editor(occlusion=occlusion).edit(covered, "surprise", seen=face).rgb.astype(int) for occlusion in (True, False)
    )
    assert np.abs(kept - covered)[hand].max() <= 1
    assert np.abs(painted - covered)[hand].max() > 30
    brows = slice(*(int(v) for v in (seen[0].face.box[1], seen[0].face.landmarks[40, 1])))
    assert np.abs(kept - covered)[brows].max() > 10, "what is not covered is edited"


def test_what_nothing_covers_is_edited_whole(photo: Photo, seen: list[Seen]) -> None:
    with_, without = (Editor(occlusion=occlusion).edit(photo, "surprise", seen=seen).rgb for occlusion in (True, False))
    np.testing.assert_array_equal(with_, without)
