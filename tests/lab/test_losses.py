"""Losses against closed forms, finite differences and what they make a critic do."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from mien.lab import losses

REAL, FAKE = torch.tensor([0.3, 2.0, -1.5]), torch.tensor([-0.4, 1.0, -3.0])


def test_hinge_against_the_closed_form() -> None:
    # real: 0.7, 0, 2.5; fake: 0.6, 2, 0
    assert losses.hinge_critic(REAL, FAKE).item() == pytest.approx(3.2 / 3 + 2.6 / 3)


def test_wasserstein_against_the_closed_form() -> None:
    assert losses.wasserstein_critic(REAL, FAKE).item() == pytest.approx(-0.8 - 0.8 / 3)


def test_log_losses_against_the_closed_form() -> None:
    expected = -(REAL.sigmoid().log().mean() + (1 - FAKE.sigmoid()).log().mean())
    assert losses.log_critic(REAL, FAKE).item() == pytest.approx(expected.item(), rel=1e-5)
    assert losses.log_generator(FAKE).item() == pytest.approx(-FAKE.sigmoid().log().mean().item(), rel=1e-5)


def test_log_losses_stay_finite_far_out() -> None:
    far = torch.tensor([1e4])
    assert losses.log_critic(-far, far).item() == pytest.approx(2e4)
    assert losses.log_generator(-far).item() == pytest.approx(1e4)


def separates(loss: Callable[[Tensor, Tensor], Tensor]) -> bool:
    """Whether a step down ``loss`` scores real pictures higher and fakes lower."""
    real, fake = torch.zeros(3, requires_grad=True), torch.zeros(3, requires_grad=True)
    loss(real, fake).backward()
    return bool((-real.grad > 0).all() and (-fake.grad < 0).all())


@pytest.mark.parametrize("loss", [losses.hinge_critic, losses.wasserstein_critic, losses.log_critic])
def test_critics_learn_to_score_real_pictures_higher(loss: Callable[[Tensor, Tensor], Tensor]) -> None:
    assert separates(loss)
    assert not separates(lambda real, fake: loss(fake, real)), "the check itself"


def test_a_generator_learns_to_raise_its_score() -> None:
    fake = torch.zeros(3, requires_grad=True)
    losses.log_generator(fake).backward()
    assert (-fake.grad > 0).all()


@pytest.mark.parametrize("length", [0.0, 0.5, 1.0, 3.0])
def test_gradient_penalty_of_a_linear_critic(length: float) -> None:
    """d(w.x)/dx = w wherever it is looked at, so the penalty is (|w| - 1)^2."""
    w = torch.randn(3 * 4 * 4)
    w = w / w.norm() * length
    real, fake = torch.randn(2, 5, 3, 4, 4)
    found = losses.gradient_penalty(lambda x: x.flatten(1) @ w, real, fake)
    assert found.item() == pytest.approx((length - 1) ** 2, abs=1e-5)


def test_gradient_penalty_looks_between_real_and_fake() -> None:
    seen: list[Tensor] = []

    def critic(x: Tensor) -> Tensor:
        seen.append(x.detach())
        return x.sum((1, 2, 3))

    losses.gradient_penalty(critic, torch.full((64, 1, 2, 2), 3.0), torch.full((64, 1, 2, 2), 5.0))
    assert seen[0].min() >= 3
    assert seen[0].max() <= 5
    assert seen[0][:, 0, 0, 0].std() > 0.3, "one point for each face"


def test_gradient_penalty_has_the_slope_of_finite_differences() -> None:
    real, fake = torch.randn(2, 2, 1, 2, 2, dtype=torch.double)
    weight = torch.randn(4, 3, dtype=torch.double, requires_grad=True)

    def penalty(w: Tensor) -> Tensor:
        torch.manual_seed(0)
        return losses.gradient_penalty(lambda x: torch.tanh(x.flatten(1) @ w).sum(1), real, fake)

    assert torch.autograd.gradcheck(penalty, weight)


def test_gradient_penalty_is_computed_in_single_precision_under_autocast() -> None:
    kinds: list[torch.dtype] = []

    def critic(x: Tensor) -> Tensor:
        y = x.flatten(1) @ torch.ones(4, 1)
        kinds.append(y.dtype)
        return y

    with torch.autocast("cpu", torch.bfloat16):
        losses.gradient_penalty(critic, torch.rand(2, 1, 2, 2), torch.rand(2, 1, 2, 2))
    assert kinds == [torch.float32]


def test_total_variation_against_the_closed_form() -> None:
    assert losses.total_variation(torch.full((2, 3, 5, 7), 0.4)).item() == 0
    y, x = torch.meshgrid(torch.arange(5.0), torch.arange(7.0), indexing="ij")
    assert losses.total_variation((2 * x - 3 * y).expand(2, 1, 5, 7)).item() == pytest.approx(5)
    board = ((x + y) % 2).expand(1, 1, 5, 7)
    assert losses.total_variation(board).item() == pytest.approx(2)


def test_total_variation_has_the_slope_of_finite_differences() -> None:
    x = torch.randn(1, 2, 3, 4, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(losses.total_variation, x)
