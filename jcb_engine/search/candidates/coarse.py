"""The coarse search: the centroids nearest to each query token.

A factory string of FAISS says how. "Flat", the default, means all of them compared: their scores are known, because
MaxSim over compressed tokens needs the whole table of them, and the best are picked from it. That gives what a
faiss.IndexFlatIP gives (ties to the lower id), to the precision of the table, without computing the products twice: on
8,192 centroids, 128 dimensions and 23 query tokens, .1 ms instead of 1.1 ms on an idle core. Any other factory string
is searched by FAISS.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

import numpy as np

from jcb_engine.codec.candidate_index import centroid_index
from jcb_engine.codec.kmeans import one_faiss_thread
from jcb_engine.kernels import Backend, CentroidTable, Store
from jcb_engine.types import Float32Array, Int64Array

_TOKENS_FOR_ONE_THREAD = 128


class CoarseSearch(Protocol):
    """Finds the best centroids of query tokens, as well as it can."""

    def best(self, queries: Float32Array, table: CentroidTable, count: int) -> tuple[Int64Array, Float32Array]:
        """Ids [Q, count] and scores [Q, count], best first, of centroids for queries [Q, D] with their table [K, Q].

        -1 and any score where fewer were found.
        """
        ...


def coarse_search(factory: str, backend: Backend, store: Store, centroids: Float32Array) -> CoarseSearch:
    """What the factory string asks for, over centroids [K, D]. Raises InputError where FAISS cannot make it."""
    return FlatSearch(backend, store) if factory == "Flat" else FaissSearch(centroids, factory)


class FlatSearch:
    """All centroids, by the table that the kernels have computed."""

    def __init__(self, backend: Backend, store: Store) -> None:
        self._backend, self._store = backend, store

    def best(self, queries: Float32Array, table: CentroidTable, count: int) -> tuple[Int64Array, Float32Array]:
        return self._backend.best_centroids(self._store, table, count)


class FaissSearch:
    """A faiss.Index over the centroids."""

    def __init__(self, centroids: Float32Array, factory: str) -> None:
        self._index: Any = centroid_index(centroids, factory)

    def best(self, queries: Float32Array, table: CentroidTable, count: int) -> tuple[Int64Array, Float32Array]:
        with threads_for(len(queries)):
            scores, ids = self._index.search(queries, count)
        return np.asarray(ids, dtype=np.int64), np.asarray(scores, dtype=np.float32)


def threads_for(query_tokens: int) -> AbstractContextManager[None]:
    """One thread of FAISS for a single query, which takes about a millisecond; all for a batch."""
    return one_faiss_thread() if query_tokens <= _TOKENS_FOR_ONE_THREAD else nullcontext()
