"""Between the stages: of the pool, the documents that are worth MaxSim over codes.

Those are kept whose MaxSim with all their tokens' centroids is highest. Nothing is imputed or estimated there, and it
costs a tenth of MaxSim over codes.
"""

from __future__ import annotations

from jcb_engine.kernels import RAW_BITS, Backend, CentroidTable, CodecArrays, Lists, Store
from jcb_engine.search.lists import best_places, by_query, lists_of
from jcb_engine.types import Int64Array


class Narrowing:
    """Centroid-only MaxSim over a pool of documents."""

    def __init__(self, backend: Backend, store: Store, codec: CodecArrays) -> None:
        self._backend, self._store = backend, store
        self._has_centroid_ids = codec.nbits != RAW_BITS

    def keep(self, pool: Lists, table: CentroidTable, query_offsets: Int64Array, documents: int) -> Lists:
        """The best `documents` of each query's pool, in any order; all where there are fewer.

        Of a raw codec all are kept: its tokens have no centroid ids, only its postings know centroids.
        """
        if not self._has_centroid_ids:
            return pool
        scores = self._backend.maxsim_centroids(self._store, table, query_offsets, pool)
        return lists_of([own[best_places(found, documents)] for own, found in by_query(pool, scores)])
