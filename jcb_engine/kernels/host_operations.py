"""What a GPU backend leaves to the processor: building, postings as a stage of their own, plain vectors.

Not a fall-back: these are the operations whose data lie in host memory and whose work is small beside moving it.
"""

from __future__ import annotations

import numpy as np

from jcb_engine.errors import InputError
from jcb_engine.kernels.interface import Backend, CentroidLists, CodecArrays, Lists, Store, Winners
from jcb_engine.types import Float16Array, Float32Array, Int64Array, Uint8Array, Uint32Array


class HostedStore:
    """Half a store: what a store on a GPU says of itself is what `host`, the same one on the host, says."""

    __slots__ = ()
    host: Store

    @property
    def documents(self) -> int:
        return self.host.documents

    @property
    def tokens(self) -> int:
        return self.host.tokens

    @property
    def segment_starts(self) -> Int64Array:
        return self.host.segment_starts


class HostOperations:
    """Half a backend: hands these operations to the host's. Its stores are HostedStores."""

    def __init__(self, host: Backend) -> None:
        self._host = host

    @property
    def threads(self) -> int:
        return self._host.threads

    def nearest_centroids(
        self, vectors: Float32Array, centroids: Float32Array, count: int
    ) -> tuple[Int64Array, Float32Array]:
        return self._host.nearest_centroids(vectors, centroids, count)

    def nearest_in_lists(self, vectors: Float32Array, lists: CentroidLists, probes: Int64Array) -> Uint32Array:
        return self._host.nearest_in_lists(vectors, lists, probes)

    def quantize(
        self, vectors: Float32Array, centroid_ids: Uint32Array, codec: CodecArrays
    ) -> tuple[Uint8Array, Float16Array, Float16Array]:
        return self._host.quantize(vectors, centroid_ids, codec)

    def dequantize(
        self,
        centroid_ids: Uint32Array,
        codes: Uint8Array,
        sigmas: Float16Array,
        norms: Float16Array,
        codec: CodecArrays,
    ) -> Float32Array:
        return self._host.dequantize(centroid_ids, codes, sigmas, norms, codec)

    def accumulate_postings(
        self,
        store: Store,
        probes: Int64Array,
        probe_scores: Float32Array,
        frontier: Float32Array,
        query_offsets: Int64Array,
        limit: int,
        mask: Uint8Array | None = None,
    ) -> tuple[Lists, Float32Array]:
        if not isinstance(store, HostedStore):
            raise InputError(f"the store is a {type(store).__name__}; prepare it with this backend")
        return self._host.accumulate_postings(
            store.host, probes, np.ascontiguousarray(probe_scores), frontier, query_offsets, limit, mask
        )

    def inner_products(self, rows: Float32Array, columns: Float32Array) -> Float32Array:
        return self._host.inner_products(rows, columns)

    def maxsim(
        self, queries: Float32Array, query_offsets: Int64Array, vectors: Float32Array, doc_offsets: Int64Array
    ) -> Float32Array:
        return self._host.maxsim(queries, query_offsets, vectors, doc_offsets)

    def maxsim_argmax(
        self, queries: Float32Array, query_offsets: Int64Array, vectors: Float32Array, doc_offsets: Int64Array
    ) -> tuple[Float32Array, Winners]:
        return self._host.maxsim_argmax(queries, query_offsets, vectors, doc_offsets)

    def maxsim_backward(
        self,
        grad: Float32Array,
        queries: Float32Array,
        query_offsets: Int64Array,
        vectors: Float32Array,
        doc_offsets: Int64Array,
        argmax: Winners,
        for_queries: bool = True,
        for_vectors: bool = True,
    ) -> tuple[Float32Array | None, Float32Array | None]:
        return self._host.maxsim_backward(
            grad, queries, query_offsets, vectors, doc_offsets, argmax, for_queries, for_vectors
        )
