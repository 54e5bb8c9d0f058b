"""Between the stages: of the pool, the documents that are worth MaxSim over codes.

Those are kept whose MaxSim with all their tokens' centroids is highest. Nothing is imputed or estimated there, and it
costs a tenth of MaxSim over codes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from jcb_engine.kernels import RAW_BITS, Backend, CentroidTable, CodecArrays, Lists, Store
from jcb_engine.search.lists import best_places, by_query, lists_of
from jcb_engine.types import Float32Array, Int64Array


@dataclass(frozen=True, slots=True)
class Narrowed:
    """What is kept of the pools, and its centroid-only scores [M]: None where tokens have no centroids."""

    lists: Lists
    scores: Float32Array | None


class Narrowing:
    """Centroid-only MaxSim over a pool of documents. narrows: whether tokens have the centroid ids for it."""

    def __init__(self, backend: Backend, store: Store, codec: CodecArrays) -> None:
        self._backend, self._store = backend, store
        self.narrows = codec.nbits != RAW_BITS

    def keep(self, pool: Lists, table: CentroidTable, query_offsets: Int64Array, documents: int) -> Narrowed:
        """The best `documents` of each query's pool, in any order; all where there are fewer.

        Of a raw codec all are kept: its tokens have no centroid ids, only its postings know centroids.
        """
        if not self.narrows:
            return Narrowed(pool, None)
        scores = self._backend.maxsim_centroids(self._store, table, query_offsets, pool)
        taken = [(own, found, best_places(found, documents)) for own, found in by_query(pool, scores)]
        kept = [found[places] for _, found, places in taken]
        return Narrowed(
            lists_of([own[places] for own, _, places in taken]),
            kept[0] if len(kept) == 1 else np.concatenate([np.zeros(0, np.float32), *kept]),
        )
