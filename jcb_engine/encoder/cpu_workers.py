"""Threads that each encode batches of their own on one core.

Torch divides every operation among its threads and waits for all of them at its end. Batches beside each other need no
such waits, and what one thread reads from memory another computes meanwhile: 4 to 16 % faster on 2 cores of a Zen 3.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch

_lock = threading.Lock()
_pools: dict[int, ThreadPoolExecutor] = {}  # by number of threads; a process has one, or few


def worker_count() -> int:
    """How many threads torch would use, each of which may be a worker."""
    return torch.get_num_threads()


def run_on_workers(work: Callable[[], None]) -> None:
    """Run the same work on as many workers at once as torch has threads now, and wait for all.

    Raises what one of them raised.
    """
    size = worker_count()
    with _lock:
        if size not in _pools:
            _pools[size] = _started(size)
        pool = _pools[size]
    for done in [pool.submit(work) for _ in range(size)]:
        done.result()


def _forget() -> None:
    """In a forked child: its parent's threads are not there."""
    global _lock
    _lock = threading.Lock()
    _pools.clear()


os.register_at_fork(after_in_child=_forget)


def _started(size: int) -> ThreadPoolExecutor:
    """A pool whose threads use one torch thread each; the setting of all others stays."""
    pool = ThreadPoolExecutor(size, thread_name_prefix="encode")
    ready = threading.Barrier(size)

    def begin() -> None:
        torch.get_num_threads()  # torch sets a new thread up on its first use, and would undo the next line then
        torch.set_num_threads(1)  # of this thread, and the default of those that torch has not seen yet
        ready.wait()

    for done in [pool.submit(begin) for _ in range(size)]:
        done.result()
    torch.set_num_threads(size)  # the default again
    return pool
