"""Many photographs by processes of this machine, each with models of its own."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from threading import Thread

from mien.bulk.work import Job, Report, Worker

AHEAD = 4
"""Photographs that wait for each worker, so that none waits for its next."""
_worker: Worker | None = None


def run(job: Job, names: Sequence[str], workers: int) -> Iterator[Report]:
    """A report for each photograph, as they are done.

    Where a worker dies, what was under way is done again, one by one; a photograph that ends a worker a second time
    is reported as an error.
    """
    waiting, suspects = deque(names), deque[str]()
    while waiting or suspects:
        alone = bool(suspects)
        queue = deque([suspects.popleft()]) if alone else waiting
        under_way: dict[Future[Report], str] = {}
        with _pool(job, 1 if alone else workers) as pool:
            try:
                while queue or under_way:
                    while queue and len(under_way) < AHEAD * workers:
                        under_way[pool.submit(_do, queue[0])] = queue[0]
                        queue.popleft()
                    for done in wait(under_way, return_when=FIRST_COMPLETED).done:
                        report = done.result()
                        del under_way[done]
                        yield report
            except BrokenProcessPool:
                if not alone:
                    suspects.extend(under_way.values())
                else:
                    yield from (
                        {"file": name, "error": "ended the process that read it"} for name in under_way.values()
                    )
            finally:
                pool.shutdown(cancel_futures=True)


def _pool(job: Job, workers: int) -> ProcessPoolExecutor:
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(workers, context, _begin, (job,))


def _begin(job: Job) -> None:
    """In a worker: leave Ctrl-C to the command, end when it does, even if it is killed, and open the models."""
    global _worker
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Thread(target=_end_with_parent, daemon=True).start()
    _worker = Worker(job)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _do(name: str) -> Report:
    assert _worker is not None
    return _worker(name)
