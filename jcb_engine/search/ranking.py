"""The second stage: MaxSim of the candidates, fast first, then fp32 for all that could be among the best k.

That they could not is proven where everything is searched. Among candidates it is as good as sure.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from jcb_engine.kernels import ERROR_FACTOR, ERROR_SAMPLE, Backend, Candidates, CentroidTable, Lists, Store
from jcb_engine.search.lists import best_places, by_query, joined, lists_of
from jcb_engine.search.stopping import Stop, first_places, worth_scoring
from jcb_engine.types import Float32Array, Int64Array, Uint32Array

# Documents of a query. Measured at 4 bits, 160 tokens a document: 16 documents took .97 ms in two stages, where almost
# all were scored twice, and .5 ms in fp32 alone. Tables alone are .4 ms.
_FEW = 48


@dataclass(frozen=True, slots=True)
class Ranking:
    """Documents [M] (numbers through the store) with their fp32 scores [M]; the best k are among them."""

    documents: Uint32Array
    scores: Float32Array


def rank(
    backend: Backend,
    store: Store,
    queries: Float32Array,
    query_offsets: Int64Array,
    table: CentroidTable,
    candidates: Candidates,
    k: int,
    groups: Uint32Array | None = None,
    stop: Stop | None = None,
    proven: bool = True,
) -> list[Ranking]:
    """Score candidates, and again in fp32 every document that could be among the k best.

    The best by fast score are scored in fp32 first: the k-th of these scores is a floor that the k-th best cannot lie
    below. A document whose fast score, raised by an error bound, stays below the floor cannot be a hit. The bound is
    the proven one, or else several times the worst error of those first documents. Few candidates are scored in fp32
    at once.
    table: centroid scores of the queries, exact ones where something is proven.
    groups: [N] group of each document; then the k best groups count, each by its best document.
    stop: passes over candidates that hardly could be hits (stopping.py); not together with groups.
    """
    assert not proven or table.is_exact, "fast scores by a fast table have no proven bound"
    if _few(candidates):
        scores = backend.maxsim_quantized(store, queries, query_offsets, candidates, "exact", table)
        return [_with_vectors(documents, found) for documents, found in by_query(candidates, scores)]

    def fast(candidates: Candidates) -> list[tuple[Uint32Array, Float32Array]]:
        scores = backend.maxsim_quantized(store, queries, query_offsets, candidates, "fast", table)
        return by_query(candidates, scores)

    found = fast(candidates) if stop is None else _stopping(fast, candidates, k, stop)
    scored = [_with_vectors(documents, scores) for documents, scores in found]

    def in_fp32(places: list[Int64Array]) -> list[Ranking]:
        chosen = [ranking.documents[own] for ranking, own in zip(scored, places, strict=True)]
        lists = lists_of(chosen)
        scores = backend.maxsim_quantized(store, queries, query_offsets, lists, "exact", table)
        return [Ranking(documents, found) for documents, found in by_query(lists, scores)]

    places = [_first_places(ranking, k, groups) for ranking in scored]
    best = in_fp32(places)
    if proven:  # after the scores: what was prepared for them, a pass over all centroids, serves the bound as well
        bounds = backend.score_error_bound(store, queries, query_offsets).tolist()
    else:
        bounds = [_likely_bound(r, own, first) for r, own, first in zip(scored, places, best, strict=True)]
    others = [
        _reaching(ranking.scores, _floor(first, k, groups) - bound, own)
        for ranking, first, bound, own in zip(scored, best, bounds, places, strict=True)
    ]
    if not any(len(own) for own in others):
        return best
    more = in_fp32(others)
    return [
        Ranking(joined([a.documents, b.documents]), np.concatenate([a.scores, b.scores]))
        for a, b in zip(best, more, strict=True)
    ]


def _few(candidates: Candidates) -> bool:
    """Whether fp32 at once costs less than making tables of small integers first."""
    return isinstance(candidates, Lists) and int(np.diff(candidates.list_offsets).max(initial=0)) <= _FEW


def _stopping(
    fast: Callable[[Lists], list[tuple[Uint32Array, Float32Array]]], candidates: Candidates, k: int, stop: Stop
) -> list[tuple[Uint32Array, Float32Array]]:
    """Documents and fast scores of each query: of those that come first, then of the others that are worth it."""
    assert isinstance(candidates, Lists), "there are no centroid-only scores of everything"
    lists = by_query(candidates, stop.centroid_scores)
    places = [first_places(centroid_scores, k) for _, centroid_scores in lists]
    firsts = fast(lists_of([documents[own] for (documents, _), own in zip(lists, places, strict=True)]))
    others = [
        documents[worth_scoring(centroid_scores, own, scores, k, margin)]
        for (documents, centroid_scores), own, (_, scores), margin in zip(
            lists, places, firsts, stop.margins.tolist(), strict=True
        )
    ]
    more = fast(lists_of(others))
    return [(joined([a[0], b[0]]), np.concatenate([a[1], b[1]])) for a, b in zip(firsts, more, strict=True)]


def _with_vectors(documents: Uint32Array, scores: Float32Array) -> Ranking:
    found = scores > -np.inf
    if found.all():  # no copy for each of many queries that share one long list
        return Ranking(documents, scores)
    return Ranking(documents[found], scores[found])


def _first_places(scored: Ranking, k: int, groups: Uint32Array | None) -> Int64Array:
    """Places of the best documents, and of the best one of each of the k best groups; of all where there are fewer."""
    best = best_places(scored.scores, max(k, ERROR_SAMPLE))
    if groups is None:
        return best
    by_score = np.argsort(-scored.scores, kind="stable")
    _, first = np.unique(groups[scored.documents[by_score]], return_index=True)
    return np.union1d(best, by_score[np.sort(first)[:k]])


def _floor(ranked: Ranking, k: int, groups: Uint32Array | None) -> float:
    """What the k-th hit scores at least; -inf where there are not k of them."""
    scores = ranked.scores
    if groups is not None:
        _, members = np.unique(groups[ranked.documents], return_inverse=True)
        scores = np.full(members.max(initial=-1) + 1, -np.inf, np.float32)
        np.maximum.at(scores, members, ranked.scores)
    return float(np.partition(scores, -k)[-k]) if len(scores) >= k else -np.inf


def _likely_bound(scored: Ranking, places: Int64Array, exact: Ranking) -> float:
    return ERROR_FACTOR * float(np.abs(exact.scores - scored.scores[places]).max(initial=0.0))


def _reaching(scores: Float32Array, threshold: float, known: Int64Array) -> Int64Array:
    """Places of scores that reach the threshold, those that are known left out."""
    reaching = scores >= threshold
    reaching[known] = False
    return np.flatnonzero(reaching)
