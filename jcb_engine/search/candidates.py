"""The first stage: which documents are worth scoring.

One interface, one file per way of finding candidates. This one probes the centroids nearest to each query token
(coarse.py), reads their postings, and imputes the frontier score where a document is in none of them. Of the pool that
comes out best, the documents are kept whose MaxSim with all their tokens' centroids is highest: nothing is imputed
there, and it costs a tenth of MaxSim over codes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from jcb_engine.kernels import RAW_BITS, Backend, CentroidTable, CodecArrays, Lists, Store
from jcb_engine.search.coarse import coarse_search
from jcb_engine.search.lists import best_places, by_query, lists_of
from jcb_engine.types import Float32Array, Int64Array, Uint8Array


@dataclass(frozen=True, slots=True)
class CandidateSettings:
    """How wide to look: centroids probed per query token, and documents kept per query."""

    probes: int
    documents: int

    @property
    def pool(self) -> int:
        """Documents taken from the postings, of which the best by centroid-only MaxSim are kept.

        Measured on 1.24 M tokens, 128 dimensions, 8,192 centroids, 16 probes: share of the exact best k among the kept.
        k = 10, 256 kept of a pool of 320, 480, 640: .997, .997, .998; without a pool of more, .994.
        k = 100, 800 kept of a pool of 1,200, 2,000, 2,400: .989, .996, .997; without a pool of more, .975.
        """
        return 5 * self.documents // 2

    def wider(self) -> CandidateSettings:
        return CandidateSettings(4 * self.probes, 4 * self.documents)


class CandidateStage(Protocol):
    """Finds the documents to score, for several queries at once."""

    def find(
        self,
        queries: Float32Array,
        query_offsets: Int64Array,
        table: CentroidTable,
        settings: CandidateSettings,
        mask: Uint8Array | None,
    ) -> Lists:
        """queries [Q, D] in the rotated basis, table [K, Q] of their centroid scores.

        mask: bitmap of allowed documents, applied inside the stage.
        """
        ...


class CentroidProbing:
    """Candidates from the postings of the best centroids of each query token."""

    def __init__(self, backend: Backend, store: Store, codec: CodecArrays, factory: str) -> None:
        self._backend, self._store = backend, store
        self._coarse = coarse_search(factory, backend, store, codec.centroids)
        self._centroid_count = len(codec.centroids)
        self._has_centroid_ids = codec.nbits != RAW_BITS

    def find(
        self,
        queries: Float32Array,
        query_offsets: Int64Array,
        table: CentroidTable,
        settings: CandidateSettings,
        mask: Uint8Array | None,
    ) -> Lists:
        probes, scores, frontier = self._probe(queries, table, min(settings.probes, self._centroid_count))
        pool, _ = self._backend.accumulate_postings(
            self._store, probes, scores, frontier, query_offsets, settings.pool, mask
        )
        if not self._has_centroid_ids:  # of a raw codec: its postings alone know centroids, and all of the pool is kept
            return pool
        pool_scores = self._backend.maxsim_centroids(self._store, table, query_offsets, pool)
        return _narrowed(pool, pool_scores, settings.documents)

    def _probe(
        self, queries: Float32Array, table: CentroidTable, count: int
    ) -> tuple[Int64Array, Float32Array, Float32Array]:
        """Ids and scores [Q, count] of the best centroids, and the score of the next one [Q]: the frontier.

        A document in no probed list of a query token has no token there that could beat the frontier by its centroid.
        """
        ids, scores = self._coarse.best(queries, table, min(count + 1, self._centroid_count))
        ids, scores, frontier = _without_gaps(ids, scores)
        return (
            np.ascontiguousarray(ids[:, :count], dtype=np.int64),
            np.ascontiguousarray(scores[:, :count], dtype=np.float32),
            np.ascontiguousarray(frontier, dtype=np.float32),
        )


def _narrowed(pool: Lists, scores: Float32Array, count: int) -> Lists:
    """The `count` documents of each query with the highest scores [M], in any order; all where there are fewer."""
    return lists_of([documents[best_places(own, count)] for documents, own in by_query(pool, scores)])


def _without_gaps(ids: Int64Array, scores: Float32Array) -> tuple[Int64Array, Float32Array, Float32Array]:
    """Ids and scores [Q, count] of a search that may have found fewer (-1), and the lowest score found, [Q].

    A gap becomes a repeat of the row's best centroid, which changes no maximum; a row without any finds is worth 0.
    """
    missing = ids < 0
    if not missing.any():
        return ids, scores, scores[:, -1]
    nothing = missing.all(axis=1)
    frontier = np.where(nothing, 0, np.where(missing, np.inf, scores).min(axis=1))
    best_ids, best_scores = np.where(nothing, 0, ids[:, 0]), np.where(nothing, 0, scores[:, 0])
    return (
        np.where(missing, best_ids[:, None], ids),
        np.where(missing, best_scores[:, None], scores).astype(np.float32),
        frontier.astype(np.float32),
    )
