"""Does it help an expression recogniser to learn from edited faces where real ones are rare, and by how much?

    python benchmarks/augmentation.py --data lfw-expressions-128.parquet --out out/augmentation

A small VGG16 learns two expressions from a real subset in which one is rare: as it is; with the rare faces drawn as
often as the common ones; with `mien augment --balance`; and, as the ceiling, with as many real faces of both. Every
seed has each of the four once; all are tested on real faces of people of the test split. Stopped and started again, it
goes on with the trainings that are missing. Writes table.md and table.json.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
import tyro
from rich.console import Console
from scipy.stats import binomtest

from mien.expressions import EXPRESSIONS, Expression
from mien.lab.balance import Wish, evenly
from mien.lab.data import FaceTable, load
from mien.lab.metrics import Figure, resamples
from mien.lab.readers.vgg19 import VGG19, VGG19Config
from mien.lab.synthetic import augment
from mien.lab.trainer import Trainer

ARMS = {  # manifest, and how far rare faces are drawn more often
    "as it is": ("subset", 0.0),
    "oversampled": ("subset", 1.0),
    "with edits": ("balanced", 0.0),
    "real faces (ceiling)": ("real", 0.0),
}


@dataclass(frozen=True)
class Settings:
    """What is compared.

    Attributes:
        data: A Parquet manifest with expressions and people.
        out: The folder for manifests, trainings and the table.
        common: The expression with many faces.
        rare: The one with few; faces of the common one are edited to it.
        faces: How many of the common one.
        left: How many of the rare one.
        model: What edits: a model that `mien models` lists, or an .onnx file.
        seeds: Trainings of each kind; the subset is the same in all.
        steps: Of each training.
        batch: Pairs of faces a step: twice as many faces.
        size: Side of the crops in pixels.
        width: Channels of the first stage; VGG16 has 64.
    """

    data: Path
    out: Path = Path("out/augmentation")
    common: Expression = "neutral"
    rare: Expression = "happiness"
    faces: int = 400
    left: int = 20
    model: str = "flowfill"
    seeds: int = 5
    steps: int = 400
    batch: int = 32
    size: int = 32
    width: int = 8


def main(settings: tyro.conf.OmitArgPrefixes[Settings]) -> None:
    """Train, test, print the table."""
    began, out = time.time(), settings.out
    out.mkdir(parents=True, exist_ok=True)
    chosen = {key: str(value) for key, value in asdict(settings).items() if key not in ("out", "seeds")}
    if (before := out / "settings.json").exists() and json.loads(before.read_text()) != chosen:
        raise SystemExit(f"{out} holds trainings with other settings ({before}); give another --out")
    (out / "settings.json").write_text(json.dumps(chosen, indent=1))
    subsets(settings)
    made = out / "balanced.parquet"
    if not made.exists():
        augment(out / "subset.parquet", made, Wish(balance=True, model=settings.model))
    tables = {name: load(out / f"{name}.parquet", "train", FIELDS, settings.size) for name, _ in ARMS.values()}
    test = load(settings.data, "test", FIELDS | {"identity"}, settings.size, real=True)
    names = (settings.common, settings.rare)
    pair = torch.tensor([EXPRESSIONS.index(name) for name in names])
    rows = torch.isin(test.faces.emotion, pair).nonzero()[:, 0]
    said: dict[str, list[np.ndarray]] = {arm: [] for arm in ARMS}
    for seed in range(settings.seeds):
        for arm, (name, balance) in ARMS.items():
            said[arm].append(trained(settings, arm, tables[name], balance, seed, test, rows))
            print(f"{arm}, seed {seed}: {time.time() - began:.0f} s", flush=True)
    truth, people = test.faces.emotion[rows].numpy(), test.faces.identity[rows].numpy()
    found = measured({arm: np.stack(each) == truth for arm, each in said.items()}, truth == int(pair[1]), people)
    about: dict[str, Any] = {"settings": chosen | {"seeds": str(settings.seeds)}}
    about["learned from"] = {arm: len(tables[name]) for arm, (name, _) in ARMS.items()}
    about["tested on"] = {name: int((truth == i).sum()) for name, i in zip(names, pair.tolist(), strict=True)}
    (out / "table.json").write_text(json.dumps(about | found, indent=1))
    (out / "table.md").write_text(markdown(settings, about, found))
    print((out / "table.md").read_text())


FIELDS = frozenset({"image", "emotion"})


def subsets(settings: Settings) -> None:
    """subset.parquet, with few faces of the rare expression, and real.parquet, with as many as of the common one."""
    table = pq.read_table(settings.data)
    split, label, people = (np.array(table[name].to_pylist(), object) for name in ("split", "emotion", "identity"))
    random = np.random.default_rng(0)
    common, rare = (
        evenly(np.flatnonzero((split == "train") & (label == name)), people.tolist(), settings.faces, random)
        for name in (settings.common, settings.rare)
    )
    for name, rows in (("subset", common + rare[: settings.left]), ("real", common + rare)):
        pq.write_table(table.take(sorted(rows)), settings.out / f"{name}.parquet")


def trained(
    settings: Settings, arm: str, table: FaceTable, balance: float, seed: int, test: FaceTable, rows: torch.Tensor
) -> np.ndarray:
    """(N,) what a recogniser trained on ``table`` takes the test's ``rows`` for; kept in a file."""
    folder = settings.out / "runs" / f"{arm.split(' (')[0].replace(' ', '-')}-{seed}"
    if not (folder / "said.npy").exists():
        torch.manual_seed(seed)
        method = VGG19(VGG19Config(size=settings.size, width=settings.width, depth=16))
        recipe = replace(method.recipe, steps=settings.steps, batch=settings.batch, balance=(balance, balance))
        recipe = replace(recipe, seed=seed, log_every=settings.steps, save_every=settings.steps)
        trainer = Trainer("vgg19", method, table, folder, recipe)
        trainer.run(console=Console(quiet=True))
        half = torch.autocast(trainer.device.type, torch.bfloat16)
        with trainer.averaged() as reader, torch.inference_mode(), half:
            parts = [reader(test.take(part, trainer.device).image).argmax(1).cpu() for part in rows.split(256)]
        np.save(folder / "said.npy", torch.cat(parts).numpy())
    return np.load(folder / "said.npy")


def measured(right: dict[str, np.ndarray], rare: np.ndarray, people: np.ndarray) -> dict:
    """Figures of each arm and of the edits against the others; right: (seeds, N) by arm. rare: (N,) which faces are.

    Intervals: 95 %, percentile bootstrap over people and seeds at once, 1000 draws. McNemar's exact test is of what
    most of an arm's trainings say.
    """
    measures: dict[str, Callable] = {
        "accuracy": lambda each, w: np.average(each, weights=w),
        "common": lambda each, w: np.average(each, weights=w * ~rare),
        "rare": lambda each, w: np.average(each, weights=w * rare),
    }
    measures["balanced"] = lambda each, w: (measures["common"](each, w) + measures["rare"](each, w)) / 2
    times = resamples(len(people), people)
    seeds = np.random.default_rng(1).integers(0, len(next(iter(right.values()))), (len(times), len(right["as it is"])))

    def figures(score: Callable) -> dict[str, dict]:
        """score: a measure, weights (N,), chosen seeds -> a number."""
        every, found = np.arange(seeds.shape[1]), {}
        for name, measure in measures.items():
            drawn = [score(measure, w, pick) for w, pick in zip(times, seeds, strict=True)]
            low, high = np.percentile(drawn, [2.5, 97.5])
            value = score(measure, np.ones(len(people)), every)
            found[name] = asdict(Figure(float(value), float(low), float(high), len(people)))
        return found

    arms = {
        arm: figures(lambda m, w, s, each=each: m(each[s].mean(0), w))
        | {"by seed": [float(measures["balanced"](row, np.ones(len(people)))) for row in each]}
        for arm, each in right.items()
    }
    vote = {arm: each.mean(0) > 0.5 for arm, each in right.items()}
    against = {}
    for arm in (name for name in right if name != "with edits"):
        both = right["with edits"], right[arm]
        gain = figures(lambda m, w, s, both=both: m(both[0][s].mean(0), w) - m(both[1][s].mean(0), w))
        won, lost = (int((vote[a] & ~vote[b]).sum()) for a, b in (("with edits", arm), (arm, "with edits")))
        p = float(binomtest(won, won + lost).pvalue) if won + lost else 1.0
        against[arm] = gain | {"won": won, "lost": lost, "p": p}
    return {"arms": arms, "edits against": against}


def markdown(settings: Settings, about: dict, found: dict) -> str:
    """The two tables."""

    def said(figure: dict, sign: str = "") -> str:
        return f"{figure['value']:{sign}.3f} [{figure['low']:{sign}.3f}, {figure['high']:{sign}.3f}]"

    tested = about["tested on"]
    lines = [
        f"| learned from | faces | accuracy | {settings.common} ({tested[settings.common]}) "
        f"| {settings.rare} ({tested[settings.rare]}) | mean of the two | by seed |",
        "| --- | ---: | ---: | ---: | ---: | ---: | --- |",
    ]
    for arm, row in found["arms"].items():
        each = " | ".join(said(row[name]) for name in ("accuracy", "common", "rare", "balanced"))
        seeds = " ".join(f"{value:.3f}" for value in row["by seed"])
        lines.append(f"| {arm} | {about['learned from'][arm]} | {each} | {seeds} |")
    lines += [
        "",
        "| with edits, against | accuracy | mean of the two | faces won / lost | McNemar p |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for arm, row in found["edits against"].items():
        gains = " | ".join(said(row[name], "+") for name in ("accuracy", "balanced"))
        lines.append(f"| {arm} | {gains} | {row['won']} / {row['lost']} | {row['p']:.2g} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    torch.set_num_threads(1)
    tyro.cli(main)
