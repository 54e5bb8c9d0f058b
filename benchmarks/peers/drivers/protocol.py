"""What a driver is told and what it answers. Standard library and numpy only: each peer's own interpreter runs this.

`driver.py build JOB.json` makes an index and prints {"seconds", "centroids"}. `driver.py serve JOB.json` opens it,
prints {"ready": true}, and answers every line {"search": name, "queries": [numbers]} of standard input by one line
{"seconds": [...], "ids": [[...]]}: the queries one by one, each timed alone, after a few that are not timed. What a
peer itself prints goes to standard error.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

import numpy as np

_WARM_UP = 3


@dataclass(frozen=True)
class Job:
    """One index and the searches over it. `documents` and `queries` are folders with values.npy and offsets.npy."""

    documents: Path
    queries: Path
    index: Path
    nbits: int
    centroids: int
    seed: int
    threads: int
    k: int
    searches: dict[str, dict[str, Any]]

    @classmethod
    def read(cls, path: Path) -> Job:
        fields = json.loads(path.read_text())
        return cls(**{name: Path(v) if name in ("documents", "queries", "index") else v for name, v in fields.items()})


class OpenIndex(Protocol):
    """An index that answers; only `search` is timed."""

    def prepare(self, query: np.ndarray) -> Any:
        """A query [tokens, dim] in the form that the engine takes."""

    def search(self, query: Any, parameters: dict[str, Any]) -> Any:
        """The engine's own answer, by its own call from Python."""

    def ids(self, answer: Any) -> list[int]:
        """Numbers of documents, best first."""


def vectors(folder: Path) -> list[np.ndarray]:
    """Arrays [tokens, dim] float32, views of a mapped file: what they take is not RssAnon."""
    values = np.load(folder / "values.npy", mmap_mode="c")
    offsets = np.load(folder / "offsets.npy")
    return [values[first:last] for first, last in pairwise(offsets)]


def main(build: Callable[[Job], int], open_index: Callable[[Job], OpenIndex]) -> None:
    """Run a driver: `build` makes the index and returns its number of centroids, `open_index` opens it."""
    command, job = sys.argv[1], Job.read(Path(sys.argv[2]))
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    if command == "build":
        began = time.perf_counter()
        centroids = build(job)
        _say(answers, {"seconds": time.perf_counter() - began, "centroids": centroids})
        return
    opened = open_index(job)
    queries = [opened.prepare(np.array(query)) for query in vectors(job.queries)]
    _say(answers, {"ready": True})
    for line in sys.stdin:
        request = json.loads(line)
        parameters = job.searches[request["search"]]
        gc.collect()
        for number in request["queries"][:_WARM_UP]:
            opened.search(queries[number], parameters)
        seconds, ids = [], []
        for number in request["queries"]:
            began = time.perf_counter()
            answer = opened.search(queries[number], parameters)
            seconds.append(time.perf_counter() - began)
            ids.append(opened.ids(answer))
        _say(answers, {"seconds": seconds, "ids": ids})


def _say(answers: Any, message: dict[str, Any]) -> None:
    answers.write(json.dumps(message) + "\n")
    answers.flush()
