"""Search with a cold page cache: with reading ahead, and without, in turns.

    python -m benchmarks.scale ../shared/data/scifact --documents 200000 --keep INDEXES --name scale-200k
    python -m benchmarks.cold INDEXES/200000 ../shared/data/scifact

Before each figure the pages of the index are dropped (posix_fadvise) and mincore confirms that they are gone.
`first` is the first query of a fresh process that has opened the index; `following` the next ones, other queries each,
which find part of the pages in memory; `each_cold` a query right after dropping and opening, in a process that has
searched before; `warm` the same queries when all they need is in memory. Faults are those that waited for the disk. The
answers are compared: they must be the same, and recall@10 of exact search stands beside them.

Prediction (SSD with 100 us a read; 200,000 documents, 4 bits): 16 * 30 lists, ids of 640 documents and codes, ids and
scalars of 256 are about 1,500 places; most faults bring 128 KB, so neighbours are had for nothing, and some 800 faults
on 2 threads wait 40 ms. Asked for at once, the disk answers tens at a time: 10 ms. Warm, three times eight looks by
mincore cost 10 to 40 us of a search of some milliseconds.

Looking back (50,000 documents, 4 bits, a virtual disk): the first query 42 instead of 369 ms, any query right after
dropping 30 instead of 359; the following ones 14 instead of 6, since without reading ahead the first faults bring the
whole index in, 128 KB at a time. Warm the same, 5 ms.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.corpora import embeddings, load_beir, overlap
from benchmarks.harness import Times, write_result
from benchmarks.page_cache import drop, resident_share
from jcb_engine import Searcher
from jcb_engine.types import Float32Array

K = 10
MODES = ("off", "on")
WARM_RUNS = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("index", type=Path)
    parser.add_argument("folder", type=Path, help="a BEIR folder; its test queries are encoded by mini@1")
    parser.add_argument("--queries", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=10, help="fresh processes per mode")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--name", default="cold", help="of the result file")
    parser.add_argument("--child", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child is not None:
        print(json.dumps(_searched(arguments.index, _queries(arguments, arguments.child))))
        return
    runs: dict[str, list[dict[str, Any]]] = {mode: [] for mode in MODES}
    left = []
    for number in range(arguments.rounds):
        for mode in MODES:
            left.append(drop(arguments.index))
            runs[mode].append(_fresh_process(mode, number))
    answers = {mode: [run["answers"] for run in found] for mode, found in runs.items()}
    if answers["off"] != answers["on"]:
        raise SystemExit("the answers with reading ahead differ from those without")
    with Searcher.open(arguments.index) as searcher:
        info = searcher.info()
    figures: dict[str, Any] = {mode: _figures(found) for mode, found in runs.items()}
    figures["share_left_after_dropping"] = max(left)
    figures["recall_at_10_of_exact"] = runs["on"][0]["recall"]
    print(json.dumps(figures, indent=2, default=vars))
    settings = {name: getattr(arguments, name) for name in ("queries", "rounds", "seed")}
    settings |= {"documents": info.documents, "tokens": info.tokens, "nbits": info.nbits, "bytes": info.bytes["total"]}
    write_result(arguments.name, settings, figures)


def _queries(arguments: argparse.Namespace, number: int) -> list[Float32Array]:
    """Other queries in every round, the same for each mode."""
    with Searcher.open(arguments.index) as searcher:
        dim = searcher.dim
    _, queries = embeddings(load_beir(arguments.folder), "mini@1", dim)
    order = np.random.default_rng([arguments.seed, number]).permutation(len(queries))
    return [np.asarray(queries[int(row)], dtype=np.float32) for row in order[: arguments.queries]]


def _fresh_process(mode: str, number: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.cold", *sys.argv[1:], "--child", str(number)]
    environment = {**os.environ, "JCB_READ_AHEAD": mode}
    result = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if result.returncode:
        raise SystemExit(result.stderr or result.stdout)
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def _searched(index: Path, queries: Sequence[Float32Array]) -> dict[str, Any]:
    """The measured process: everything but the index is loaded and warm before the pages are dropped."""
    drop(index)  # once more: loading the queries took a while, and their number of dimensions an opening
    began = time.perf_counter()
    searcher = Searcher.open(index)
    opened = time.perf_counter() - began
    in_turn = [_timed(searcher, query) for query in queries]
    resident = resident_share(index)
    warm = [_timed(searcher, query)[0] for _ in range(WARM_RUNS) for query in queries]
    exact = [[hit.id for hit in searcher.search(query, K, exact=True)] for query in queries]
    answers = [answer for _, _, answer in in_turn]
    searcher.close()
    del searcher
    each_cold = [_each_cold(index, query) for query in queries]
    return {
        "open": opened,
        "in_turn": [seconds for seconds, _, _ in in_turn],
        "in_turn_faults": [faults for _, faults, _ in in_turn],
        "resident_after": resident,
        "warm": warm,
        "each_cold": [seconds for seconds, _, _ in each_cold],
        "each_cold_faults": [faults for _, faults, _ in each_cold],
        "answers": [answers, [answer for _, _, answer in each_cold]],
        "recall": overlap(answers, exact),
    }


def _each_cold(index: Path, query: Float32Array) -> tuple[float, int, list[str]]:
    gc.collect()  # a map is closed with the last array that looks at it
    drop(index)
    with Searcher.open(index) as searcher:
        return _timed(searcher, query)


def _timed(searcher: Searcher, query: Float32Array) -> tuple[float, int, list[str]]:
    """Seconds of a search, faults that waited for the disk, and ids of the hits."""
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_majflt
    began = time.perf_counter()
    hits = searcher.search(query, K)
    seconds = time.perf_counter() - began
    return seconds, resource.getrusage(resource.RUSAGE_SELF).ru_majflt - faults, [hit.id for hit in hits]


def _figures(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    def joined(name: str, first: int = 0, last: int | None = None) -> list[Any]:
        return [value for run in runs for value in run[name][first:last]]

    return {
        "open_seconds": Times.of([run["open"] for run in runs]),
        "first_seconds": Times.of(joined("in_turn", 0, 1)),
        "first_faults_median": float(np.median(joined("in_turn_faults", 0, 1))),
        "following_seconds": Times.of(joined("in_turn", 1)),
        "following_faults_median": float(np.median(joined("in_turn_faults", 1))),
        "each_cold_seconds": Times.of(joined("each_cold")),
        "each_cold_faults_median": float(np.median(joined("each_cold_faults"))),
        "warm_seconds": Times.of(joined("warm")),
        "resident_share_after_all_queries": float(np.median([run["resident_after"] for run in runs])),
    }


if __name__ == "__main__":
    main()
