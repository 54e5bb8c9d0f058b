"""Rounds: every engine answers its queries once, one after the other, so that noise of the machine hits all alike."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import memory_of
from benchmarks.peers.engines import Search
from benchmarks.peers.indexes import BuiltIndex, driver_environment

_POLL_SECONDS = 0.02
_END_SECONDS = 30


@dataclass
class Measured:
    """Of one search over one index: answers {query: ids} and seconds {query: one figure per time it was asked}."""

    answers: dict[int, list[int]] = field(default_factory=dict)
    seconds: dict[int, list[float]] = field(default_factory=dict)

    def add(self, queries: list[int], ids: list[list[int]], seconds: list[float]) -> None:
        for query, found, taken in zip(queries, ids, seconds, strict=True):
            if self.answers.setdefault(query, found) != found:
                print(f"note: query {query} got another answer than in an earlier round")
            self.seconds.setdefault(query, []).append(taken)


class Worker:
    """A driver that holds one index open and answers; the peak of its RssAnon is watched."""

    def __init__(self, built: BuiltIndex, job: dict[str, Any], scratch: Path) -> None:
        self.built = built
        label = built.engine.label
        path = scratch / f"{label}.json"
        path.write_text(json.dumps({**job, "index": str(built.path)}))
        self._log_path = scratch / f"{label}.log"
        self._log = self._log_path.open("w")
        self._process = subprocess.Popen(
            [*built.engine.command(), "serve", str(path)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, text=True,
            env=driver_environment(built.engine, job["threads"]),
        )  # fmt: skip
        self.peak_rss_anon_bytes = 0
        self._stopped = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()
        try:
            self._answer()
        except BaseException:
            self.close()
            raise

    def ask(self, search: str, queries: list[int]) -> tuple[list[list[int]], list[float]]:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"search": search, "queries": queries}) + "\n")
        self._process.stdin.flush()
        answer = self._answer()
        return answer["ids"], answer["seconds"]

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            tail = self._log_path.read_text().strip().splitlines()[-1:]
            raise SystemExit(f"{self.built.engine.label} stopped: {' '.join(tail) or 'it said nothing'}")
        return dict(json.loads(line))

    def _watch(self) -> None:
        while not self._stopped.wait(_POLL_SECONDS):
            self.peak_rss_anon_bytes = max(self.peak_rss_anon_bytes, memory_of(self._process.pid)[0])

    def close(self) -> None:
        self._stopped.set()
        self._watcher.join()
        try:
            self._process.communicate(timeout=_END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()
        self._log.close()


def asked_in_round(search: Search, queries: int, rounds: int, number: int, seed: int) -> list[int]:
    """Queries of round `number`: all of them, or the next part of a shuffled choice, so that each comes once."""
    if search.most_queries is None:
        return list(range(queries))
    chosen = np.random.default_rng(seed).permutation(queries)[: search.most_queries]
    return sorted(int(query) for query in np.array_split(chosen, rounds)[number])


def run_rounds(workers: list[Worker], queries: int, rounds: int, seed: int) -> dict[tuple[str, str], Measured]:
    """{(engine's label, search's name): measured}."""
    measured = {(w.built.engine.label, s.name): Measured() for w in workers for s in w.built.engine.searches}
    for number in range(rounds):
        took = []
        for worker in workers:
            began = time.perf_counter()
            for search in worker.built.engine.searches:
                asked = asked_in_round(search, queries, rounds, number, seed)
                if asked:
                    ids, seconds = worker.ask(search.name, asked)
                    measured[worker.built.engine.label, search.name].add(asked, ids, seconds)
            took.append(f"{worker.built.engine.label} {time.perf_counter() - began:.0f} s")
        print(f"round {number + 1} of {rounds}: {', '.join(took)}", flush=True)
    return measured
