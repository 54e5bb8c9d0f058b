"""Threads that each encode batches of their own on one core.

Torch divides every operation among its threads and waits for all of them at its end. Batches beside each other need no
such waits, and what one thread reads from memory another computes meanwhile: 4 to 16 % faster on 2 cores of a Zen 3.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch

_lock = threading.Lock()
_pool: ThreadPoolExecutor | None = None
_pool_size = 0


def worker_count() -> int:
    """How many threads torch would use, each of which may be a worker."""
    return torch.get_num_threads()


def run_on_workers(work: Callable[[], None]) -> None:
    """Run the same work on every worker at once, and wait for all. Raises what one of them raised."""
    pool, size = _workers()
    for done in [pool.submit(work) for _ in range(size)]:
        done.result()


def _workers() -> tuple[ThreadPoolExecutor, int]:
    """The pool of this process, as large as torch's number of threads is now."""
    global _pool, _pool_size
    with _lock:
        wanted = worker_count()
        if _pool is None or _pool_size != wanted:
            if _pool is not None:
                _pool.shutdown(wait=False)
            _pool, _pool_size = _started(wanted), wanted
        return _pool, _pool_size


def _started(size: int) -> ThreadPoolExecutor:
    """A pool whose threads use one torch thread each; the setting of all others stays."""
    pool = ThreadPoolExecutor(size, thread_name_prefix="encode")
    ready = threading.Barrier(size)

    def begin() -> None:
        torch.set_num_threads(1)  # of this thread, and the default of those that torch has not seen yet
        ready.wait()

    for done in [pool.submit(begin) for _ in range(size)]:
        done.result()
    torch.set_num_threads(size)  # the default again
    return pool
