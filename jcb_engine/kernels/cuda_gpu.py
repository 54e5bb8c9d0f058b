"""The CUDA backend: MaxSim and whole searches on one GPU by the kernels of csrc/cuda.

Where candidates are found in another way than by all centroids, these are scored on the processor: MaxSim itself needs
no table.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from threading import Event, Lock
from weakref import WeakSet

import numpy as np

from jcb_engine.errors import InputError
from jcb_engine.kernels.checks import (
    check_array,
    check_candidates,
    check_codec,
    check_mask,
    check_offsets,
    check_precision,
    check_segment,
)
from jcb_engine.kernels.cuda_library import LIBRARY, CudaLibrary, DeviceQueries, DeviceStore
from jcb_engine.kernels.host_operations import HostedStore, HostOperations
from jcb_engine.kernels.interface import (
    Backend,
    Candidates,
    CentroidTable,
    CodecArrays,
    Lists,
    Precision,
    Probing,
    SegmentArrays,
    Store,
    smallest_query,
)
from jcb_engine.kernels.placement import warn_of_codes_on_host
from jcb_engine.types import Float32Array, Int64Array, Uint8Array, Uint32Array

# Up to so many tokens everything is scanned. Predicted, not measured (python -m benchmarks.gpu.model): 75 Gtoken/s are
# .9 ms. A search among candidates may take a tenth of that here, but misses some hits, and encoding a query and
# fetching its hits take milliseconds.
SCANNED_TOKENS = 64_000_000


@dataclass(frozen=True, slots=True, eq=False)
class CudaStore(HostedStore):
    """A copy on the GPU, and the same store as the host's kernels have it. tables: of its calls, those alive."""

    codec: CodecArrays
    segments: Sequence[SegmentArrays]
    host: Store
    device: DeviceStore
    tables: WeakSet[CudaTable] = field(default_factory=WeakSet)
    lock: Lock = field(default_factory=Lock)
    has_postings: Event = field(default_factory=Event)

    def give_postings(self) -> None:
        """Copy them to the GPU where they are not there yet: who scans never needs them."""
        with self.lock:
            if not self.has_postings.is_set():
                self.device.give_postings(self.codec, self.segments)
                self.has_postings.set()

    @property
    def lies_on_host(self) -> bool:
        """Whether its codes lie in host memory: the GPU had no room for them."""
        return self.device.bytes_on_host > 0

    def remember(self, table: CudaTable) -> None:
        with self.lock:
            self.tables.add(table)

    def remembered(self) -> list[CudaTable]:
        with self.lock:
            return list(self.tables)


@dataclass(eq=False)
class CudaTable:
    """Queries of one call: prepared for the GPU, and scored against centroids by the host, each when asked for."""

    store: CudaStore
    backend: Backend
    queries: Float32Array
    precision: Precision
    _prepared: list[tuple[Int64Array, DeviceQueries]] = field(default_factory=list)

    @cached_property
    def on_host(self) -> CentroidTable:
        return self.backend.centroid_scores(self.store.host, self.queries, self.precision)

    @property
    def is_exact(self) -> bool:
        return self.precision == "exact"

    def is_of(self, queries: Float32Array) -> bool:
        return np.array_equal(self.queries, queries)

    def to_array(self) -> Float32Array:
        return self.on_host.to_array()

    def prepared(self, query_offsets: Int64Array) -> DeviceQueries:
        for known, queries in self._prepared:
            if np.array_equal(known, query_offsets):
                return queries
        made = self.store.device.prepare(self.queries, query_offsets)
        self._prepared.append((query_offsets.copy(), made))
        return made


class CudaBackend(HostOperations):
    """Scores on a GPU with the kernels that nvcc compiled; the rest is the host's work."""

    def __init__(self, host: Backend, device: int = 0, library: Path = LIBRARY) -> None:
        """Choose the GPU. BackendUnavailableError where it, its driver or the library is missing."""
        super().__init__(host)
        self._library = CudaLibrary(library)
        self._device = device
        self._name = self._library.device_name(device)

    @property
    def name(self) -> str:
        return f"cuda/{self._name}"

    @property
    def gpu(self) -> int:
        return self._device

    def prepare(
        self, codec: CodecArrays, segments: Sequence[SegmentArrays], most_on_device: int | None = None
    ) -> CudaStore:
        """most_on_device: bytes of codes that may lie on the GPU; None for what is free there, 0 for host memory."""
        check_codec(codec)
        for segment in segments:
            check_segment(codec, segment)
        device = self._library.new_store(self._device, codec, segments, most_on_device, self.threads)
        store = CudaStore(codec, segments, self._host.prepare(codec, segments), device)
        if store.lies_on_host:
            warn_of_codes_on_host(self.name, device.bytes_on_host, store.documents)
        return store

    def centroid_scores(self, store: Store, queries: Float32Array, precision: Precision = "exact") -> CudaTable:
        own = _own_store(store)
        check_precision(precision)
        check_array("queries", queries, np.float32, (None, own.codec.dim))
        if not np.isfinite(queries).all():
            raise InputError("a query has NaN or infinity")
        table = CudaTable(own, self._host, queries.copy(), precision)
        own.remember(table)
        return table

    def best_centroids(self, store: Store, table: CentroidTable, count: int) -> tuple[Int64Array, Float32Array]:
        return self._host.best_centroids(_own_store(store).host, _own_table(store, table).on_host, count)

    def maxsim_centroids(
        self, store: Store, table: CentroidTable, query_offsets: Int64Array, candidates: Candidates
    ) -> Float32Array:
        on_host = _own_table(store, table).on_host
        return self._host.maxsim_centroids(_own_store(store).host, on_host, query_offsets, candidates)

    def maxsim_quantized(
        self,
        store: Store,
        queries: Float32Array,
        query_offsets: Int64Array,
        candidates: Candidates,
        precision: Precision = "fast",
        table: CentroidTable | None = None,
    ) -> Float32Array:
        own = _own_store(store)
        check_precision(precision)
        check_array("queries", queries, np.float32, (None, own.codec.dim))
        check_offsets("query_offsets", query_offsets, len(queries))
        check_candidates(candidates, len(query_offsets) - 1, own.documents)
        prepared = self._table(own, queries, table).prepared(query_offsets)
        exact = precision == "exact"
        if isinstance(candidates, Lists):
            scores = np.empty(len(candidates.documents), dtype=np.float32)
            prepared.score_lists(candidates.documents, candidates.list_offsets, exact, scores)
            return scores
        documents = int((candidates.ends - candidates.starts).sum())
        scores = np.empty((len(query_offsets) - 1, documents), dtype=np.float32)
        prepared.score_ranges(candidates.starts, candidates.ends, exact, scores)
        return scores

    def score_error_bound(self, store: Store, queries: Float32Array, query_offsets: Int64Array) -> Float32Array:
        own = _own_store(store)
        check_array("queries", queries, np.float32, (None, own.codec.dim))
        check_offsets("query_offsets", query_offsets, len(queries))
        return self._table(own, queries, None).prepared(query_offsets).error_bounds()

    def scan_is_cheap(self, store: Store) -> bool:
        return store.tokens <= SCANNED_TOKENS and not _own_store(store).lies_on_host  # the bus is slower by far

    def best_of_all(
        self,
        store: Store,
        queries: Float32Array,
        query_offsets: Int64Array,
        k: int,
        mask: Uint8Array | None = None,
    ) -> list[tuple[Uint32Array, Float32Array]] | None:
        own = _own_store(store)
        check_array("queries", queries, np.float32, (None, own.codec.dim))
        check_offsets("query_offsets", query_offsets, len(queries))
        check_mask(mask, own.documents)
        return own.device.search(queries, query_offsets, k, mask)

    def best_among_probed(
        self,
        store: Store,
        queries: Float32Array,
        query_offsets: Int64Array,
        k: int,
        probing: Probing,
        mask: Uint8Array | None = None,
    ) -> list[tuple[Uint32Array, Float32Array]] | None:
        own = _own_store(store)
        check_array("queries", queries, np.float32, (None, own.codec.dim))
        check_offsets("query_offsets", query_offsets, len(queries))
        check_mask(mask, own.documents)
        own.give_postings()
        return own.device.probe(queries, query_offsets, k, probing, mask)

    def warm(self, store: Store) -> None:
        own = _own_store(store)
        queries, offsets = smallest_query(own.codec.dim)
        if self.scan_is_cheap(own):
            self.best_of_all(own, queries, offsets, 1)
        else:
            self.best_among_probed(own, queries, offsets, 1, Probing(probes=1, pool=1, documents=1))

    def _table(self, store: CudaStore, queries: Float32Array, table: CentroidTable | None) -> CudaTable:
        if table is None:
            known = [made for made in store.remembered() if made.is_of(queries)]
            return known[0] if known else self.centroid_scores(store, queries)
        own = _own_table(store, table)
        if not own.is_of(queries):
            raise InputError("the table was made for other queries")
        return own


def _own_store(store: Store) -> CudaStore:
    if not isinstance(store, CudaStore):
        raise InputError(f"the store is a {type(store).__name__}; prepare it with this backend")
    return store


def _own_table(store: Store, table: CentroidTable) -> CudaTable:
    if not isinstance(table, CudaTable) or table.store is not store:
        raise InputError("the table is not one of this store; make it with centroid_scores of this backend")
    return table
