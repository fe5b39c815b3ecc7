"""Several processes that train one model: each rank computes its share of every batch, gradients are averaged.

A run by itself is rank 0 of 1: there every function here does nothing, or gives what it was given.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from mien.errors import MienError

T = TypeVar("T")
PATIENCE = timedelta(minutes=10)
"""How long a rank waits for the others, longer than rank 0 takes to save and to draw a sample sheet."""


@contextmanager
def joined() -> Iterator[None]:
    """Within, this process is one of those that torchrun (or whatever sets RANK and WORLD_SIZE) has started.

    Tensors on the CPU go by gloo, those on GPUs by NCCL, and "cuda" is the GPU of this process's own.
    """
    if int(os.environ.get("WORLD_SIZE", 1)) == 1:
        yield
        return
    local, gpus = int(os.environ.get("LOCAL_RANK", 0)), torch.cuda.device_count()
    if gpus:
        if local >= gpus:
            raise MienError(f"process {local + 1} on a machine of {gpus} GPUs: start one process a GPU")
        torch.cuda.set_device(local)
    with _together():
        dist.init_process_group("cpu:gloo,cuda:nccl" if gpus else "gloo", timeout=PATIENCE)
    try:
        yield
    finally:
        dist.destroy_process_group()


def rank() -> int:
    """The number of this process, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def count() -> int:
    """How many processes there are."""
    return dist.get_world_size() if dist.is_initialized() else 1


def share(batch: Tensor) -> Tensor:
    """This rank's part of ``batch`` (B, ...), whose length is a multiple of the number of ranks."""
    return batch.view(count(), -1, *batch.shape[1:])[rank()]


def from_first(work: Callable[[], T]) -> T:
    """What ``work`` gives on rank 0, on every rank; a MienError that it raises there is raised on every rank."""
    if count() == 1:
        return work()
    said: list[T | MienError | None] = [None]
    if rank() == 0:
        try:
            said = [work()]
        except MienError as error:
            said = [error]
    with _together():
        dist.broadcast_object_list(said, device=torch.device("cpu"))
    if isinstance(said[0], MienError):
        raise said[0]
    return said[0]  # type: ignore[return-value]


def begin_alike(module: nn.Module) -> None:
    """Give every rank the weights and buffers of rank 0."""
    if count() == 1:
        return
    with _together():
        for value in module.state_dict().values():
            sent = value.contiguous()
            dist.broadcast(sent, 0)
            value.copy_(sent)


def mean(values: Tensor) -> Tensor:
    """The mean over the ranks of a tensor that each of them has."""
    if count() == 1:
        return values
    values = values.clone()
    with _together():
        dist.all_reduce(values)
    return values / count()


def average_gradients(weights: Iterable[nn.Parameter]) -> None:
    """Replace each gradient by its mean over the ranks, sent as one flat bucket.

    A rank on which a weight has no gradient counts as zero; a weight that has none on any rank keeps none.
    """
    if count() == 1:
        return
    weights = list(weights)
    moved = mean(torch.tensor([float(weight.grad is not None) for weight in weights]))  # by gloo: no GPU waits for it
    weights = [weight for weight, share_ in zip(weights, moved.tolist(), strict=True) if share_]
    grads = [torch.zeros_like(weight) if weight.grad is None else weight.grad for weight in weights]
    bucket = mean(torch.cat([grad.flatten() for grad in grads]))
    for weight, grad, part in zip(weights, grads, bucket.split([grad.numel() for grad in grads]), strict=True):
        weight.grad = grad.copy_(part.view_as(grad))


@contextmanager
def _together() -> Iterator[None]:
    """What torch.distributed raises when a rank is gone, in one line."""
    try:
        yield
    except (dist.DistError, RuntimeError) as error:
        me = f"rank {os.environ.get('RANK', '?')} of {os.environ.get('WORLD_SIZE', '?')}"
        raise MienError(
            f"{me}: another rank is gone, or did not answer ({str(error).splitlines()[0][:200]}); see its own message, "
            "then start the same command again: it goes on from the last checkpoint"
        ) from error
