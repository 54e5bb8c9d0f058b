"""The second stage: MaxSim of the candidates, fast first, then fp32 for all that could be among the best k."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from jcb_engine.kernels import Backend, Candidates, CentroidTable, Lists, Ranges, Store
from jcb_engine.types import Float32Array, Int64Array, Uint32Array


@dataclass(frozen=True, slots=True)
class Ranking:
    """Documents [M] (numbers through the store) with their fp32 scores [M]; at least the best k are among them."""

    documents: Uint32Array
    scores: Float32Array


def rank(
    backend: Backend,
    store: Store,
    queries: Float32Array,
    query_offsets: Int64Array,
    candidates: Candidates,
    k: int,
    groups: Uint32Array | None = None,
) -> list[Ranking]:
    """Score candidates, and again in fp32 every document that could be among the k best.

    A document whose fast score lies more than twice the proven error bound below the k-th fast score cannot be.
    groups: [N] group of each document; then the k best groups count, each by its best document.
    """
    table = backend.centroid_scores(store, queries)
    fast = backend.maxsim_quantized(store, queries, query_offsets, candidates, "fast", table)
    bounds = backend.score_error_bound(store, queries, query_offsets)
    kept = [
        _possible_winners(documents, scores, k, float(bound), groups)
        for (documents, scores), bound in zip(_by_query(candidates, fast), bounds, strict=True)
    ]
    return _rescored(backend, store, queries, query_offsets, kept, table)


def _by_query(candidates: Candidates, scores: Float32Array) -> list[tuple[Uint32Array, Float32Array]]:
    if isinstance(candidates, Ranges):
        spans = zip(candidates.starts, candidates.ends, strict=True)
        documents = np.concatenate([np.arange(start, end, dtype=np.uint32) for start, end in spans])
        return [(documents, row) for row in scores]
    offsets = candidates.list_offsets
    return [(candidates.documents[first:last], scores[first:last]) for first, last in itertools.pairwise(offsets)]


def _possible_winners(
    documents: Uint32Array, scores: Float32Array, k: int, bound: float, groups: Uint32Array | None
) -> Uint32Array:
    has_vectors = scores > -np.inf
    documents, scores = documents[has_vectors], scores[has_vectors]
    best = scores if groups is None else _best_of_groups(scores, groups[documents])
    if len(best) <= k:
        return documents
    kth = float(np.partition(best, len(best) - k)[len(best) - k])
    return documents[scores >= kth - 2 * bound]


def _best_of_groups(scores: Float32Array, groups: Uint32Array) -> Float32Array:
    _, members = np.unique(groups, return_inverse=True)
    best = np.full(int(members.max(initial=-1)) + 1, -np.inf, dtype=np.float32)
    np.maximum.at(best, members, scores)
    return best


def _rescored(
    backend: Backend,
    store: Store,
    queries: Float32Array,
    query_offsets: Int64Array,
    kept: list[Uint32Array],
    table: CentroidTable,
) -> list[Ranking]:
    lists = Lists(np.concatenate([np.zeros(0, np.uint32), *kept]), np.cumsum([0, *map(len, kept)], dtype=np.int64))
    scores = backend.maxsim_quantized(store, queries, query_offsets, lists, "exact", table)
    return [Ranking(documents, found) for documents, found in _by_query(lists, scores)]
