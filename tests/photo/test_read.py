"""What a user may hand to mien as a photograph, and what they are told when it is none."""

import os
import struct
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps, PngImagePlugin, TiffImagePlugin

from mien.errors import MienError
from mien.photo.read import Photo, eight_bits, read

RNG = np.random.default_rng(7)


def _smooth(channels: int = 3) -> np.ndarray:
    """(20, 30, C) uint8 that JPEG keeps almost as it is."""
    y, x = np.mgrid[:20, :30]
    return np.stack([40 + 5 * x, 60 + 8 * y, 200 - 3 * x - 2 * y, 255 - 9 * y][:channels], axis=2).astype(np.uint8)


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png_16(pixels: np.ndarray) -> bytes:
    """A 16-bit PNG by the format's own rules, unfiltered: an oracle that shares no code with mien."""
    height, width, channels = pixels.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    head = struct.pack(">IIBBBBB", width, height, 16, {1: 0, 2: 4, 3: 2, 4: 6}[channels], 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", head) + _chunk(b"IDAT", zlib.compress(rows)) + _chunk(b"IEND", b"")


def tiff_16(pixels: np.ndarray, order: str, extra: int | None = None) -> bytes:
    """An uncompressed 16-bit TIFF in either byte order."""
    height, width, channels = pixels.shape
    data = pixels.astype("<u2" if order == "II" else ">u2").tobytes()
    tags = {256: width, 257: height, 258: (16,) * channels, 259: 1, 262: {1: 1, 3: 2, 4: 2}[channels], 273: 0}
    directory = TiffImagePlugin.ImageFileDirectory_v2(prefix=order.encode())
    for tag, value in {**tags, 277: channels, 278: height, 279: len(data), 284: 1}.items():
        directory[tag] = value
    if extra is not None:
        directory[338] = extra
    file = BytesIO()
    directory.save(file)
    return file.getvalue() + data


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif", ".bmp"])
def test_rgb_of_every_format_is_seen_as_it_is(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    Image.fromarray(_smooth()).save(path, **({"quality": 100} if suffix in (".jpg", ".webp") else {}))
    photo = read(path)
    assert (photo.mode, photo.path, photo.rgb.dtype, photo.rgb.shape) == ("RGB", path, np.uint8, (20, 30, 3))
    assert np.abs(photo.rgb.astype(int) - _smooth()).max() <= (8 if suffix in (".jpg", ".webp") else 0)
    assert photo.source == path.read_bytes()


def test_the_suffix_does_not_decide_what_a_file_is(tmp_path: Path) -> None:
    Image.fromarray(_smooth()).save(tmp_path / "a.png")
    (tmp_path / "a.png").rename(tmp_path / "a.jpg")
    assert read(tmp_path / "a.jpg").format == "PNG"


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_once(tmp_path: Path, suffix: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[274], exif[271] = orientation, "Maker"
    stored = Image.fromarray(_smooth())
    expected = stored.copy()
    expected.getexif()[274] = orientation
    expected = np.asarray(ImageOps.exif_transpose(expected))
    options = (
        {"lossless": True} if suffix == ".webp" else {"quality": 100, "subsampling": 0} if suffix == ".jpg" else {}
    )
    stored.save(tmp_path / f"a{suffix}", exif=exif, **options)
    photo = read(tmp_path / f"a{suffix}")
    assert photo.rgb.shape == photo.native.shape == expected.shape
    assert np.abs(photo.rgb.astype(int) - expected).max() <= (4 if suffix == ".jpg" else 0)
    kept = Image.Exif()
    kept.load(photo.exif or b"")
    assert kept.get(274, 1) == 1
    assert kept[271] == "Maker"


def test_an_orientation_in_the_xmp_is_applied_and_reset(tmp_path: Path) -> None:
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><a tiff:Orientation="6" xmlns:tiff="t"/></x:xmpmeta>'
    Image.fromarray(_smooth()).save(tmp_path / "a.jpg", xmp=xmp)
    photo = read(tmp_path / "a.jpg")
    assert photo.rgb.shape == (30, 20, 3)
    assert photo.xmp is not None
    assert b'tiff:Orientation="1"' in photo.xmp


def test_the_stale_thumbnail_goes_and_the_maker_note_stays(tmp_path: Path) -> None:
    thumbnail, note = b"\xff\xd8THUMBNAIL\xff\xd9", b"MAKER-NOTE-WITH-OFFSETS"
    first = struct.pack("<HHHII", 2, 274, 3, 1, 3) + struct.pack("<HHII", 37500, 7, len(note), 100)
    second = struct.pack("<HHHII", 2, 0x201, 4, 1, 140) + struct.pack("<HHIII", 0x202, 4, 1, len(thumbnail), 0)
    body = (b"II*\0" + struct.pack("<I", 8) + first + struct.pack("<I", 50) + b"\0" * 12 + second).ljust(100, b"\0")
    body = (body + note).ljust(140, b"\0") + thumbnail
    Image.fromarray(_smooth()).save(tmp_path / "a.jpg", exif=b"Exif\0\0" + body)
    exif = read(tmp_path / "a.jpg").exif
    assert exif is not None
    assert b"THUMBNAIL" not in exif
    assert exif[6 + 100 :].startswith(note)
    parsed = Image.Exif()
    parsed.load(exif)
    assert parsed[274] == 1
    assert parsed.get_ifd(1) == {}


@pytest.mark.filterwarnings("ignore")
def test_exif_that_is_junk_does_not_cost_the_photograph(tmp_path: Path) -> None:
    Image.fromarray(_smooth()).save(tmp_path / "a.jpg", exif=b"Exif\0\0II*\0\xff\xff\xff\xffjunk")
    photo = read(tmp_path / "a.jpg")
    assert photo.rgb.shape == (20, 30, 3)
    assert photo.exif is None


def test_icc_and_resolution_are_kept(tmp_path: Path) -> None:
    Image.fromarray(_smooth()).save(tmp_path / "a.jpg", icc_profile=b"profile", dpi=(240, 240))
    photo = read(tmp_path / "a.jpg")
    assert (photo.icc, photo.dpi) == (b"profile", (240, 240))


def test_gray_alpha_and_palette(tmp_path: Path) -> None:
    rgba = RNG.integers(0, 256, (9, 8, 4)).astype(np.uint8)
    Image.fromarray(rgba).save(tmp_path / "rgba.png")
    Image.fromarray(rgba[:, :, :2], "LA").save(tmp_path / "la.png")
    Image.fromarray(rgba[:, :, 0]).save(tmp_path / "l.png")
    palette = Image.fromarray(rgba[:, :, 0], "P")
    palette.putpalette(RNG.integers(0, 256, 768).astype(np.uint8).tobytes())
    palette.save(tmp_path / "p.png")
    palette.save(tmp_path / "pa.png", transparency=bytes(range(256)))
    seen = {name: read(tmp_path / f"{name}.png") for name in ("rgba", "la", "l", "p", "pa")}
    modes = {"rgba": "RGBA", "la": "LA", "l": "L", "p": "RGB", "pa": "RGBA"}
    assert {name: photo.mode for name, photo in seen.items()} == modes
    assert (seen["rgba"].rgb == rgba[:, :, :3]).all()  # the colour under alpha, not composited
    assert (seen["rgba"].native == rgba).all()
    assert (seen["la"].native == rgba[:, :, :2]).all()
    assert (seen["l"].rgb == rgba[:, :, :1]).all()
    assert (seen["p"].rgb == np.asarray(palette.convert("RGB"))).all()
    assert (seen["pa"].rgb == seen["p"].rgb).all()
    assert (seen["pa"].native[:, :, 3] == rgba[:, :, 0]).all()


def test_a_transparent_colour_becomes_alpha(tmp_path: Path) -> None:
    Image.fromarray(_smooth()).save(tmp_path / "a.png", transparency=tuple(int(value) for value in _smooth()[3, 4]))
    photo = read(tmp_path / "a.png")
    assert photo.mode == "RGBA"
    assert (photo.native[3, 4, 3], photo.native[5, 6, 3]) == (0, 255)


def test_cmyk_is_seen_in_its_right_colours(tmp_path: Path) -> None:
    Image.new("CMYK", (16, 16), (0, 255, 255, 0)).save(tmp_path / "red.jpg", quality=95)  # stored inverted, by Adobe
    Image.new("CMYK", (16, 16), (0, 255, 255, 0)).save(tmp_path / "red.tif")
    for name in ("red.jpg", "red.tif"):
        photo = read(tmp_path / name)
        assert photo.mode == "CMYK"
        assert np.abs(photo.rgb.astype(int) - (255, 0, 0)).max() <= 3


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_sixteen_bits_of_a_png_are_all_read(tmp_path: Path, channels: int) -> None:
    pixels = RNG.integers(0, 65536, (9, 7, channels)).astype(np.uint16)
    (tmp_path / "a.png").write_bytes(png_16(pixels))
    photo = read(tmp_path / "a.png")
    assert photo.mode == {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}[channels]
    assert (photo.native.reshape(pixels.shape) == pixels).all()
    expected = np.rint(pixels[:, :, : 3 if channels > 2 else 1] / 257)
    assert (photo.rgb == expected).all()


@pytest.mark.parametrize("order", ["II", "MM"])
@pytest.mark.parametrize(("channels", "extra", "mode"), [(1, None, "L"), (3, None, "RGB"), (4, 2, "RGBA")])
def test_sixteen_bits_of_a_tiff_are_all_read(
    tmp_path: Path, order: str, channels: int, extra: int | None, mode: str
) -> None:
    pixels = RNG.integers(0, 65536, (9, 7, channels)).astype(np.uint16)
    (tmp_path / "a.tif").write_bytes(tiff_16(pixels, order, extra))
    photo = read(tmp_path / "a.tif")
    assert photo.mode == mode
    assert (photo.native.reshape(pixels.shape) == pixels).all()


def test_eight_bits_rounds() -> None:
    assert eight_bits(np.array([0, 128, 129, 257, 65535], np.uint16)).tolist() == [0, 0, 1, 1, 255]


def test_a_phones_second_picture_does_not_make_an_animation(tmp_path: Path) -> None:
    main, depth = Image.fromarray(_smooth()), Image.new("RGB", (30, 20))
    main.save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=[depth])
    assert np.abs(read(tmp_path / "a.jpg").rgb.astype(int) - _smooth()).max() < 40


def _bomb() -> bytes:
    head = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", head) + _chunk(b"IDAT", zlib.compress(b"\0")) + _chunk(b"IEND", b"")


def _saved(image_format: str, **options: object) -> bytes:
    file = BytesIO()
    Image.fromarray(RNG.integers(0, 256, (64, 64, 3)).astype(np.uint8)).save(file, image_format, **options)
    return file.getvalue()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "TIFF", "BMP"])
@pytest.mark.parametrize("share", [0.0005, 0.005, 0.05, 0.5, 0.9])
def test_a_file_cut_short_is_named(tmp_path: Path, image_format: str, share: float) -> None:
    whole = _saved(image_format)
    path = tmp_path / "cut.img"
    path.write_bytes(whole[: max(int(len(whole) * share), 1)])
    with pytest.raises(MienError, match=r"cut\.img") as caught:
        read(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "TIFF", "BMP"])
@pytest.mark.filterwarnings("ignore")
def test_a_corrupt_file_raises_nothing_but_our_error(tmp_path: Path, image_format: str) -> None:
    whole = np.frombuffer(_saved(image_format, exif=b"Exif\0\0II*\0\x08\0\0\0\0\0\0\0\0\0"), np.uint8)
    path, failed = tmp_path / "a.img", 0
    for _ in range(60):
        broken = whole.copy()
        where = RNG.integers(0, min(len(whole), 400), 6)
        broken[where] = RNG.integers(0, 256, 6)
        path.write_bytes(broken.tobytes())
        try:
            assert read(path, max_pixels=1_000_000).rgb.dtype == np.uint8
        except MienError:
            failed += 1
    assert failed


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        (b"", "is empty"),
        (b"Dear diary, ", "is not a JPEG, PNG, WebP, TIFF or BMP"),
        (b"GIF89a" + bytes(40), "is not a JPEG"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "is not a JPEG"),
        (b"RIFF\x04\0\0\0WAVE", "damaged"),
        (_bomb(), "100000 x 100000 pixels, above the limit of 100 million"),
        (_saved("TIFF", save_all=True, append_images=[Image.new("RGB", (4, 4))]), "several pictures"),
        (_saved("WEBP", save_all=True, append_images=[Image.new("RGB", (64, 64))]), "several pictures"),
        (_saved("PNG", save_all=True, append_images=[Image.new("RGB", (64, 64))]), "several pictures"),
    ],
)
@pytest.mark.filterwarnings("error")
def test_what_is_no_still_photograph_is_refused_with_the_reason(tmp_path: Path, contents: bytes, message: str) -> None:
    (tmp_path / "a.jpg").write_bytes(contents)
    with pytest.raises(MienError, match=message):
        read(tmp_path / "a.jpg")


@pytest.mark.parametrize("mode", ["F", "I", "LAB"])
def test_pixels_that_no_photograph_has_are_refused(tmp_path: Path, mode: str) -> None:
    Image.new(mode, (8, 8)).save(tmp_path / "a.tif")
    with pytest.raises(MienError, match=f"a.tif has pixels of the kind {mode}"):
        read(tmp_path / "a.tif")


def test_paths_that_are_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name, message in (("none.jpg", "does not exist"), (".", "is a folder"), ("pipe", "not a regular file")):
        with pytest.raises(MienError, match=message):
            read(tmp_path / name)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_read_permission(tmp_path: Path) -> None:
    Image.fromarray(_smooth()).save(tmp_path / "a.png")
    (tmp_path / "a.png").chmod(0)
    with pytest.raises(MienError, match="cannot be read"):
        read(tmp_path / "a.png")


def test_the_limit_is_the_callers_and_pillows_stays_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.fromarray(_smooth()).save(tmp_path / "a.png")
    with pytest.raises(MienError, match="30 x 20"):
        read(tmp_path / "a.png", max_pixels=599)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    assert read(tmp_path / "a.png", max_pixels=600).rgb.shape == (20, 30, 3)
    assert Image.MAX_IMAGE_PIXELS == 10


def test_text_of_a_png_is_kept(tmp_path: Path) -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("Title", "Anna")
    Image.fromarray(_smooth()).save(tmp_path / "a.png", pnginfo=info)
    assert read(tmp_path / "a.png").encoding["text"] == {"Title": "Anna"}


def test_from_array_copies_and_checks() -> None:
    pixels = _smooth()
    photo = Photo.from_array(pixels)
    pixels[:] = 0
    assert (photo.rgb == _smooth()).all()
    for wrong in (pixels.astype(float), pixels[:, :, 0], pixels[:0], pixels.tolist()):
        with pytest.raises(MienError, match="uint8 array"):
            Photo.from_array(wrong)  # type: ignore[arg-type]


def test_from_pil_is_upright_and_leaves_the_image_alone() -> None:
    image = Image.fromarray(_smooth(4))
    image.getexif()[274] = 6
    photo = Photo.from_pil(image)
    assert photo.mode == "RGBA"
    assert (photo.native == np.rot90(_smooth(4), -1)).all()
    assert image.size == (30, 20)
    with pytest.raises(MienError, match="kind F"):
        Photo.from_pil(Image.new("F", (4, 4)))
