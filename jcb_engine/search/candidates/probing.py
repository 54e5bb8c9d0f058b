"""Candidates by centroids: the nearest ones of each query token are probed (coarse.py), and their postings read.

Where a document is in no probed list of a query token, that token counts the frontier score.
"""

from __future__ import annotations

import numpy as np

from jcb_engine.kernels import Backend, CentroidTable, CodecArrays, Lists, Store
from jcb_engine.search.candidates.coarse import coarse_search
from jcb_engine.search.candidates.stage import CandidateSettings
from jcb_engine.types import Float32Array, Int64Array, Uint8Array


class CentroidProbing:
    """Candidates from the postings of the best centroids of each query token."""

    def __init__(self, backend: Backend, store: Store, codec: CodecArrays, factory: str) -> None:
        self._backend, self._store = backend, store
        self._coarse = coarse_search(factory, backend, store, codec.centroids)
        self._centroid_count = len(codec.centroids)
        self._factory = factory

    @property
    def name(self) -> str:
        return f"centroids {self._factory}"

    @property
    def compares_all(self) -> bool:
        """Whether the nearest of all centroids are probed, and not what an index over them finds."""
        return self._factory == "Flat"

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
        return pool

    def probed_centroids(self, queries: Float32Array, table: CentroidTable, settings: CandidateSettings) -> Int64Array:
        """Ids [Q, probes] of the centroids whose postings `find` reads."""
        return self._probe(queries, table, min(settings.probes, self._centroid_count))[0]

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
