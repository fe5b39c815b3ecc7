"""Several processes train as one does: the same faces, the same weights; and none waits for one that is gone."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import pytest
import torch
import torch.multiprocessing as processes
from tiny import QUIET, Toy, faces, tiny, trainer_of
from torch import nn

from mien.errors import MienError
from mien.lab import checkpoint, ranks
from mien.lab.faces import Faces
from mien.lab.losses import hinge_critic, r1_penalty
from mien.lab.method import Terms, Turn

STEPS = 20


class Duel(Toy):
    """A painter against a critic with a gradient penalty; one weight is used by the even steps only."""

    reads: ClassVar[frozenset[str]] = frozenset({"image", "emotion"})

    def __init__(self, config: object) -> None:
        super().__init__(config)  # type: ignore[arg-type]
        self.critic = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.LeakyReLU(0.1), nn.Conv2d(4, 1, 3, 2, 1))
        self.critic.register_parameter("sometimes", nn.Parameter(torch.ones(())))

    def turns(self, step: int) -> list[Turn]:
        self.at = step
        return [Turn("judge", ("critic",), self.judge), Turn("paint", ("painter",), self.fool, every=2)]

    def scores(self, image: torch.Tensor) -> torch.Tensor:
        scores = self.critic(image).mean((1, 2, 3))
        return scores if self.at % 2 else scores * self.critic.sometimes

    def judge(self, source: Faces, target: Faces) -> Terms:
        fake = self.edit(source, target, torch.ones(len(source))).image.detach()
        loss = hinge_critic(self.scores(target.image), self.scores(fake))
        return {"hinge": loss, "penalty": 5 * r1_penalty(self.scores, target.image)}

    def fool(self, source: Faces, target: Faces) -> Terms:
        return {"fool": -self.scores(self.edit(source, target, torch.ones(len(source))).image).mean()}


def duel(drawn: Path, out: Path, steps: int = STEPS) -> None:
    torch.manual_seed(ranks.rank())  # the first weights too are to be rank 0's
    trainer_of(Duel(Duel.Config()), drawn, out, steps=steps, batch=8, log_every=5).run(console=QUIET)


def spread(world: int, work: Callable[..., None], *arguments: object, patient: bool = False) -> None:
    """``work(*arguments)`` in ``world`` processes that are ranks; ``patient``: let them end by themselves."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    group = processes.start_processes(_one, (world, port, work, arguments), world, join=False, start_method="fork")
    for process in group.processes if patient else ():
        process.join(60)
    while not group.join():
        pass


def _one(rank: int, world: int, port: int, work: Callable[..., None], arguments: tuple[object, ...]) -> None:
    torch.set_num_threads(1)
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "GLOO_SOCKET_IFNAME": "lo"}
    os.environ.update(place | {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world)})
    with ranks.joined():
        work(*arguments)


@pytest.fixture(scope="module")
def alone(drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of one process."""
    out = tmp_path_factory.mktemp("alone")
    duel(drawn, out)
    return out


def same(one: Path, other: Path, within: float = 1e-5) -> None:
    (a, done), (b, also) = (checkpoint.load(run / "checkpoint.safetensors") for run in (one, other))
    assert (done.step, done.images) == (also.step, also.images)
    assert a.keys() == b.keys()
    for name in a:
        torch.testing.assert_close(a[name], b[name], rtol=0, atol=within, msg=name)


@pytest.mark.parametrize("world", [2, 4])
def test_any_number_of_ranks_ends_at_the_weights_of_one(drawn: Path, tmp_path: Path, alone: Path, world: int) -> None:
    """Weights, moving averages and Adam's moments, after 20 steps of a batch of 8 with flips and gradient penalties."""
    spread(world, duel, drawn, tmp_path)
    same(alone, tmp_path)
    logs = [[json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()] for run in (alone, tmp_path)]
    assert len(logs[0]) == len(logs[1]) == STEPS // 5
    for here, there in zip(*logs, strict=True):
        for measured in ("images/s", "seconds"):
            del here[measured], there[measured]
        assert here == pytest.approx(there, abs=2e-4)


def test_a_run_goes_on_with_another_number_of_ranks(drawn: Path, tmp_path: Path, alone: Path) -> None:
    for world, steps in ((2, 7), (4, 15)):
        spread(world, duel, drawn, tmp_path, steps)
    duel(drawn, tmp_path)
    same(alone, tmp_path)


def gather_draws(out: Path) -> None:
    torch.manual_seed(5)
    batch = torch.arange(8).view(4, 2)
    answers = {"share": ranks.share(batch).tolist(), "told": ranks.from_first(lambda: ranks.rank() + 10)}
    try:
        ranks.from_first(lambda: refuse(ranks.rank()))
    except MienError as error:
        answers["refused"] = str(error)
    weight, idle = nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(1))
    if ranks.rank():
        weight.grad = torch.tensor([2.0, 4.0])
    ranks.average_gradients([weight, idle])
    answers |= {"grad": weight.grad.tolist(), "idle": idle.grad}
    (out / f"{ranks.rank()}.json").write_text(json.dumps(answers))


def refuse(rank: int) -> None:
    raise MienError(f"rank {rank} says no")


def test_ranks_share_a_batch_and_hear_the_first(tmp_path: Path) -> None:
    spread(2, gather_draws, tmp_path)
    for rank, part in enumerate(([[0, 1], [2, 3]], [[4, 5], [6, 7]])):
        told = json.loads((tmp_path / f"{rank}.json").read_text())
        assert told == {"share": part, "told": 10, "refused": "rank 0 says no", "grad": [1.0, 2.0], "idle": None}


def odd(drawn: Path, out: Path) -> None:
    try:
        trainer_of(Duel(Duel.Config()), drawn, out, batch=3)
    except MienError as error:
        (out / f"{ranks.rank()}.txt").write_text(str(error))


def test_a_batch_that_does_not_divide_is_refused(drawn: Path, tmp_path: Path) -> None:
    spread(2, odd, drawn, tmp_path)
    for rank in (0, 1):
        assert (tmp_path / f"{rank}.txt").read_text() == "--batch 3 is no multiple of the 2 processes that share it"


def random_losses(drawn: Path, out: Path) -> None:
    """What the losses of stargan, whose penalty draws at random, say on each rank."""
    trainer = trainer_of(tiny("stargan"), drawn, out, batch=8)
    trainer.step(0)
    (out / f"{ranks.rank()}.txt").write_text(str(torch.rand(()).item()))


def test_ranks_draw_different_random_numbers_in_their_losses(drawn: Path, tmp_path: Path) -> None:
    spread(2, random_losses, drawn, tmp_path)
    assert (tmp_path / "0.txt").read_text() != (tmp_path / "1.txt").read_text()


def dying(drawn: Path, out: Path) -> None:
    trainer = trainer_of(Duel(Duel.Config()), drawn, out, steps=1000, batch=8)
    step_of = trainer.step

    def step(number: int) -> dict[str, torch.Tensor]:
        if number == 3 and ranks.rank() == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return step_of(number)

    trainer.step = step
    try:
        trainer.run(console=QUIET)
    except MienError as error:
        (out / "said.txt").write_text(str(error))
        raise


def test_a_dead_rank_ends_the_others_with_a_line_that_says_so(drawn: Path, tmp_path: Path) -> None:
    began = time.monotonic()
    with pytest.raises((processes.ProcessExitedException, processes.ProcessRaisedException)):
        spread(2, dying, drawn, tmp_path, patient=True)
    assert time.monotonic() - began < 60
    said = (tmp_path / "said.txt").read_text()
    assert said.startswith("rank 0 of 2: another rank is gone")
    assert "start the same command again" in said
    assert "\n" not in said


def test_one_process_needs_no_group(drawn: Path) -> None:
    with ranks.joined():
        assert (ranks.rank(), ranks.count()) == (0, 1)
    table = faces(drawn)
    assert torch.equal(ranks.share(torch.arange(len(table))), torch.arange(len(table)))
