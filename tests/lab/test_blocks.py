"""Shared layers: which way the flow points, and how edits open."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mien.lab.blocks import Modulated, Stage, ramp, warp


def test_no_flow_is_the_picture_itself() -> None:
    image = torch.rand(2, 3, 12, 16) * 2 - 1
    torch.testing.assert_close(warp(image, torch.zeros(2, 2, 12, 16)), image, atol=2e-5, rtol=0)


@pytest.mark.parametrize(("right", "down"), [(3, 0), (0, 2), (-1, -4)])
def test_flow_says_where_each_pixel_is_fetched_from(right: int, down: int) -> None:
    image = torch.rand(1, 3, 12, 16)
    flow = torch.tensor([right / 16, down / 12]).view(1, 2, 1, 1).expand(1, 2, 12, 16)
    inner = (..., slice(4, -4), slice(4, -4))
    torch.testing.assert_close(warp(image, flow)[inner], image.roll((-down, -right), (2, 3))[inner], atol=1e-5, rtol=0)


def test_beyond_the_edge_the_edge_is_repeated() -> None:
    image = torch.rand(1, 1, 6, 6)
    fetched = warp(image, torch.tensor([10.0, 0.0]).view(1, 2, 1, 1).expand(1, 2, 6, 6))
    torch.testing.assert_close(fetched, image[..., -1:].expand_as(image), atol=1e-5, rtol=0)


def test_warp_keeps_single_precision_under_autocast() -> None:
    """bfloat16 has 8 bits: a sampling position in it would be off by half a pixel at 128 px."""
    image, flow = torch.rand(1, 3, 128, 128), torch.full((1, 2, 128, 128), 0.0123)
    with torch.autocast("cpu", torch.bfloat16):
        rough = warp(image.bfloat16(), flow)
    torch.testing.assert_close(rough, warp(image.bfloat16().float(), flow))


def test_ramp_opens_from_0_and_is_open_at_a_quarter() -> None:
    opened = ramp(torch.tensor([0.0, 0.125, 0.25, 1.0]))
    assert opened.shape == (4, 1, 1, 1)
    assert opened.flatten().tolist() == [0, 0.5, 1, 1]


def test_a_modulated_block_listens_to_its_condition() -> None:
    torch.manual_seed(0)
    block, x = Modulated(8, 4), torch.randn(2, 8, 6, 6)
    one, other = (block(x, torch.full((2, 4), value)) for value in (0.0, 1.0))
    assert (one - other).abs().max() > 1e-2
    nn.init.zeros_(block.convs[1].weight)
    nn.init.zeros_(block.convs[1].bias)
    assert torch.equal(block(x, torch.ones(2, 4)), x), "a residual block: silent convolutions leave x"


def test_a_stage_halves_the_side_and_stays_lipschitz_up_to_its_gain() -> None:
    torch.manual_seed(0)
    stage = Stage(3, 8).train()
    for _ in range(50):
        stage(torch.zeros(1, 3, 16, 16))  # power iterations of the spectral norm
    weight = stage.eval().conv.weight.flatten(1)
    assert torch.linalg.matrix_norm(weight, 2).item() == pytest.approx(1, abs=1e-3)
    assert stage(torch.zeros(1, 3, 16, 16)).shape == (1, 8, 8, 8)
