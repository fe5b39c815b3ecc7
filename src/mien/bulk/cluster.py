"""Many photographs by the machines of a Ray cluster: actors that load the models once, fed by Ray Data."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

import numpy as np
import ray
from ray.data import ActorPoolStrategy

from mien.bulk.work import Job, Report, Worker
from mien.errors import MienError

BATCH = 16
"""Photographs that an actor is handed at a time; what is done again when it is lost."""


class Actor:
    """A worker as Ray Data calls it: a batch of names in, as many reports as JSON out."""

    def __init__(self, job: Job) -> None:
        self.worker = Worker(job)

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, list[str]]:
        return {"report": [json.dumps(self.worker(str(name))) for name in batch["name"]]}


def join(address: str) -> None:
    """Become part of the cluster at ``address``; raises MienError where there is none."""
    try:
        ray.init(address=address, log_to_driver=False, logging_level="warning")
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise MienError(f"--cluster {address}: no Ray cluster found ({str(error).splitlines()[0]})") from error


def run(job: Job, names: Sequence[str], workers: int | None) -> Iterator[Report]:
    """A report for each photograph; an actor that dies is begun anew, and its batch done again. To be joined before.

    workers: actors, one a core of the cluster where None. Each asks for half a core: with whole ones Ray Data's own
    tasks would find no room.
    """
    ray.data.DataContext.get_current().enable_progress_bars = False
    items = ray.data.from_items([{"name": name} for name in names], override_num_blocks=max(1, len(names) // BATCH))
    actors = workers or max(1, int(ray.cluster_resources().get("CPU", 1)))
    reports = items.map_batches(
        Actor,
        fn_constructor_args=(job,),
        batch_size=BATCH,
        compute=ActorPoolStrategy(size=actors),
        num_cpus=0.5,
    )
    try:
        for row in reports.iter_rows() if names else ():
            yield json.loads(row["report"])
    finally:
        ray.shutdown()
