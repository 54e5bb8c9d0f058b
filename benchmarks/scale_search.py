"""What scale.py measures of one index: settings against their recall, exact search against its kernel, many clients."""

from __future__ import annotations

import itertools
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.corpora import embeddings, load_beir, overlap
from benchmarks.harness import Times
from benchmarks.synthetic import RealTokens, passages
from jcb_engine import Searcher
from jcb_engine.kernels import Ranges, select
from jcb_engine.search.plan import DEFAULT_CANDIDATES, DEFAULT_PROBES
from jcb_engine.search.stored_vectors import load_codec, segment_arrays
from jcb_engine.storage import Snapshot
from jcb_engine.types import Float32Array

K = 10
# (probes, candidates), from cheap to dear; the default is among them.
DEFAULT_SETTING = (DEFAULT_PROBES, DEFAULT_CANDIDATES)
SETTINGS = [
    (4, 32),
    (4, 64),
    (8, 64),
    (8, 128),
    (16, 128),
    DEFAULT_SETTING,
    (32, 256),
    (32, 512),
    (40, 512),
    (48, 512),
    (64, 1024),
    (128, 2048),
]
ENOUGH_RECALL = 0.95
PASSAGE_TOKENS = 32
CLIENTS, CLIENT_SECONDS = 8, 8.0
_EXACT_QUERIES = 10  # timed; recall takes all of them
_CACHED_TOKENS = 8_192  # whose codes the second-level cache of a core holds, at 4 bits or fewer


def sampled_queries(folder: Path, real: RealTokens, count: int, dim: int, seed: int) -> list[Float32Array]:
    """Half test queries of the collection, half passages of its documents, in turns: a mixed load."""
    _, queries = embeddings(load_beir(folder), "mini@1", dim)
    chosen = np.random.default_rng(seed).permutation(len(queries))[: (count + 1) // 2]
    short = [np.asarray(queries[int(number)], dtype=np.float32) for number in chosen]
    long = passages(real, count - len(short), PASSAGE_TOKENS, seed)
    pairs = itertools.zip_longest(short, long)
    return [query for pair in pairs for query in pair if query is not None]


def measure_search(searcher: Searcher, path: Path, queries: list[Float32Array], runs: int) -> dict[str, Any]:
    """Figures of one index; recall@10 is that of exact=True on the same index."""
    exact = [[hit.id for hit in hits] for hits in searcher.search_batch(queries, K, exact=True)]
    settings = [_measured_setting(searcher, queries, setting, runs, exact) for setting in SETTINGS]
    enough = [row for row in settings if row["recall_at_10_of_exact"] >= ENOUGH_RECALL]
    cheapest = min(enough, key=lambda row: row["seconds"].median) if enough else None
    default = next(row for row in settings if (row["probes"], row["candidates"]) == DEFAULT_SETTING)
    return {
        "queries": len(queries),
        "query_tokens_mean": float(np.mean([len(query) for query in queries])),
        "settings": settings,
        "default": default,
        f"cheapest_at_{ENOUGH_RECALL}": cheapest,
        "clients": _many_clients(searcher, queries, cheapest or default),
        "exact": _exact_search(searcher, path, queries[:_EXACT_QUERIES], runs),
    }


def _measured_setting(
    searcher: Searcher, queries: list[Float32Array], setting: tuple[int, int], runs: int, exact: list[list[str]]
) -> dict[str, Any]:
    probes, candidates = setting
    seconds = np.zeros((runs, len(queries)))
    found: list[list[str]] = []
    for run in range(-1, runs):  # the first is a warm-up, and gives the answers
        for number, query in enumerate(queries):
            began = time.perf_counter()
            hits = searcher.search(query, K, probes=probes, candidates=candidates)
            if run >= 0:
                seconds[run, number] = time.perf_counter() - began
            else:
                found.append([hit.id for hit in hits])
    return {
        "probes": probes,
        "candidates": candidates,
        "recall_at_10_of_exact": overlap(found, exact),
        "seconds": Times.of(seconds.ravel().tolist()),
        "undisturbed_median": float(np.median(seconds.min(axis=0))),
    }


def _many_clients(searcher: Searcher, queries: list[Float32Array], setting: dict[str, Any]) -> dict[str, Any]:
    """Threads that ask one query after the other, each beginning at another place of the list."""
    seconds: list[list[float]] = [[] for _ in range(CLIENTS)]
    end = time.perf_counter() + CLIENT_SECONDS

    def ask(client: int) -> None:
        number = client * len(queries) // CLIENTS
        while (began := time.perf_counter()) < end:
            query = queries[number % len(queries)]
            searcher.search(query, K, probes=setting["probes"], candidates=setting["candidates"])
            seconds[client].append(time.perf_counter() - began)
            number += 1

    threads = [threading.Thread(target=ask, args=(client,)) for client in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    every = np.array([value for own in seconds for value in own])
    median, p99 = (float(np.percentile(every, share)) for share in (50, 99))
    return {
        "clients": CLIENTS,
        "probes": setting["probes"],
        "candidates": setting["candidates"],
        "queries_per_second": len(every) / CLIENT_SECONDS,
        "median_seconds": median,
        "p99_seconds": p99,
        "p99_over_median": p99 / median,
    }


def _exact_search(searcher: Searcher, path: Path, queries: list[Float32Array], runs: int) -> dict[str, Any]:
    """Exact search beside its kernel in turns: over the whole store, and over a part that stays in the cache."""
    backend = select()
    with Snapshot.open(path) as snapshot:
        codec = load_codec(snapshot)
        store = backend.prepare(codec.arrays, [segment_arrays(segment) for segment in snapshot.segments])
        tokens, documents = store.tokens, store.documents
        cached = max(1, documents * _CACHED_TOKENS // max(1, tokens))
        repeats = max(1, 200_000 // _CACHED_TOKENS)
        seconds: dict[str, list[float]] = {"search": [], "kernel_whole_store": [], "kernel_in_cache": []}
        for run, query in itertools.product(range(runs), queries):
            rotated = codec.rotate(query, backend)
            offsets = np.array([0, len(query)])
            table = backend.centroid_scores(store, rotated)

            def scan(last: int, rotated: Float32Array = rotated, offsets: Any = offsets, table: Any = table) -> float:
                ranges = Ranges(np.array([0]), np.array([last]))
                began = time.perf_counter()
                backend.maxsim_quantized(store, rotated, offsets, ranges, "fast", table)
                return time.perf_counter() - began

            scan(cached)  # prepares the tables of the query, and reads the part
            in_cache = [scan(cached) for _ in range(repeats)]
            whole = scan(documents)
            began = time.perf_counter()
            searcher.search(query, K, exact=True)
            if run or runs == 1:
                seconds["search"].append(time.perf_counter() - began)
                seconds["kernel_whole_store"].append(whole)
                seconds["kernel_in_cache"].append(float(np.median(in_cache)))
    medians = {name: float(np.median(values)) for name, values in seconds.items()}
    rate_in_cache = cached * tokens / documents / medians["kernel_in_cache"]
    return {
        "seconds": Times.of(seconds["search"]),
        "kernel_tokens_per_second_whole_store": tokens / medians["kernel_whole_store"],
        "kernel_tokens_per_second_in_cache": rate_in_cache,
        "over_kernel_whole_store": medians["search"] / medians["kernel_whole_store"],
        "over_kernel_in_cache": medians["search"] / (tokens / rate_in_cache),
    }
