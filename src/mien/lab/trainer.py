"""Plays a method's turns: freezes, sums, steps, averages, logs, saves and resumes. Knows no loss by name."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import Tensor

from mien import __version__
from mien.errors import MienError
from mien.lab import checkpoint, ranks
from mien.lab.data import Table, mix
from mien.lab.faces import Faces
from mien.lab.method import Method, Recipe
from mien.lab.sheet import sample_sheet
from mien.photo.write import write_aside

LOGGED = ("data", "version", "step", "images", "seconds")
"""What of the progress stands in every line of the log, beside images a second and the loss terms."""


class Trainer:
    """One run in one folder: ``checkpoint.safetensors``, ``log.jsonl`` and ``samples/``.

    begun: ``method`` comes from another run, and what that one measured of its own faces stays.
    """

    def __init__(self, name: str, method: Method, table: Table, out: Path, recipe: Recipe, begun: bool = False) -> None:
        self.method, self.table, self.out, self.recipe = method, table, out, recipe
        self.device = pick_device(recipe.device)
        if recipe.batch % ranks.count():
            raise MienError(f"--batch {recipe.batch} is no multiple of the {ranks.count()} processes that share it")
        if ranks.from_first(lambda: table.digest) != table.digest:
            raise MienError(f"rank {ranks.rank()} reads other faces than rank 0: give every machine the same manifests")
        self.progress = checkpoint.Progress(name, asdict(method.config), table.digest, __version__)
        self.sample = method.sampler(table, recipe)
        method.to(self.device)
        self.layout = torch.channels_last if method.channels_last else torch.contiguous_format
        method.to(memory_format=self.layout)  # type: ignore[call-overload]
        learning = {n: m for n, m in method.named_children() if n not in method.readers}
        self.networks = {n: m for n, m in learning.items() if any(True for _ in m.parameters())}
        self.optimizers = {name: self._optimizer(name) for name in self.networks}
        self.averages: dict[str, Tensor] = {}
        file = out / "checkpoint.safetensors"
        saved = ranks.from_first(lambda: checkpoint.load(file) if file.exists() else None)
        if saved:
            self._resume(*saved)
        else:
            if not begun:
                method.prepare(table.faces)
            ranks.begin_alike(method)
            self.averages = {k: v.detach().clone() for k, v in self._averaged().items()}

    def run(self, watch: Table | None = None, console: Console | None = None) -> checkpoint.Progress:
        """Train until the steps or the minutes are used up; ``watch``: held-out faces for the sample sheets."""
        console = console or Console()
        self.out.mkdir(parents=True, exist_ok=True)
        self._trim_log()
        began, first = time.monotonic(), self.progress
        terms: dict[str, list[Tensor]] = {}
        mark, since = began, first.step
        while self.progress.step < self.recipe.steps and ranks.from_first(
            lambda: time.monotonic() - began < 60 * self.recipe.minutes
        ):
            step = self.progress.step
            for name, value in self.step(step).items():
                terms.setdefault(name, []).append(value)
            seconds = first.seconds + time.monotonic() - began
            self.progress = replace(
                self.progress, step=step + 1, images=self.progress.images + self.recipe.batch, seconds=round(seconds, 1)
            )
            saves = (step + 1) % self.recipe.save_every == 0
            if saves or (step + 1) % self.recipe.log_every == 0:  # nothing is saved that was not looked at
                self._log(terms, step + 1 - since, time.monotonic() - mark, console)
                terms, mark, since = {}, time.monotonic(), step + 1
            if saves:
                self.save(watch)
        if terms:
            self._log(terms, self.progress.step - since, time.monotonic() - mark, console)
        self.save(watch)
        return self.progress

    def step(self, step: int) -> dict[str, Tensor]:
        """One step: this rank's share of a batch, then every turn that is due. Returns the loss terms, detached."""
        torch.manual_seed(mix(self.recipe.seed, step))
        source, target = (self._batch(index) for index in self.sample(step))
        if ranks.rank():  # the batch is the same for any number of ranks; what losses draw differs from rank to rank
            torch.manual_seed(mix(self.recipe.seed, step, ranks.rank()))
        logged: dict[str, Tensor] = {}
        self.method.train()
        for turn in self.method.turns(step):
            if step % turn.every:
                continue
            for name, network in self.networks.items():
                network.requires_grad_(name in turn.moves)
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.recipe.bf16):
                terms = turn.loss(source, target)
            for name in turn.moves:
                self.optimizers[name].zero_grad(set_to_none=True)
            sum(terms.values(), torch.zeros((), device=self.device)).backward()
            ranks.average_gradients(weight for name in turn.moves for weight in self.networks[name].parameters())
            for name in turn.moves:
                for group in self.optimizers[name].param_groups:
                    group["lr"] = self.method.optimizer(name).lr * self._pace(step)
                self.optimizers[name].step()
            logged |= {f"{turn.name}/{name}": term.detach() for name, term in terms.items()}
            self._average(turn.moves)
        return logged

    def save(self, watch: Table | None = None) -> None:
        """Write the checkpoint, and a sample sheet where there are faces to watch; of several ranks, the first does."""
        if ranks.rank():
            return
        self.out.mkdir(parents=True, exist_ok=True)
        if watch is not None and self.method.condition:  # before the checkpoint: a run killed in between draws it again
            with self.averaged():
                sample_sheet(self.method, watch, self.out / "samples" / f"{self.progress.step:07d}.jpg", self.device)
        tensors = {f"method/{k}": v for k, v in self.method.state_dict().items()}
        tensors |= {f"average/{k}": v for k, v in self.averages.items()}
        for name, optimizer in self.optimizers.items():
            for index, state in optimizer.state_dict()["state"].items():
                tensors |= {f"optimizer/{name}/{index}/{key}": value for key, value in state.items()}
        checkpoint.save(self.out / "checkpoint.safetensors", tensors, self.progress)

    def averaged(self) -> _Averaged:
        """``with trainer.averaged():`` the method wears its averaged weights."""
        return _Averaged(self.method, self.averages)

    def _batch(self, index: Tensor) -> Faces:
        faces = self.table.take(ranks.share(index), self.device)
        if self.recipe.flip:
            coins = ranks.share(torch.rand(len(index), device=self.device))
            faces = Faces.where(coins < 0.5, faces.flipped(), faces)
        if faces.image is None:  # motions have none
            return faces
        return faces.having(image=faces.image.to(memory_format=self.layout))

    def _optimizer(self, name: str) -> torch.optim.Optimizer:
        wish = self.method.optimizer(name)
        return torch.optim.Adam(
            self.networks[name].parameters(), lr=wish.lr, betas=wish.betas, weight_decay=wish.weight_decay, fused=True
        )

    def _pace(self, step: int) -> float:
        """The share of the learning rate that is left: 1, then down in a line over the last ``decay`` of the steps."""
        left = 1 - step / self.recipe.steps
        return min(1.0, left / self.recipe.decay) if self.recipe.decay else 1.0

    def _averaged(self) -> dict[str, Tensor]:
        return {k: v for k, v in self.method.state_dict().items() if k.split(".")[0] in self.method.average}

    @torch.no_grad()
    def _average(self, moved: tuple[str, ...]) -> None:
        step = self.progress.step
        keep = min(self.recipe.ema, (1 + step) / (10 + step))  # early on, so that the first weights are forgotten
        for name, value in self._averaged().items():
            if name.split(".")[0] in moved:
                if value.is_floating_point():
                    self.averages[name].lerp_(value, 1 - keep)
                else:
                    self.averages[name].copy_(value)

    def _resume(self, tensors: dict[str, Tensor], progress: checkpoint.Progress) -> None:
        for what in ("method", "config", "data"):
            was, now = getattr(progress, what), getattr(self.progress, what)
            if json.loads(json.dumps(was)) != json.loads(json.dumps(now)):
                raise MienError(f"{self.out} holds a run with another {what} ({was}, now {now}); use another --out")
        part = {
            kind: {k.removeprefix(kind + "/"): v for k, v in tensors.items() if k.startswith(kind + "/")}
            for kind in ("method", "average", "optimizer")
        }
        try:
            self.method.load_state_dict(part["method"])
        except RuntimeError as error:
            raise MienError(
                f"{self.out} holds a run of other networks, by another version; use another --out"
            ) from error
        if part["average"].keys() != self._averaged().keys():
            raise MienError(f"{self.out} holds a run without all of its averages; use another --out")
        self.averages = {k: v.to(self.device) for k, v in part["average"].items()}
        for name, optimizer in self.optimizers.items():
            state: dict[int, dict[str, Tensor]] = {}
            weights = list(self.networks[name].parameters())
            for key, value in part["optimizer"].items():
                network, index, field = key.split("/")
                if network == name:
                    if value.dim():  # fused Adam walks through memory: its moments must lie as their weights do
                        value = torch.empty_like(weights[int(index)]).copy_(value)
                    state.setdefault(int(index), {})[field] = value
            optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
        self.progress = progress

    def _trim_log(self) -> None:
        """Leave out the lines of steps that were done but not saved: they are about to be written again."""
        log = self.out / "log.jsonl"
        if not ranks.rank() and log.exists():
            lines = log.read_text(errors="replace").splitlines(keepends=True)
            with write_aside(log, overwrite=True) as aside:
                aside.write_text("".join(line for line in lines if _step(line) <= self.progress.step))

    def _log(self, terms: dict[str, list[Tensor]], steps: int, seconds: float, console: Console) -> None:
        """Each term's mean over the steps in which its turn was played, and over the ranks."""
        averages = ranks.mean(torch.tensor([float(torch.stack(values).mean()) for values in terms.values()]))
        means = dict(zip(terms, averages.tolist(), strict=True))
        rate = steps * self.recipe.batch / max(seconds, 1e-9)
        bad = [name for name, value in means.items() if value != value or abs(value) == float("inf")]
        if bad:
            raise MienError(
                f"{', '.join(bad)} is no longer a number at step {self.progress.step}; "
                f"the last checkpoint in {self.out} is sound: lower the learning rate or use --no-bf16"
            )
        if ranks.rank():
            return
        line: dict[str, Any] = {name: getattr(self.progress, name) for name in LOGGED} | {"images/s": round(rate, 1)}
        try:
            with open(self.out / "log.jsonl", "a") as log:
                log.write(json.dumps(line | {k: round(v, 4) for k, v in means.items()}) + "\n")
        except OSError as error:
            raise MienError(
                f"{self.out / 'log.jsonl'} cannot be written ({error.strerror}); make room, go on"
            ) from error
        shown = "  ".join(f"{k} {v:.3f}" for k, v in means.items())
        console.print(f"step {self.progress.step}  {rate:.0f} images/s  {shown}", highlight=False)


def _step(line: str) -> float:
    """The step of a line of the log; infinity where a crash left no whole one."""
    try:
        return float(json.loads(line)["step"]) if line.endswith("\n") else float("inf")
    except (ValueError, TypeError, KeyError, RecursionError):
        return float("inf")


class _Averaged:
    def __init__(self, method: Method, averages: dict[str, Tensor]) -> None:
        self.method, self.averages = method, averages

    def __enter__(self) -> Method:
        self.own = {k: v.detach().clone() for k, v in self.method.state_dict().items() if k in self.averages}
        self.method.load_state_dict(self.averages, strict=False)
        self.method.eval()
        return self.method

    def __exit__(self, *_: object) -> None:
        self.method.load_state_dict(self.own, strict=False)
        self.method.train()


def pick_device(name: str) -> torch.device:
    """``auto``: the GPU when there is one. Raises MienError for a device that is not there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        raise MienError(f"no device {name!r} here: use --device auto ({str(error).splitlines()[0]})") from error
