"""What holds for every face, edit and file, tried on many that hypothesis thinks of."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageCms, PngImagePlugin
from watch import SOAK

pytest.importorskip("hypothesis", reason="needs the extra dev")
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from mien.expressions import LANDMARK_MIRROR, TEMPLATE
from mien.photo import align, blend
from mien.photo.find import Face, ShippedFinder
from mien.photo.provenance import read_mark
from mien.photo.read import read
from mien.photo.write import write

EXAMPLE = Path(__file__).parents[2] / "examples" / "astronaut.png"
TARGET = np.array(TEMPLATE)


def many(examples: int, longer: int) -> settings:
    """So many examples, the same ones each time; in a soak ``longer``, and others each time."""
    return settings(
        max_examples=longer if SOAK else examples,
        derandomize=not SOAK,
        database=None,
        deadline=None,
        phases=tuple(Phase) if SOAK else (Phase.explicit, Phase.generate),
        suppress_health_check=list(HealthCheck),
    )


def turned(degrees: float, scale: float, x: float, y: float) -> np.ndarray:
    """(2, 3): rotation, scale, then shift."""
    cos, sin = scale * np.cos(np.radians(degrees)), scale * np.sin(np.radians(degrees))
    return np.array([[cos, -sin, x], [sin, cos, y]])


places = st.builds(turned, st.floats(-180, 180), st.floats(20, 300), st.floats(-50, 250), st.floats(-50, 250))
"""Where a crop lies in a photograph: (2, 3), crop fractions to photo pixels."""


# --- crops ---------------------------------------------------------------------------------------------------------


@many(100, 20_000)
@given(places, arrays.arrays(float, (5, 2), elements=st.floats(-0.05, 0.05)))
def test_a_crop_and_back_is_where_it_was(place: np.ndarray, away: np.ndarray) -> None:
    points = align.move(place, TARGET)
    matrix = align.similarity(points)
    np.testing.assert_allclose(matrix, align.inverse(place), rtol=1e-6, atol=1e-6)
    rough = align.similarity(align.move(place, TARGET + away))
    np.testing.assert_allclose(align.move(align.inverse(rough), align.move(rough, points)), points, atol=1e-6)
    assert rough[0, 0] == pytest.approx(rough[1, 1])  # no shear, no mirror
    assert rough[0, 1] == pytest.approx(-rough[1, 0])


@many(25, 3000)
@given(places, st.sampled_from([32, 64, 128]))
def test_a_crop_shows_what_lies_there(place: np.ndarray, size: int) -> None:
    y, x = np.mgrid[:200, :200] + 0.5
    slopes = np.stack([x, y, 255 - x / 2 - y / 2], 2)
    shown = align.crop(np.rint(slopes).astype(np.uint8), align.inverse(place), size)
    middles = (np.arange(size) + 0.5) / size
    there = align.move(place, np.stack(np.meshgrid(middles, middles), -1))
    inside = ((there > 6) & (there < 194)).all(-1)
    want = np.stack([there[..., 0], there[..., 1], 255 - there.sum(-1) / 2], -1)
    assert np.abs(shown - want)[inside].max(initial=0) < 2.5


# --- blending ------------------------------------------------------------------------------------------------------


@many(25, 2000)
@given(places, st.integers(0, 2**32 - 1), st.booleans())
def test_a_blend_touches_nothing_outside_its_mask(place: np.ndarray, seed: int, still: bool) -> None:
    draw, size = np.random.default_rng(seed), 32
    photo = draw.integers(0, 256, (120, 150, 3), np.uint8)
    weight = blend.weights(align.inverse(place), [], size)
    weight[draw.random((size // 8, size // 8)).repeat(8, 0).repeat(8, 1) < 0.5] = 0
    flow = draw.normal(0, 0.1, (2, size, size)).astype(np.float32)
    delta = draw.normal(0, 1, (3, size, size)).astype(np.float32)
    before, matrix = photo.copy(), align.inverse(place)
    edited = blend.apply(photo, matrix, weight, flow, delta)
    assert edited.shape == photo.shape
    assert np.array_equal(photo, before)
    reach = 2  # texels: the weight is enlarged with a cubic filter
    mask = np.pad(weight > 0, reach + 1)
    wide = np.lib.stride_tricks.sliding_window_view(np.pad(mask, reach), (2 * reach + 1,) * 2).any((2, 3))
    y, x = np.mgrid[:120, :150] + 0.5
    texel = np.floor(align.move(matrix, np.stack([x, y], -1)) * size).astype(int) + reach + 1
    column, row = np.clip(texel, 0, len(wide) - 1).transpose(2, 0, 1)
    outside = ~wide[row, column]
    assert np.array_equal(edited[outside], photo[outside])
    nothing = [(np.zeros_like(weight), flow, delta), (weight, 0 * flow, 0 * delta)]
    assert np.array_equal(blend.apply(photo, matrix, *nothing[still]), photo)


# --- finding -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def portrait() -> Image.Image:
    return Image.open(EXAMPLE).convert("RGB").crop((60, 0, 400, 340))


@pytest.fixture(scope="module")
def finder() -> ShippedFinder:
    return ShippedFinder(threads=1)


@pytest.fixture(scope="module")
def known(portrait: Image.Image, finder: ShippedFinder) -> Face:
    (face,) = finder.find(np.asarray(portrait))
    return face


@many(8, 400)
@given(st.floats(-30, 30), st.floats(0.4, 1.8), st.booleans())
def test_a_face_is_found_where_it_went(
    portrait: Image.Image, finder: ShippedFinder, known: Face, degrees: float, scale: float, flip: bool
) -> None:
    width, height = (round(scale * side) for side in portrait.size)
    there = turned(degrees, scale, 0, 0)
    there[:, 2] = np.array([width, height]) / 2 - there[:, :2] @ (np.array(portrait.size) / 2)
    goal = align.move(there, known.landmarks)
    picture = portrait.transform(
        (width, height), Image.Transform.AFFINE, align.inverse(there).ravel().tolist(), Image.Resampling.BICUBIC
    )
    if flip:
        picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        goal = (np.array([width, 0]) + goal * [-1, 1])[list(LANDMARK_MIRROR)]
    found = finder.find(np.asarray(picture))
    assert found
    away = np.hypot(*(found[0].landmarks - goal).T).mean() / (known.size * scale)
    assert away < 0.06


# --- metadata ------------------------------------------------------------------------------------------------------

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
TEXT = st.text(st.characters(min_codepoint=32, max_codepoint=126, exclude_characters="<>&\"'"), min_size=1, max_size=20)


@many(60, 5000)
@given(
    kind=st.sampled_from([("JPEG", "jpg"), ("PNG", "png"), ("WEBP", "webp"), ("TIFF", "tif")]),
    maker=TEXT,
    title=TEXT,
    orientation=st.integers(1, 8),
    alpha=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_what_a_file_says_survives_an_edit(
    tmp_path_factory: pytest.TempPathFactory,
    kind: tuple[str, str],
    maker: str,
    title: str,
    orientation: int,
    alpha: bool,
    seed: int,
) -> None:
    name, suffix = kind
    alpha = alpha and name != "JPEG"
    pixels = np.random.default_rng(seed).integers(0, 256, (9, 7, 3 + alpha), np.uint8)
    folder = tmp_path_factory.mktemp("kept")
    source, out = folder / f"a.{suffix}", folder / f"b.{suffix}"
    source.write_bytes(saved(pixels, name, maker, title, orientation))
    photo = read(source)
    assert photo.rgb.shape[:2] == ((7, 9) if orientation > 4 else (9, 7))
    assert (photo.mode == "RGBA") == alpha
    edited = photo.rgb.copy()
    edited[2, 3] ^= 128
    write(photo, edited, out)
    again = read(out)
    assert again.icc == SRGB
    assert again.exif is not None
    found = Image.Exif()
    found.load(again.exif)
    assert found[ExifTags.Base.Make].strip("\0 ") == maker.strip("\0 ")
    assert found.get(ExifTags.Base.Orientation, 1) == 1
    assert again.xmp is not None
    assert title.encode() in again.xmp
    assert read_mark(out)["tool"].startswith("mien")
    if alpha:
        assert np.array_equal(again.native[..., 3], photo.native[..., 3])
    if name in ("PNG", "TIFF"):  # the others are not lossless
        assert np.array_equal(again.rgb, edited)


def saved(pixels: np.ndarray, name: str, maker: str, title: str, orientation: int) -> bytes:
    exif = Image.Exif()
    exif[ExifTags.Base.Make], exif[ExifTags.Base.Orientation] = maker, orientation
    xmp = (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        f'<rdf:Description rdf:about="" xmlns:p="urn:p" p:title="{title}"/></rdf:RDF></x:xmpmeta>'
    )
    options: dict[str, object] = {"exif": exif, "icc_profile": SRGB, "xmp": xmp.encode()}
    if name == "PNG":
        info = PngImagePlugin.PngInfo()
        info.add_itxt("XML:com.adobe.xmp", xmp)
        options = {"exif": exif, "icc_profile": SRGB, "pnginfo": info}
    if name == "TIFF":
        options = {"icc_profile": SRGB, "tiffinfo": {700: xmp.encode(), 271: maker, 274: orientation}}
    if name == "WEBP":
        options |= {"lossless": True, "exact": True}
    file = BytesIO()
    Image.fromarray(pixels).save(file, name, **options)
    return file.getvalue()
