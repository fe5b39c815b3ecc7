"""A photograph comes back in its own kind, whole or not at all, and never over another."""

import errno
import os
import stat
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms
from PIL.JpegImagePlugin import get_sampling

from mien.errors import MienError
from mien.photo.provenance import mark, marked, read_mark
from mien.photo.read import Photo, read, rgb_view
from mien.photo.write import write, write_aside

RNG = np.random.default_rng(11)
SHAPE = (24, 20)
CHANNELS = {"L": 1, "LA": 2, "RGB": 3, "RGBA": 4, "CMYK": 4}
CASES = [("PNG", mode, depth) for mode in ("L", "LA", "RGB", "RGBA") for depth in (8, 16)]
CASES += [("TIFF", mode, depth) for mode in CHANNELS for depth in (8, 16) if (mode, depth) != ("LA", 16)]
CASES += [("WEBP", "RGB", 8), ("WEBP", "RGBA", 8), ("BMP", "L", 8), ("BMP", "RGB", 8)]


def _native(mode: str, depth: int = 8) -> np.ndarray:
    pixels = RNG.integers(0, 2**depth, (*SHAPE, CHANNELS[mode])).astype(f"u{depth // 8}")
    return pixels[:, :, 0] if mode == "L" else pixels


def _photo(mode: str, depth: int, image_format: str) -> Photo:
    native = _native(mode, depth)
    how = {"lossless": True} if image_format == "WEBP" else {}
    return Photo(rgb=rgb_view(native, mode), native=native, mode=mode, format=image_format, encoding=how)


def _edit(photo: Photo) -> tuple[np.ndarray, np.ndarray]:
    """An edited view and the (H, W) bool of the pixels it changes: the middle, moved by at most 20 levels."""
    inside = np.zeros(photo.rgb.shape[:2], bool)
    inside[8:16, 6:14] = True
    edited = photo.rgb.copy()
    edited[inside] = np.where(edited[inside] > 127, edited[inside] - 20, edited[inside] + 20)
    return edited, inside


@pytest.mark.parametrize(("image_format", "mode", "depth"), CASES)
def test_lossless_formats_give_back_edit_and_untouched_pixels_exactly(
    tmp_path: Path, image_format: str, mode: str, depth: int
) -> None:
    photo = _photo(mode, depth, image_format)
    edited, inside = _edit(photo)
    back = read(write(photo, edited, tmp_path / f"a.{image_format.lower()}"))
    assert (back.mode, back.format, back.native.dtype) == (mode, image_format, photo.native.dtype)
    assert (back.native[~inside] == photo.native[~inside]).all()
    off = np.abs(back.rgb[inside].astype(int) - edited[inside])
    # Gray holds only the luma of colours; ink under much black comes in coarse steps; 16 bits clip at the ends.
    assert off.max() <= (1 if mode in ("L", "LA", "CMYK") else 0)
    if mode.endswith("A"):
        assert (back.native[..., -1] == photo.native[..., -1]).all()


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_jpeg_keeps_its_kind_and_its_quality(tmp_path: Path, mode: str) -> None:
    y, x = np.mgrid[:48, :64]
    smooth = np.stack([60 + 2 * x, 40 + 3 * y, 90 + x + y, 20 + y // 2], axis=2).astype(np.uint8)
    pixels = smooth[:, :, 0] if mode == "L" else smooth[:, :, : CHANNELS[mode]]
    options = {"subsampling": 2} if mode == "RGB" else {}
    image = Image.frombytes(mode, (64, 48), np.ascontiguousarray(pixels).tobytes())
    image.save(tmp_path / "a.jpg", quality=71, progressive=True, comment=b"hello", **options)
    photo = read(tmp_path / "a.jpg")
    edited = photo.rgb.copy()
    edited[16:32, 16:32] //= 2
    write(photo, edited, tmp_path / "b.jpg")
    with Image.open(tmp_path / "a.jpg") as before, Image.open(tmp_path / "b.jpg") as after:
        assert (after.mode, after.quantization) == (mode, before.quantization)  # type: ignore[attr-defined]
        assert get_sampling(after) == get_sampling(before)
        assert after.info["progressive"]
        assert after.info["comment"] == b"hello"
    back = read(tmp_path / "b.jpg").rgb.astype(int)
    assert np.abs(back - edited)[34:].mean() < 2
    assert np.abs(back - edited)[18:30, 18:30].mean() < 6


def test_jpeg_from_elsewhere_is_of_high_quality_without_subsampling(tmp_path: Path) -> None:
    photo = _photo("RGB", 8, "PNG")
    write(photo, photo.rgb, tmp_path / "a.JPG")
    Image.fromarray(photo.rgb).save(tmp_path / "b.jpg", quality=95, subsampling=0)
    with Image.open(tmp_path / "a.JPG") as ours, Image.open(tmp_path / "b.jpg") as expected:
        assert (np.asarray(ours) == np.asarray(expected)).all()


def test_noise_in_a_progressive_jpeg_can_be_written(tmp_path: Path) -> None:
    Image.fromarray(_native("RGB")).save(tmp_path / "a.jpg", quality=100, subsampling=0, progressive=True)
    photo = read(tmp_path / "a.jpg")
    write(photo, photo.rgb ^ 255, tmp_path / "b.jpg")
    assert np.abs(read(tmp_path / "b.jpg").rgb.astype(int) - (photo.rgb ^ 255)).max() < 16


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif", ".bmp"])
@pytest.mark.parametrize(("mode", "depth"), [("L", 16), ("LA", 8), ("LA", 16), ("RGBA", 16), ("CMYK", 8), ("RGB", 8)])
def test_every_kind_can_be_written_in_every_format(tmp_path: Path, suffix: str, mode: str, depth: int) -> None:
    native = np.full((*SHAPE, CHANNELS[mode]), (2**depth - 1) // 3, f"u{depth // 8}")
    native = native[:, :, 0] if mode == "L" else native
    if mode.endswith("A"):
        native[..., -1] = 2**depth - 1  # opaque: flattening changes nothing
    photo = Photo(rgb=rgb_view(native, mode), native=native, mode=mode)
    edited = photo.rgb.copy()
    edited[4:20, 4:16] += 30
    back = read(write(photo, edited, tmp_path / f"a{suffix}"))
    assert np.abs(back.rgb.astype(int) - edited).mean() < (3 if suffix in (".jpg", ".webp") else 0.5)


def test_what_is_transparent_turns_white_where_alpha_cannot_be_held(tmp_path: Path) -> None:
    native = np.zeros((*SHAPE, 4), np.uint8)
    native[:12, :, 3] = 255
    photo = Photo(rgb=rgb_view(native, "RGBA"), native=native, mode="RGBA")
    for suffix in (".jpg", ".bmp"):
        back = read(write(photo, photo.rgb, tmp_path / f"a{suffix}")).rgb
        assert back[:8].max() < 8
        assert back[16:].min() > 247


def test_lossy_webp_stays_lossy_and_lossless_lossless(tmp_path: Path) -> None:
    for lossless in (False, True):
        Image.fromarray(_native("RGB")).save(tmp_path / "a.webp", lossless=lossless)
        photo = read(tmp_path / "a.webp")
        write(photo, photo.rgb ^ 1, tmp_path / "b.webp", overwrite=True)
        assert (b"VP8L" in (tmp_path / "b.webp").read_bytes()[:4000]) == lossless
        assert (read(tmp_path / "b.webp").rgb == photo.rgb ^ 1).all() == lossless


@pytest.mark.parametrize(("before", "after"), [("raw", "raw"), ("tiff_lzw", "tiff_adobe_deflate")])
def test_tiff_stays_uncompressed_or_is_deflated(tmp_path: Path, before: str, after: str) -> None:
    Image.fromarray(_native("RGB")).save(tmp_path / "a.tif", compression=before)
    photo = read(tmp_path / "a.tif")
    write(photo, photo.rgb ^ 1, tmp_path / "b.tif")
    with Image.open(tmp_path / "b.tif") as image:
        assert image.info["compression"] == after


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif"])
@pytest.mark.parametrize("origin", [".jpg", ".png", ".webp", ".tif"])
def test_metadata_survives_from_every_format_to_every_other(tmp_path: Path, origin: str, suffix: str) -> None:
    exif = Image.Exif()
    exif[271], exif[274], exif[315] = "Maker", 6, "Anna"
    exif.get_ifd(34665).update({33434: 0.01, 36867: "2020:01:01 00:00:00"})
    icc = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    image = Image.fromarray(np.full((*SHAPE, 3), 90, np.uint8))
    image.save(tmp_path / f"a{origin}", exif=exif.tobytes(), icc_profile=icc, dpi=(300, 300))
    photo = read(tmp_path / f"a{origin}")
    back = read(write(photo, photo.rgb + 9, tmp_path / f"b{suffix}"))
    kept = Image.Exif()
    kept.load(back.exif or b"")
    assert (kept[271], kept[315], kept.get(274, 1)) == ("Maker", "Anna", 1)
    assert float(kept.get_ifd(34665)[33434]) == 0.01
    assert kept.get_ifd(34665)[36867] == "2020:01:01 00:00:00"
    assert back.icc == icc
    assert back.rgb.shape == (SHAPE[1], SHAPE[0], 3)  # upright, and not turned again
    if ".webp" not in (origin, suffix):
        assert back.dpi == pytest.approx((300, 300), abs=0.1)


def test_a_profile_of_another_colour_model_is_left_out(tmp_path: Path) -> None:
    native = np.full((*SHAPE, 4), 30, np.uint8)
    photo = Photo(rgb=rgb_view(native, "CMYK"), native=native, mode="CMYK", icc=b"cmyk profile")
    assert read(write(photo, photo.rgb, tmp_path / "a.tif")).icc == b"cmyk profile"
    assert read(write(photo, photo.rgb, tmp_path / "a.webp")).icc is None


def test_png_keeps_its_text_and_its_gamma(tmp_path: Path) -> None:
    native = _native("RGB")
    how = {"chunks": [(b"gAMA", (45455).to_bytes(4, "big"))], "text": {"Title": "Anna", "Ort": "北京"}}
    for pixels in (native, native.astype(np.uint16) * 257):
        photo = Photo(rgb=native, native=pixels, mode="RGB", format="PNG", encoding=how)
        back = read(write(photo, native ^ 1, tmp_path / "a.png", overwrite=True))
        assert {key: back.encoding[key] for key in how} == how


def test_xmp_of_others_is_kept_beside_the_mark(tmp_path: Path) -> None:
    theirs = mark(None, "Camera").replace(b"rdf:about=", b'xmlns:own="urn:own" own:Secret="x" rdf:about=')
    Image.fromarray(_native("RGB")).save(tmp_path / "a.jpg", xmp=theirs)
    photo = read(tmp_path / "a.jpg")
    for suffix in (".jpg", ".png", ".webp", ".tif"):
        back = read(write(photo, photo.rgb ^ 1, tmp_path / f"b{suffix}", tool="mien 9"))
        assert b'own:Secret="x"' in (back.xmp or b"")
        assert marked(back.xmp or b"")["tool"] == "mien 9"


def test_metadata_too_large_for_jpeg_leaves_the_mark(tmp_path: Path) -> None:
    native = _native("RGB")
    large = mark(None, "Camera").replace(b"rdf:about=", b'xmlns:o="urn:o" o:S="' + b"x" * 70_000 + b'" rdf:about=')
    photo = Photo(rgb=native, native=native, mode="RGB", xmp=large, exif=b"Exif\0\0II*\0\x08\0\0\0" + bytes(70_000))
    write(photo, native ^ 1, tmp_path / "a.jpg", tool="mien 9")
    assert read_mark(tmp_path / "a.jpg")["tool"] == "mien 9"
    write(photo, native ^ 1, tmp_path / "b.jpg", mark=False)
    assert read_mark(tmp_path / "b.jpg") == {}  # and it is not said of a picture that asked for none


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif", ".bmp"])
def test_an_unedited_photograph_is_copied_to_the_byte_and_not_marked(tmp_path: Path, suffix: str) -> None:
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(_native("RGB")).save(tmp_path / f"a{suffix}", **({} if suffix == ".bmp" else {"exif": exif}))
    photo = read(tmp_path / f"a{suffix}")
    write(photo, photo.rgb.copy(), tmp_path / f"b{suffix}")
    assert (tmp_path / f"b{suffix}").read_bytes() == (tmp_path / f"a{suffix}").read_bytes()
    other = tmp_path / ("c.png" if suffix != ".png" else "c.tif")
    assert read_mark(write(photo, photo.rgb.copy(), other)) == {}


def test_the_same_edit_gives_the_same_file(tmp_path: Path) -> None:
    photo = _photo("RGB", 8, "PNG")
    for suffix in (".jpg", ".png", ".webp", ".tif", ".bmp"):
        one, two = (write(photo, photo.rgb ^ 1, tmp_path / f"{name}{suffix}") for name in "ab")
        assert one.read_bytes() == two.read_bytes()


def test_an_existing_file_is_kept_unless_told(tmp_path: Path) -> None:
    photo, path = _photo("RGB", 8, "PNG"), tmp_path / "a.png"
    path.write_bytes(b"mine")
    with pytest.raises(MienError, match=r"a\.png exists; give --overwrite or another -o"):
        write(photo, photo.rgb, path)
    assert path.read_bytes() == b"mine"
    write(photo, photo.rgb, path, overwrite=True)
    assert (read(path).rgb == photo.rgb).all()
    assert os.listdir(tmp_path) == ["a.png"]


@pytest.mark.parametrize("links", [True, False])
def test_a_file_that_appears_meanwhile_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, "no hard links here")

    if not links:
        monkeypatch.setattr(os, "link", refuse)
    with pytest.raises(MienError, match="exists"), write_aside(tmp_path / "a.txt") as aside:  # noqa: PT012
        (tmp_path / "a.txt").write_bytes(b"theirs")
        aside.write_bytes(b"ours")
    assert (tmp_path / "a.txt").read_bytes() == b"theirs"
    with write_aside(tmp_path / "b.txt") as aside:
        aside.write_bytes(b"ours")
    assert (tmp_path / "b.txt").read_bytes() == b"ours"
    assert sorted(os.listdir(tmp_path)) == ["a.txt", "b.txt"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError, OSError])
def test_a_failure_leaves_no_file_and_keeps_the_old_one(tmp_path: Path, error: type[BaseException]) -> None:
    (tmp_path / "old.png").write_bytes(b"old")
    expected = MienError if error is OSError else error
    for name in ("old.png", "new.png"):
        with pytest.raises(expected), write_aside(tmp_path / name, overwrite=True) as aside:  # noqa: PT012
            aside.write_bytes(b"half")
            raise error
    assert os.listdir(tmp_path) == ["old.png"]
    assert (tmp_path / "old.png").read_bytes() == b"old"


def test_a_full_disk_is_told_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    photo = _photo("RGB", 8, "PNG")
    with pytest.raises(MienError, match=r"a\.png cannot be written \(No space left on device\)"):
        write(photo, photo.rgb, tmp_path / "a.png")
    assert os.listdir(tmp_path) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    photo = _photo("RGB", 8, "PNG")
    with pytest.raises(MienError, match="cannot be written"):
        write(photo, photo.rgb, tmp_path / "a.png")


def test_the_umask_decides_on_permissions(tmp_path: Path) -> None:
    photo, before = _photo("RGB", 8, "PNG"), os.umask(0o027)
    try:
        path = write(photo, photo.rgb, tmp_path / "a.png")
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_places_that_cannot_be_written_to(tmp_path: Path) -> None:
    photo = _photo("RGB", 8, "PNG")
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "file").touch()
    for name, message in (
        ("folder.png", "is a folder"),
        ("none/a.png", "none does not exist"),
        ("file/a.png", "file does not exist"),
        ("a.gif", r"does not write \.gif; use \.jpg, \.jpeg, \.png"),
        ("a", "without a suffix"),
        ("x" * 300 + ".png", "cannot be written"),
    ):
        with pytest.raises(MienError, match=message):
            write(photo, photo.rgb, tmp_path / name)
    assert sorted(os.listdir(tmp_path)) == ["file", "folder.png"]


def test_an_edit_of_another_size_or_kind_is_refused(tmp_path: Path) -> None:
    photo = _photo("RGB", 8, "PNG")
    for wrong in (photo.rgb[1:], photo.rgb.astype(np.float32)):
        with pytest.raises(MienError, match="own size"):
            write(photo, wrong, tmp_path / "a.png")


def test_a_side_too_long_for_the_format_is_refused_before_the_work(tmp_path: Path) -> None:
    photo = Photo.from_array(np.zeros((1, 16384, 3), np.uint8))
    with pytest.raises(MienError, match="16384 pixels is too long a side for WEBP"):
        write(photo, photo.rgb, tmp_path / "a.webp")
