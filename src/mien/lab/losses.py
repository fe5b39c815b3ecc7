"""Losses as pure functions of tensors. Every sign here is for something that is *minimised*."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor


def hinge_critic(real: Tensor, fake: Tensor) -> Tensor:
    """Critic's hinge loss (Lim & Ye 2017): real scores above 1, fake ones below -1."""
    return F.relu(1 - real).mean() + F.relu(1 + fake).mean()


def wasserstein_critic(real: Tensor, fake: Tensor) -> Tensor:
    """Critic's Wasserstein loss (Arjovsky et al. 2017)."""
    return fake.mean() - real.mean()


def log_critic(real: Tensor, fake: Tensor) -> Tensor:
    """Critic's loss in the log form (Goodfellow et al. 2014): scores are logits of "real"."""
    return F.softplus(-real).mean() + F.softplus(fake).mean()


def log_generator(fake: Tensor) -> Tensor:
    """Generator's non-saturating log loss: its fakes called real."""
    return F.softplus(-fake).mean()


def gradient_penalty(critic: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor) -> Tensor:
    """(|d critic / d x| - 1)^2 at random points between real and fake (Gulrajani et al. 2017).

    In single precision throughout: a second derivative in bfloat16 is mostly rounding.
    """
    share = torch.rand(len(real), 1, 1, 1, device=real.device)
    between = (share * real + (1 - share) * fake).detach().requires_grad_(True)
    with torch.autocast(real.device.type, enabled=False):
        (slope,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
        return ((slope.flatten(1).norm(dim=1) - 1) ** 2).mean()


def r1_penalty(critic: Callable[[Tensor], Tensor], real: Tensor) -> Tensor:
    """Half of |d critic / d x|^2 at the real pictures, averaged over them (R1 of Mescheder et al. 2018).

    critic: pictures -> one score each, (B,). The half is part of it: a weight of gamma gives the paper's gamma / 2. In
    single precision throughout, as above.
    """
    point = real.detach().requires_grad_(True)
    with torch.autocast(real.device.type, enabled=False):
        (slope,) = torch.autograd.grad(critic(point).sum(), point, create_graph=True)
        return slope.square().flatten(1).sum(1).mean() / 2


def total(terms: list[Tensor]) -> Tensor:
    """The sum of scalar terms, as one tensor."""
    return torch.stack(terms).sum()


def total_variation(x: Tensor) -> Tensor:
    """Mean absolute difference between neighbouring pixels of (B, C, H, W)."""
    return (x[..., 1:, :] - x[..., :-1, :]).abs().mean() + (x[..., 1:] - x[..., :-1]).abs().mean()


def triplet(embedding: Tensor, person: Tensor, margin: float) -> Tensor:
    """Triplet loss on squared distances with semi-hard negatives (Schroff et al. 2015), over every pair of one person.

    embedding: (B, D), each of length 1. person: (B,). The negative of a pair is the nearest of those farther than the
    positive; where none is, the farthest of all.
    """
    distance = 2 - 2 * embedding @ embedding.T
    same = person[:, None] == person[None]
    anchor, positive = (same & ~torch.eye(len(person), dtype=torch.bool, device=person.device)).nonzero().unbind(1)
    near = distance[anchor, positive]
    others = distance[anchor].masked_fill(same[anchor], -torch.inf)  # (pairs, B)
    farther = others.masked_fill(others <= near[:, None], torch.inf).amin(1)
    negative = torch.where(farther.isinf(), others.amax(1), farther)
    return F.relu(near - negative + margin).mean()
