"""An edit of what is seen goes into the decoded planes: right in colour, and nowhere else."""

import av
import numpy as np
import pytest

from mien.video.planes import Viewer, editable, put_back

RNG = np.random.default_rng(0)
SOURCE = np.kron(RNG.integers(70, 180, (6, 8, 3)), np.ones((8, 8, 1))).astype(np.uint8)
FORMS = ("yuv420p", "yuv422p", "yuv444p", "yuvj420p", "yuv420p10le", "yuv422p12le", "gbrp", "gbrp10le", "rgb24", "rgba")


def framed(form: str, matrix: int, full: bool) -> av.VideoFrame:
    spread = 2 if full else 1
    made = av.VideoFrame.from_ndarray(SOURCE, "rgb24")
    frame = made.reformat(format=form, dst_colorspace=matrix, dst_color_range=spread)
    frame.colorspace, frame.color_range = matrix, spread
    return frame


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("matrix", "full"), [(1, False), (5, True), (9, False)])
@pytest.mark.parametrize("turn", [0, 1])
def test_an_edit_is_seen_again_and_the_rest_is_untouched(form: str, matrix: int, full: bool, turn: int) -> None:
    frame = framed(form, matrix, full)
    viewer = Viewer()
    before = viewer.rgb(frame, turn)
    after = before.copy()
    after[9:29, 9:33] = np.clip(after[9:29, 9:33] + np.array([30, -20, 15]), 0, 255)
    assert editable(frame)
    assert put_back(frame, before, after, turn)
    seen = viewer.rgb(frame, turn).astype(int)
    assert np.abs(seen[13:27, 13:29] - after[13:27, 13:29]).mean() < 1.5  # of levels, as near as swscale shows 12 bits
    np.testing.assert_array_equal(seen[40:], before[40:])


def test_no_edit_changes_no_sample() -> None:
    frame = framed("yuv420p10le", 1, False)
    samples = [bytes(plane) for plane in frame.planes]
    seen = Viewer().rgb(frame)
    assert not put_back(frame, seen, seen.copy())
    assert [bytes(plane) for plane in frame.planes] == samples


def test_a_layout_that_cannot_be_edited_is_changed_into_one_that_can() -> None:
    frame = framed("rgb24", 1, True).reformat(format="nv12")
    frame.pts = 7
    assert not editable(frame)
    changed = Viewer().editable(frame, frame.width, frame.height)
    assert editable(changed)
    assert changed.pts == 7
