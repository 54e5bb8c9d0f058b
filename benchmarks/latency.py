"""Latency of default search on a machine that others use too: rounds of queries, each beside a loop of known work.

    python -m benchmarks.latency INDEX ../shared/data/scifact      (an index of the collection's vectors, or any)

A Python loop that touches nothing tells, before and after every round, how fast the machine is just then. The figure is
the median over queries in the rounds where it ran within a tenth of its best; the median over all rounds stands beside
it. Quality: recall@10 of exact search on the same index.

Prediction: 4 ms at 128 dimensions, 2 bits, 8,192 centroids and 23 query tokens on 2 cores (see benchmarks/search.py).
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np

from benchmarks.corpora import embeddings, load_beir, overlap
from benchmarks.harness import Times, write_result
from jcb_engine import Searcher

K = 10
_LOOP = 300_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("index", type=Path)
    parser.add_argument("folder", type=Path, help="a BEIR folder; its test queries are encoded by mini@1")
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--pause", type=float, default=1.0, help="seconds between rounds")
    arguments = parser.parse_args()
    collection = load_beir(arguments.folder)
    with Searcher.open(arguments.index) as searcher:
        _, queries = embeddings(collection, "mini@1", searcher.dim)
        rounds = []
        for _ in range(arguments.rounds):
            before = _loop_seconds()
            seconds = [_seconds(searcher, query) for query in queries]
            rounds.append((max(before, _loop_seconds()), seconds))
            time.sleep(arguments.pause)
        loops = np.array([loop for loop, _ in rounds])
        calm = [seconds for loop, seconds in rounds if loop <= 1.1 * loops.min()]
        found, wanted = (
            [[hit.id for hit in searcher.search(query, K, exact=mode)] for query in queries] for mode in (False, True)
        )
        info = searcher.info()
        figures = {
            "backend": searcher.backend,
            "recall_at_10_of_exact": overlap(found, wanted),
            "python_loop_seconds": Times.of(loops.tolist()),
            "calm_rounds": len(calm),
            "calm_seconds": Times.of([value for seconds in calm for value in seconds]),
            "all_seconds": Times.of([value for _, seconds in rounds for value in seconds]),
        }
    print(figures)
    settings = {"collection": collection.name, "dim": info.dim, "nbits": info.nbits, "centroids": info.centroids}
    settings |= {"tokens": info.tokens, "rounds": arguments.rounds, "k": K}
    write_result(f"latency-{collection.name}-{info.dim}-{info.nbits}bits", settings, figures)


def _loop_seconds() -> float:
    began = time.perf_counter()
    total = 0
    for number in range(_LOOP):
        total += number
    return time.perf_counter() - began


def _seconds(searcher: Searcher, query: np.ndarray) -> float:
    began = time.perf_counter()
    searcher.search(query, K)
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
