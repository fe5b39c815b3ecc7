"""The segmenter: its labels are drawn where the landmarks are, and a network learns them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from drawn import average_face
from PIL import Image, ImageDraw
from tiny import faces, trainer_of
from torch import Tensor

from mien.lab.method import Optimizer
from mien.lab.readers.segmenter import REGIONS, UNKNOWN, Segmenter, SegmenterConfig, iou, labels, moved, within
from mien.lab.readers.segmenter import drawn as label


def star(seed: int, corners: int) -> np.ndarray:
    """A polygon in fractions of the picture, concave as a rule, and beyond its edge here and there."""
    rng = np.random.default_rng(seed)
    angle = np.sort(rng.uniform(0, 2 * np.pi, corners))
    return 0.5 + rng.uniform(0.1, 0.6, corners)[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1)


@pytest.mark.parametrize("corners", [3, 7, 27])
def test_a_polygon_is_filled_as_pil_fills_it(corners: int) -> None:
    """PIL draws at 16 times the size and is sampled at our pixels' centres; edges may differ by a sixteenth."""
    polygons = np.stack([star(seed, corners) for seed in range(8)])
    ours = within(torch.tensor(polygons), 48).numpy()
    for polygon, filled in zip(polygons, ours, strict=True):
        picture = Image.new("1", (48 * 16, 48 * 16))
        ImageDraw.Draw(picture).polygon([tuple(p) for p in polygon * 48 * 16], fill=1)
        theirs = np.asarray(picture)[8::16, 8::16]
        assert theirs.any()
        assert (filled != theirs).mean() < 0.01


def test_a_square_is_filled_to_the_pixel() -> None:
    corners = torch.tensor([[0.25, 0.5], [0.75, 0.5], [0.75, 1.0], [0.25, 1.0]])
    wanted = torch.zeros(8, 8, dtype=torch.bool)
    wanted[4:, 2:6] = True
    for turned in (corners, corners.flip(0), corners.roll(1, 0)):
        assert torch.equal(within(turned[None], 8)[0], wanted)


def test_each_region_lies_where_its_landmarks_are() -> None:
    points = torch.tensor(average_face())[None].float()
    regions = label(points, 128)[0]
    where = {
        "mouth": (0.5, 0.76),
        "eyes": (0.34, 0.42),
        "nose": (0.5, 0.6),
        "skin": (0.3, 0.65),
        "background": (0.05, 0.05),
    }
    where |= {"brows": (0.33, 0.29)}
    for name, (x, y) in where.items():
        assert REGIONS[regions[int(y * 128), int(x * 128)]] == name, name
    assert torch.equal(regions, regions.flip(1)), "this face is the same in the mirror"


def test_labels_move_with_the_picture() -> None:
    """The label of moved landmarks is the moved label, but for pixels at the edges of regions."""
    points = torch.tensor(average_face()).float().expand(6, -1, -1)
    planes = F.one_hot(label(points, 96), 6).permute(0, 3, 1, 2).float()
    torch.manual_seed(0)
    picture, after, masks = moved(planes, points, label(points, 96).byte())
    assert (after - points).abs().amax((1, 2)).min() > 0.01, "nothing moved"
    for other in (picture.argmax(1), masks):
        assert (other == label(after, 96)).float().mean() > 0.98


def test_a_mask_counts_in_place_of_landmarks_where_there_is_one(drawn: Path) -> None:
    few = faces(drawn).take(torch.arange(4))
    assert (few.regions == UNKNOWN).all(), "drawn faces have no masks"
    assert torch.equal(labels(few.landmarks, few.regions), label(few.landmarks, 32))
    masks = few.regions.clone()
    masks[1] = 4
    both = labels(few.landmarks, masks)
    assert (both[1] == 4).all()
    assert torch.equal(both[[0, 2, 3]], label(few.landmarks, 32)[[0, 2, 3]])


def test_a_network_learns_from_masks(drawn: Path) -> None:
    """The same faces and landmarks, other masks: another loss, and one that no landmark moves."""
    torch.manual_seed(0)
    method = Segmenter(SegmenterConfig(size=32, widths=(8,), atrous=8, rates=(1,))).eval()
    few = faces(drawn).take(torch.arange(4))
    losses = []
    for masks, points in ((None, few.landmarks), (5, few.landmarks), (5, few.landmarks + 0.2)):
        torch.manual_seed(0)
        taught = few.having(
            landmarks=points, regions=few.regions if masks is None else torch.full_like(few.regions, masks)
        )
        losses.append(float(method.loss(taught, taught)["entropy"].detach()))
    assert losses[0] != losses[1] == losses[2]


def test_iou_by_hand() -> None:
    truth = torch.tensor([[0, 0, 1, 1], [5, 5, 5, 3]])
    read = torch.tensor([[0, 1, 1, 1], [5, 5, 0, 4]])
    expected = torch.tensor([1 / 3, 2 / 3, torch.nan, 0.0, 0.0, 2 / 3])
    torch.testing.assert_close(iou(read, truth), expected, equal_nan=True)


class Quick(Segmenter):
    """Few steps on an easy set."""

    def optimizer(self, network: str) -> Optimizer:
        return Optimizer(lr=4e-3, betas=(0.9, 0.99))


def test_it_finds_the_mouths_of_faces_never_seen(drawn: Path, tmp_path: Path) -> None:
    """On faces that are turned and shifted, so that no fixed mask fits them all."""
    torch.manual_seed(0)
    method = Quick(SegmenterConfig(size=32, widths=(16,), atrous=16, rates=(1, 3)))
    trainer = trainer_of(method, drawn, tmp_path, batch=8, steps=150, decay=0.5)
    for step in range(150):
        trainer.step(step)
    held_out = faces(drawn, "val").take(torch.arange(32))
    torch.manual_seed(1)
    image, points, _ = moved(held_out.image, held_out.landmarks, held_out.regions)
    with torch.no_grad():
        read = method.eval()(image)
    torch.testing.assert_close(read.sum(1), torch.ones(32, 32, 32))
    truth = label(points, 32)
    scores, fixed = (dict(zip(REGIONS, iou(m, truth).tolist(), strict=True)) for m in (read.argmax(1), common(truth)))
    assert scores["skin"] > 0.85 > fixed["skin"]
    assert scores["mouth"] > 0.6 > fixed["mouth"] + 0.1


def common(labels: Tensor) -> Tensor:
    """Every pixel's commonest label, for all faces alike."""
    return labels.mode(0).values.expand_as(labels)


def test_another_size_is_brought_to_its_own_and_back(drawn: Path) -> None:
    torch.manual_seed(0)
    method = Segmenter(SegmenterConfig(size=32, widths=(8,), atrous=8, rates=(1,))).eval()
    image = faces(drawn, "val", 64).take(torch.arange(2)).image
    seen = []
    method.network.trunk.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0].shape[-1]))
    with torch.no_grad():
        assert method(image).shape == (2, 6, 64, 64)
    assert seen == [32]
