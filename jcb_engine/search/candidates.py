"""The first stage: which documents are worth scoring.

One interface, one file per way of finding candidates. This one probes the centroids nearest to each query token through
a faiss.Index, reads their postings, and imputes the frontier score where a document is in none of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from jcb_engine.codec.candidate_index import centroid_index
from jcb_engine.codec.centroids import import_faiss
from jcb_engine.kernels import Backend, Lists, Store
from jcb_engine.types import Float32Array, Int64Array, Uint8Array

_TOKENS_FOR_ONE_THREAD = 128


@dataclass(frozen=True, slots=True)
class CandidateSettings:
    """How wide to look: centroids probed per query token, and documents kept per query."""

    probes: int
    documents: int

    def wider(self) -> CandidateSettings:
        return CandidateSettings(4 * self.probes, 4 * self.documents)


class CandidateStage(Protocol):
    """Finds the documents to score, for several queries at once."""

    def find(
        self,
        queries: Float32Array,
        query_offsets: Int64Array,
        settings: CandidateSettings,
        mask: Uint8Array | None,
    ) -> Lists:
        """queries [Q, D] in the rotated basis. mask: bitmap of allowed documents, applied inside the stage."""
        ...


class CentroidProbing:
    """Candidates from the postings of the best centroids of each query token."""

    def __init__(self, backend: Backend, store: Store, centroids: Float32Array, factory: str) -> None:
        self._backend, self._store = backend, store
        self._index: Any = centroid_index(centroids, factory)
        self._centroid_count = len(centroids)

    def find(
        self,
        queries: Float32Array,
        query_offsets: Int64Array,
        settings: CandidateSettings,
        mask: Uint8Array | None,
    ) -> Lists:
        probes, scores, frontier = self._probe(queries, min(settings.probes, self._centroid_count))
        lists, _ = self._backend.accumulate_postings(
            self._store, probes, scores, frontier, query_offsets, settings.documents, mask
        )
        return lists

    def _probe(self, queries: Float32Array, count: int) -> tuple[Int64Array, Float32Array, Float32Array]:
        """Ids and scores [Q, count] of the best centroids, and the score of the next one [Q]: the frontier.

        A document in no probed list of a query token has no token there that could beat the frontier by its centroid.
        """
        wanted = min(count + 1, self._centroid_count)
        with _threads_for(len(queries)):
            scores, ids = self._index.search(queries, wanted)
        ids, scores, frontier = _without_gaps(ids, scores)
        return (
            np.ascontiguousarray(ids[:, :count], dtype=np.int64),
            np.ascontiguousarray(scores[:, :count], dtype=np.float32),
            np.ascontiguousarray(frontier, dtype=np.float32),
        )


@contextmanager
def _threads_for(query_tokens: int) -> Iterator[None]:
    """Let a single query run on the calling thread: it takes about a millisecond, and waking FAISS's OpenMP threads for
    it costs as much, or ten times that on a busy machine, where they spin for a processor.
    """
    if query_tokens > _TOKENS_FOR_ONE_THREAD:
        yield
        return
    faiss = import_faiss()
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)  # OpenMP keeps this per calling thread: other threads are not touched
    try:
        yield
    finally:
        faiss.omp_set_num_threads(threads)


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
