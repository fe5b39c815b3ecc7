"""Random changes of pictures: as large as they say, repeatable, differentiable."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from mien.lab import augment

CHANGES = [augment.relit, augment.shifted, augment.jittered, augment.wobbled, augment.degraded]


def pictures(count: int = 4, side: int = 32) -> Tensor:
    torch.manual_seed(1)
    return F.interpolate(torch.rand(count, 3, 8, 8) * 1.6 - 0.8, size=side, mode="bicubic").clamp(-1, 1)


@pytest.mark.parametrize("change", CHANGES)
def test_changes_repeat_with_the_seed_and_differ_without(change: Callable[[Tensor], Tensor]) -> None:
    image = pictures()
    results = []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        results.append(change(image))
    assert results[0].shape == image.shape
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])


@pytest.mark.parametrize("change", [augment.relit, augment.shifted, augment.jittered, augment.wobbled])
def test_a_generator_learns_through_them(change: Callable[[Tensor], Tensor]) -> None:
    image = pictures().requires_grad_(True)
    change(image).square().sum().backward()
    assert (image.grad.flatten(1).abs().amax(1) > 0).all()


def test_zero_amounts_change_nothing() -> None:
    image = pictures()
    torch.testing.assert_close(augment.wobbled(image, roll=0, scale=0, shift=0), image, atol=2e-5, rtol=0)
    torch.testing.assert_close(augment.relit(image, light=0), image, atol=1e-6, rtol=0)


def test_relit_keeps_what_is_where() -> None:
    """Light moves levels, not shapes: each gray picture stays a rising line of the one before."""
    gray = pictures().mean(1, keepdim=True).expand(-1, 3, -1, -1)
    for before, after in zip(gray, augment.relit(gray), strict=True):
        assert torch.corrcoef(torch.stack([before.flatten(), after.flatten()]))[0, 1] > 0.9999


def test_shifted_moves_whole_pixels_and_no_farther_than_its_reach() -> None:
    image, reach = pictures(16), 3
    for before, after in zip(image, augment.shifted(image, reach / 32), strict=True):
        inner = (slice(None), slice(reach, -reach), slice(reach, -reach))
        moves = [(dy, dx) for dy in range(-reach, reach + 1) for dx in range(-reach, reach + 1)]
        assert any(torch.equal(after[inner], before.roll(move, (1, 2))[inner]) for move in moves)


def test_wobbled_turns_by_up_to_the_angle_it_is_given() -> None:
    """A dot right of the middle swings up and down by the angle's sine and stays at its distance."""
    side, reach = 65, 24
    image = torch.full((256, 1, side, side), -1.0)
    image[:, :, 31:34, 31 + reach : 34 + reach] = 1
    turned = augment.wobbled(image, roll=20, scale=0, shift=0) + 1
    line = torch.arange(side) - 32.0
    mass = turned.sum((1, 2, 3))
    x, y = (turned * line).sum((1, 2, 3)) / mass, (turned * line[:, None]).sum((1, 2, 3)) / mass
    angle = torch.rad2deg(torch.atan2(y, x))
    assert angle.abs().max() < 20.5
    assert angle.min() < -15
    assert angle.max() > 15
    torch.testing.assert_close(torch.hypot(x, y), torch.full_like(x, reach), atol=0.3, rtol=0)
