"""The native CPU backend: checks what it is given, makes the arrays for results, and calls the kernels of csrc/.

Importing this module raises BackendUnavailableError where the extension was not built.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from jcb_engine.errors import InputError
from jcb_engine.kernels.checks import (
    check_array,
    check_candidates,
    check_centroid_lists,
    check_count,
    check_mask,
    check_offsets,
    check_precision,
    check_probes,
)
from jcb_engine.kernels.cpu_store import CpuStore, coding_codec, own_store, own_table, prepare_store
from jcb_engine.kernels.extension import _cpu
from jcb_engine.kernels.interface import (
    RAW_BITS,
    Candidates,
    CentroidLists,
    CentroidTable,
    CodecArrays,
    Lists,
    Precision,
    SegmentArrays,
    Store,
    Winners,
    no_winners,
)
from jcb_engine.types import Float16Array, Float32Array, Int64Array, Uint8Array, Uint32Array


class CpuBackend:
    """Kernels in C++ for one instruction set, on threads of their own. Safe to use from several threads."""

    def __init__(self, isa: str | None = None, threads: int | None = None) -> None:
        """Choose instructions and threads.

        isa: "scalar", "avx2", "avx512", "amx" or "neon"; None reads JCB_SIMD, then takes the best the processor has.
        threads: 1 to 1024; None reads JCB_THREADS, then takes the number of usable processors.
        Raises InputError on values out of these, BackendUnavailableError when the processor lacks the set.
        """
        if threads is not None and threads < 1:
            raise InputError(f"threads is {threads}; allowed is a number from 1 to 1024")
        self._machine = _cpu.Machine(isa or "", threads or 0)

    @property
    def name(self) -> str:
        return f"cpu/{self._machine.instruction_set}"

    @property
    def threads(self) -> int:
        """Threads that a call may use, the calling one included."""
        return self._machine.threads

    # -- building --------------------------------------------------------------------------------------------------
    def nearest_centroids(
        self, vectors: Float32Array, centroids: Float32Array, count: int
    ) -> tuple[Int64Array, Float32Array]:
        check_array("centroids", centroids, np.float32, (None, None))
        check_array("vectors", vectors, np.float32, (None, centroids.shape[1]))
        check_count(count, len(centroids))
        ids = np.empty((len(vectors), count), dtype=np.int64)
        scores = np.empty((len(vectors), count), dtype=np.float32)
        _cpu.nearest_centroids(self._machine, vectors, centroids, count, ids, scores)
        return ids, scores

    def nearest_in_lists(self, vectors: Float32Array, lists: CentroidLists, probes: Int64Array) -> Uint32Array:
        check_centroid_lists(lists)
        check_array("vectors", vectors, np.float32, (None, lists.centroids.shape[1]))
        check_probes(probes, len(vectors), len(lists.offsets) - 1)
        ids = np.empty(len(vectors), dtype=np.uint32)
        _cpu.nearest_in_lists(self._machine, vectors, lists.centroids, lists.ids, lists.offsets, probes, ids)
        return ids

    def quantize(
        self, vectors: Float32Array, centroid_ids: Uint32Array, codec: CodecArrays
    ) -> tuple[Uint8Array, Float16Array, Float16Array]:
        check_array("vectors", vectors, np.float32, (None, codec.dim))
        check_array("centroid_ids", centroid_ids, np.uint32, (len(vectors),))
        codes = np.empty((len(vectors), codec.code_bytes), dtype=np.uint8)
        sigmas = np.empty(len(vectors), dtype=np.float16)
        norms = np.empty(len(vectors), dtype=np.float16)
        halves = sigmas.view(np.uint16), norms.view(np.uint16)
        _cpu.quantize(self._machine, coding_codec(codec), vectors, centroid_ids, codes, *halves)
        return codes, sigmas, norms

    def dequantize(
        self,
        centroid_ids: Uint32Array,
        codes: Uint8Array,
        sigmas: Float16Array,
        norms: Float16Array,
        codec: CodecArrays,
    ) -> Float32Array:
        tokens = len(codes)
        check_array("codes", codes, np.uint8, (None, codec.code_bytes))
        check_array("centroid_ids", centroid_ids, np.uint32, (tokens,))
        check_array("sigmas", sigmas, np.float16, (tokens,))
        check_array("norms", norms, np.float16, (tokens,))
        vectors = np.empty((tokens, codec.dim), dtype=np.float32)
        halves = sigmas.view(np.uint16), norms.view(np.uint16)
        _cpu.dequantize(self._machine, coding_codec(codec), centroid_ids, codes, *halves, vectors)
        return vectors

    # -- searching ----------------------------------------------------------------------------------------------------
    def prepare(self, codec: CodecArrays, segments: Sequence[SegmentArrays]) -> CpuStore:
        return prepare_store(codec, segments)

    def centroid_scores(self, store: Store, queries: Float32Array, precision: Precision = "exact") -> _cpu.Table:
        own = own_store(store)
        check_precision(precision)
        check_array("queries", queries, np.float32, (None, own.codec.dim))
        return _cpu.centroid_scores(self._machine, own.native, queries, precision == "exact")

    def best_centroids(self, store: Store, table: CentroidTable, count: int) -> tuple[Int64Array, Float32Array]:
        native_table = own_table(own_store(store), table)
        check_count(count, native_table.centroid_count)
        ids = np.empty((native_table.query_tokens, count), dtype=np.int64)
        scores = np.empty((native_table.query_tokens, count), dtype=np.float32)
        _cpu.best_centroids(self._machine, native_table, ids, scores)
        return ids, scores

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
        own = own_store(store)
        check_array("probes", probes, np.int64, (None, None))
        check_array("probe_scores", probe_scores, np.float32, probes.shape)
        check_array("frontier", frontier, np.float32, (len(probes),))
        check_offsets("query_offsets", query_offsets, len(probes))
        if limit < 0:
            raise InputError(f"limit is {limit}; it must not be negative")
        check_mask(mask, own.documents)
        documents, list_offsets, scores = _cpu.accumulate_postings(
            self._machine, own.native, probes, probe_scores, frontier, query_offsets, limit, mask
        )
        return Lists(documents, list_offsets), scores

    def maxsim_centroids(
        self, store: Store, table: CentroidTable, query_offsets: Int64Array, candidates: Candidates
    ) -> Float32Array:
        own = own_store(store)
        if own.codec.nbits == RAW_BITS:
            raise InputError("maxsim_centroids needs centroid ids, which a raw codec does not store")
        native_table = own_table(own, table)
        check_offsets("query_offsets", query_offsets, native_table.query_tokens)
        check_candidates(candidates, len(query_offsets) - 1, own.documents)
        scores = _empty_scores(candidates, len(query_offsets) - 1)
        _cpu.maxsim_centroids(
            self._machine, own.native, native_table, query_offsets, _native_candidates(candidates), scores.reshape(-1)
        )
        return scores

    def maxsim_quantized(
        self,
        store: Store,
        queries: Float32Array,
        query_offsets: Int64Array,
        candidates: Candidates,
        precision: Precision = "fast",
        table: CentroidTable | None = None,
    ) -> Float32Array:
        own = own_store(store)
        check_precision(precision)
        check_array("queries", queries, np.float32, (None, own.codec.dim))
        check_offsets("query_offsets", query_offsets, len(queries))
        check_candidates(candidates, len(query_offsets) - 1, own.documents)
        scores = _empty_scores(candidates, len(query_offsets) - 1)
        inputs = (self._machine, own.native, queries, query_offsets, _native_candidates(candidates))
        if own.codec.nbits == RAW_BITS:
            _cpu.maxsim_raw(*inputs, scores.reshape(-1))
        else:
            native_table = None if table is None else own_table(own, table)
            if native_table is None and precision == "fast":
                native_table = self.centroid_scores(own, queries)
            _cpu.maxsim_quantized(*inputs, precision == "exact", native_table, scores.reshape(-1))
        return scores

    def score_error_bound(self, store: Store, queries: Float32Array, query_offsets: Int64Array) -> Float32Array:
        own = own_store(store)
        check_array("queries", queries, np.float32, (None, own.codec.dim))
        check_offsets("query_offsets", query_offsets, len(queries))
        bounds = np.zeros(len(query_offsets) - 1, dtype=np.float32)
        if own.codec.nbits != RAW_BITS:
            _cpu.score_error_bound(self._machine, own.native, queries, query_offsets, bounds)
        return bounds

    # -- plain vectors ------------------------------------------------------------------------------------------------
    def inner_products(self, rows: Float32Array, columns: Float32Array) -> Float32Array:
        check_array("rows", rows, np.float32, (None, None))
        check_array("columns", columns, np.float32, (None, rows.shape[1]))
        products = np.empty((len(rows), len(columns)), dtype=np.float32)
        _cpu.inner_products(self._machine, rows, columns, products)
        return products

    def maxsim(
        self, queries: Float32Array, query_offsets: Int64Array, vectors: Float32Array, doc_offsets: Int64Array
    ) -> Float32Array:
        _check_plain(queries, query_offsets, vectors, doc_offsets)
        scores = np.empty((len(query_offsets) - 1, len(doc_offsets) - 1), dtype=np.float32)
        _cpu.maxsim_vectors(self._machine, queries, query_offsets, vectors, doc_offsets, scores, None)
        return scores

    def maxsim_argmax(
        self, queries: Float32Array, query_offsets: Int64Array, vectors: Float32Array, doc_offsets: Int64Array
    ) -> tuple[Float32Array, Winners]:
        _check_plain(queries, query_offsets, vectors, doc_offsets)
        scores = np.empty((len(query_offsets) - 1, len(doc_offsets) - 1), dtype=np.float32)
        argmax = no_winners(len(doc_offsets) - 1, len(queries), len(vectors))
        _cpu.maxsim_vectors(self._machine, queries, query_offsets, vectors, doc_offsets, scores, argmax)
        return scores, argmax

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
        _check_plain(queries, query_offsets, vectors, doc_offsets)
        check_array("grad", grad, np.float32, (len(query_offsets) - 1, len(doc_offsets) - 1))
        given = np.int32 if argmax.dtype == np.int32 else np.int64
        check_array("argmax", argmax, given, (len(doc_offsets) - 1, len(queries)))
        grad_queries = np.empty_like(queries) if for_queries else None
        grad_vectors = np.empty_like(vectors) if for_vectors else None
        _cpu.maxsim_vectors_backward(
            self._machine, grad, queries, query_offsets, vectors, doc_offsets, argmax, grad_queries, grad_vectors
        )
        return grad_queries, grad_vectors


def _native_candidates(candidates: Candidates) -> _cpu.Candidates:
    if isinstance(candidates, Lists):
        return _cpu.Candidates.lists(candidates.documents, candidates.list_offsets)
    return _cpu.Candidates.ranges(candidates.starts, candidates.ends)


def _empty_scores(candidates: Candidates, queries: int) -> Float32Array:
    if isinstance(candidates, Lists):
        return np.empty(len(candidates.documents), dtype=np.float32)
    return np.empty((queries, int((candidates.ends - candidates.starts).sum())), dtype=np.float32)


def _check_plain(
    queries: Float32Array, query_offsets: Int64Array, vectors: Float32Array, doc_offsets: Int64Array
) -> None:
    check_array("queries", queries, np.float32, (None, None))
    check_array("vectors", vectors, np.float32, (None, queries.shape[1]))
    check_offsets("query_offsets", query_offsets, len(queries))
    check_offsets("doc_offsets", doc_offsets, len(vectors))
