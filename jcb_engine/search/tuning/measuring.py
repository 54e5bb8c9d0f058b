"""Settings measured as they are used: by searching, and comparing with exact search of the same index."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np

from jcb_engine.search.candidates import CandidateSettings
from jcb_engine.search.query import QueryVectors
from jcb_engine.search.tuning.queries import TuningQueries
from jcb_engine.types import Float64Array, Int64Array

SearchNumbers: TypeAlias = Callable[[QueryVectors, int, CandidateSettings | None], list[Int64Array]]
"""Document numbers of the hits of each query, in their order; None as settings is exact search."""

_QUERIES_TIMED = 50
_SECONDS_TIMED = 30.0


def exact_documents(search: SearchNumbers, queries: TuningQueries, k: int) -> list[Int64Array]:
    """The exact k best of each query, by number; fewer where the index has no more."""
    found = search(queries.vectors, queries.depth(k), None)
    return [queries.others(number, documents, k) for number, documents in enumerate(found)]


def recall_of(
    search: SearchNumbers, queries: TuningQueries, wanted: Sequence[Int64Array], k: int, settings: CandidateSettings
) -> Float64Array:
    """[queries] share of the exact k best that a search with these settings finds."""
    found = search(queries.vectors, queries.depth(k), settings)
    shares = [
        np.isin(exact, queries.others(number, documents, k)).mean()
        for number, (exact, documents) in enumerate(zip(wanted, found, strict=True))
    ]
    return np.array(shares)


def median_milliseconds(
    search: Callable[[QueryVectors, int, CandidateSettings | None], object],
    queries: QueryVectors,
    k: int,
    tried: Sequence[CandidateSettings | None],
) -> list[float]:
    """Of a single query, for each of the settings, measured in turns so that all meet the same disturbances.

    Up to 50 queries, as many as fit into half a minute, two at least where there are two.
    """
    chosen = np.linspace(0, len(queries) - 1, min(_QUERIES_TIMED, len(queries))).round().astype(int)
    seconds: list[list[float]] = [[] for _ in tried]
    began = time.perf_counter()
    for turn, number in enumerate(chosen.tolist()):
        if turn >= 2 and time.perf_counter() - began > _SECONDS_TIMED:
            break
        own = queries.alone(number)
        for times, settings in zip(seconds, tried, strict=True):
            started = time.perf_counter()
            search(own, k, settings)
            times.append(time.perf_counter() - started)
    return [1000 * statistics.median(times) for times in seconds]
