"""Whatever makes an edit faster, its pictures stay: those of the plain way, `plain.edit`, to a level of 255."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import plain
from mien import Editor
from mien.editor import Request
from mien.model import DEFAULT, Model, shipped
from mien.photo import align, blend, find
from mien.target import Target, by_muscles, by_name

EXAMPLE = Path(__file__).parent.parent / "examples" / "astronaut.png"
FACE = (76.0, 71.0)
"""The middle of the face in ``portrait``, roughly."""


@pytest.fixture(scope="module")
def editor() -> Editor:
    return Editor()


@cache
def portrait(side: int = 160) -> np.ndarray:
    """The example's face with what is around it, ``side`` pixels wide."""
    picture = Image.open(EXAMPLE).convert("RGB").crop((150, 60, 310, 220))
    return np.asarray(picture.resize((side, side), Image.Resampling.BICUBIC))


def gray() -> np.ndarray:
    return np.repeat(np.asarray(Image.fromarray(portrait()).convert("L"))[..., None], 3, 2)


def pair() -> np.ndarray:
    """Two faces side by side, the second one mirrored and a third smaller, the whole turned by 8 degrees."""
    second = np.pad(np.asarray(Image.fromarray(portrait()[:, ::-1]).resize((106, 106))), ((20, 34), (0, 0), (0, 0)))
    both = np.pad(np.concatenate([portrait(), second], 1), ((53, 53), (0, 0), (0, 0)))
    return np.asarray(Image.fromarray(both).rotate(8, Image.Resampling.BICUBIC))


def same(fast: np.ndarray, slow: np.ndarray) -> bool:
    """No more than one value in forty is off, and that by one level; one in ten thousand by up to four, where lips part
    and neighbouring pixels come from far apart."""
    off = np.abs(fast.astype(int) - slow)
    return bool(off.max() <= 4 and (off > 1).mean() < 1e-4 and (off > 0).mean() < 0.025)


def hidden() -> np.ndarray:
    """A sheet of paper before the left half of the portrait's chin and mouth."""
    covered = portrait().copy()
    covered[82:140, 30:80] = 235 - (np.arange(58) // 2)[:, None, None]
    return covered


WISHES: list[tuple[Request, Target, float]] = [
    ("happiness", by_name("happiness"), 1.0),
    ("sadness", by_name("sadness"), 0.4),
    ("surprise", by_name("surprise"), 1.0),
    ("anger", by_name("anger"), 1.5),
    ({"jawOpen": 0.7, "browInnerUp": 1.0}, by_muscles({"jawOpen": 0.7, "browInnerUp": 1.0}), 1.0),
]


@pytest.mark.parametrize(("wish", "target", "intensity"), WISHES, ids=lambda value: str(value)[:20])
def test_an_edit_is_the_plain_one(editor: Editor, wish: Request, target: Target, intensity: float) -> None:
    edited = editor.edit(portrait(), wish, intensity=intensity).rgb
    assert same(edited, plain.edit(portrait(), [FACE], target, intensity))
    assert not same(edited, portrait())


def test_so_are_the_edits_of_a_sweep_of_a_gray_face(editor: Editor) -> None:
    shares = [0.3, 1.0]
    for edited, share in zip(editor.sweep(gray(), "anger", shares), shares, strict=True):
        assert same(edited.rgb, plain.edit(gray(), [FACE], by_name("anger"), share))


def test_so_is_that_of_two_faces(editor: Editor) -> None:
    seen = editor.see(pair())
    assert len(seen) == 2
    middles = [(float(x), float(y)) for x, y in (each.face.landmarks.mean(0) for each in seen)]
    assert same(editor.edit(pair(), "happiness").rgb, plain.edit(pair(), middles, by_name("happiness"), 1.0))


def test_so_is_that_of_a_large_face_rendered_in_bands(editor: Editor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blend, "BAND", 50_000)
    large, middle = portrait(480), (FACE[0] * 3, FACE[1] * 3)
    assert same(editor.edit(large, "happiness").rgb, plain.edit(large, [middle], by_name("happiness"), 1.0))


def test_so_is_that_of_a_face_with_something_before_it(editor: Editor) -> None:
    edited = editor.edit(hidden(), "surprise").rgb
    assert same(edited, plain.edit(hidden(), [FACE], by_name("surprise"), 1.0))
    painted_over = Editor(occlusion=False).edit(hidden(), "surprise").rgb
    assert not same(edited, painted_over)


def searched_at_half_the_size(patch: pytest.MonkeyPatch, folder: Path) -> None:
    patch.setattr(find, "USUAL", portrait().shape[0])  # in place of twice that


def looked_at_once(patch: pytest.MonkeyPatch, folder: Path) -> None:
    """The second look at the landmarks gives what the first one gave."""
    first: list[tuple[np.ndarray, np.ndarray]] = []
    read = find.read_landmarks

    def once(*given: object) -> tuple[np.ndarray, np.ndarray]:
        first.append(read(*given)) if not first else None  # type: ignore[arg-type]
        return first[0]

    patch.setattr(find, "read_landmarks", once)


def cropped_by_nearest_pixels(patch: pytest.MonkeyPatch, folder: Path) -> None:
    cubic = align.crop

    def coarse(rgb: np.ndarray, matrix: np.ndarray, size: int) -> np.ndarray:
        picture = Image.fromarray(cubic(rgb, matrix, size // 2))
        return np.asarray(picture.resize((size, size), Image.Resampling.NEAREST))

    patch.setattr(align, "crop", coarse)


def rendered_at_half_the_size(patch: pytest.MonkeyPatch, folder: Path) -> None:
    whole = blend.apply

    def coarse(rgb: np.ndarray, matrix: np.ndarray, *rest: np.ndarray) -> np.ndarray:
        size = rgb.shape[1::-1]
        half = np.asarray(Image.fromarray(rgb).resize((size[0] // 2, size[1] // 2)))
        change = whole(half, matrix * [[2, 2, 1]], *rest).astype(float) - half
        planes = [np.asarray(Image.fromarray(change[..., c].astype(np.float32)).resize(size)) for c in range(3)]
        return np.clip(np.rint(rgb + np.stack(planes, -1)), 0, 255).astype(np.uint8)

    patch.setattr(blend, "apply", coarse)


def in_eight_bits(patch: pytest.MonkeyPatch, folder: Path) -> None:
    """The model's weights as int8."""
    pytest.importorskip("onnx", reason="needs the lab")
    from onnxruntime.quantization import quantize_dynamic
    from onnxruntime.quantization.shape_inference import quant_pre_process

    ready, small = folder / "ready.onnx", folder / "int8.onnx"
    quant_pre_process(shipped(DEFAULT).path, ready, skip_symbolic_shape=True)
    quantize_dynamic(ready, small)
    patch.setattr("mien.editor.find_model", lambda name: Model(small))


SHORTCUTS = [
    searched_at_half_the_size,
    looked_at_once,
    cropped_by_nearest_pixels,
    rendered_at_half_the_size,
    in_eight_bits,
]


@pytest.mark.parametrize("shortcut", SHORTCUTS, ids=lambda shortcut: shortcut.__name__)
def test_shortcuts_are_refused(
    shortcut: Callable[[pytest.MonkeyPatch, Path], None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The same comparison fails for what only comes near."""
    shortcut(monkeypatch, tmp_path)
    assert not same(Editor().edit(portrait(), "happiness").rgb, plain_happiness())


@cache
def plain_happiness() -> np.ndarray:
    return plain.edit(portrait(), [FACE], by_name("happiness"), 1.0)
