"""Pictures about pictures: boxes on the faces, cells where the labels say."""

import numpy as np

from mien.photo.draw import around, grid, numbered


def test_numbered_draws_on_the_boxes_and_nowhere_far_from_them() -> None:
    rgb = np.full((300, 400, 3), 90, np.uint8)
    drawn = np.asarray(numbered(rgb, [(100, 120, 180, 220)], ["1 neutral"]))
    changed = np.argwhere((drawn != rgb).any(-1))
    assert (drawn[120, 100:180] == (255, 210, 0)).all()
    assert changed[:, 0].min() > 90
    assert changed[:, 0].max() < 230
    assert (rgb == 90).all()


def test_grid_puts_each_picture_in_its_cell() -> None:
    rows = [[np.full((50, 50, 3), (10 * (2 * r + c + 1), 0, 0), np.uint8) for c in range(2)] for r in range(2)]
    sheet = np.asarray(grid(rows, ["a", "b"], ["one", "two"], cell=40))
    values = {tuple(v) for v in sheet.reshape(-1, 3)}
    assert {(10, 0, 0), (20, 0, 0), (30, 0, 0), (40, 0, 0)} <= values
    where = [np.argwhere((sheet == (value, 0, 0)).all(-1)).mean(0) for value in (10, 20, 30, 40)]
    assert where[0][1] < where[1][1]
    assert where[0][0] < where[2][0]
    assert where[3][0] == where[2][0]


def test_around_is_a_square_inside_the_photograph() -> None:
    for box in ((0, 0, 40, 50), (150, 80, 199, 99), (90, 40, 110, 60), (0, 0, 200, 100)):
        x0, y0, x1, y1 = around(tuple(map(float, box)), 200, 100)  # type: ignore[arg-type]
        assert x1 - x0 == y1 - y0 > 0
        assert 0 <= x0 < x1 <= 200
        assert 0 <= y0 < y1 <= 100
