"""Several GPUs as one backend: each holds a run of documents, all work at the same time, results are put together.

Documents are parted by their tokens, not by segments: an index is often one segment. Nothing here knows which kernels
the GPUs have.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from jcb_engine.errors import CorruptIndexError, InputError
from jcb_engine.kernels.checks import check_candidates, check_codec, check_mask, check_segment
from jcb_engine.kernels.host_operations import HostedStore, HostOperations
from jcb_engine.kernels.interface import (
    Backend,
    Candidates,
    CentroidTable,
    CodecArrays,
    Lists,
    Precision,
    Ranges,
    ScanningBackend,
    SegmentArrays,
    Store,
    WarmedBackend,
)
from jcb_engine.types import Float32Array, Int64Array, Uint8Array, Uint32Array

_Result = TypeVar("_Result")
_MASK_BITS = 8  # parts begin at multiples of it: a mask is then parted by bytes


@dataclass(frozen=True, slots=True)
class PartedStore(HostedStore):
    """The same documents on the host, for postings, and in parts: part i has starts[i] .. starts[i + 1] - 1."""

    host: Store
    parts: tuple[Store, ...]
    starts: Int64Array


@dataclass(frozen=True, slots=True)
class PartedTable:
    """The tables of the parts: of the same queries and centroids, and so of the same scores."""

    store: PartedStore
    parts: tuple[CentroidTable, ...]

    @property
    def is_exact(self) -> bool:
        return all(part.is_exact for part in self.parts)

    def to_array(self) -> Float32Array:
        return self.parts[0].to_array()


class SeveralGpus(HostOperations):
    """Backends of the same kind, one for each GPU."""

    def __init__(self, host: Backend, parts: Sequence[Backend]) -> None:
        """host: for what is not done on a GPU. parts: at least one; InputError otherwise."""
        super().__init__(host)
        if not parts:
            raise InputError("no GPU was named; name at least one, such as cuda:0")
        self._parts = tuple(parts)
        self._pool = ThreadPoolExecutor(len(self._parts), thread_name_prefix="gpu")

    @property
    def name(self) -> str:
        names = [part.name for part in self._parts]
        if len(set(names)) == 1:
            return names[0] if len(names) == 1 else f"{names[0]} x {len(names)}"
        return " + ".join(names)

    def prepare(self, codec: CodecArrays, segments: Sequence[SegmentArrays]) -> PartedStore:
        check_codec(codec)
        for segment in segments:
            check_segment(codec, segment)
        starts = _parted(segments, len(self._parts))
        cut = [_documents_of(segments, first, last) for first, last in itertools.pairwise(starts.tolist())]
        parts = self._each(lambda number: self._parts[number].prepare(codec, cut[number]))
        return PartedStore(self._host.prepare(codec, segments), tuple(parts), starts)

    def warm(self, store: Store) -> None:
        own = _own_store(store)

        def warm(number: int) -> None:
            part = self._parts[number]
            if isinstance(part, WarmedBackend):
                part.warm(own.parts[number])

        self._each(warm)

    def centroid_scores(self, store: Store, queries: Float32Array, precision: Precision = "exact") -> PartedTable:
        own = _own_store(store)
        parts = self._each(lambda number: self._parts[number].centroid_scores(own.parts[number], queries, precision))
        return PartedTable(own, tuple(parts))

    def best_centroids(self, store: Store, table: CentroidTable, count: int) -> tuple[Int64Array, Float32Array]:
        own = _own_store(store)
        return self._parts[0].best_centroids(own.parts[0], _own_table(own, table).parts[0], count)

    def maxsim_centroids(
        self, store: Store, table: CentroidTable, query_offsets: Int64Array, candidates: Candidates
    ) -> Float32Array:
        own = _own_store(store)
        tables = _own_table(own, table).parts

        def score(number: int, part: Candidates) -> Float32Array:
            return self._parts[number].maxsim_centroids(own.parts[number], tables[number], query_offsets, part)

        return self._scored(own, query_offsets, candidates, score)

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
        tables = [None] * len(self._parts) if table is None else _own_table(own, table).parts

        def score(number: int, part: Candidates) -> Float32Array:
            return self._parts[number].maxsim_quantized(
                own.parts[number], queries, query_offsets, part, precision, tables[number]
            )

        return self._scored(own, query_offsets, candidates, score)

    def score_error_bound(self, store: Store, queries: Float32Array, query_offsets: Int64Array) -> Float32Array:
        own = _own_store(store)
        bounds = [
            backend.score_error_bound(part, queries, query_offsets)
            for backend, part in zip(self._parts, own.parts, strict=True)
        ]
        return np.asarray(np.max(bounds, axis=0), dtype=np.float32)

    def scan_is_cheap(self, store: Store) -> bool:
        """Where it does on every GPU: they work at the same time."""
        own = _own_store(store)
        return all(
            isinstance(backend, ScanningBackend) and backend.scan_is_cheap(part)
            for backend, part in zip(self._parts, own.parts, strict=True)
        )

    def best_of_all(
        self,
        store: Store,
        queries: Float32Array,
        query_offsets: Int64Array,
        k: int,
        mask: Uint8Array | None = None,
    ) -> list[tuple[Uint32Array, Float32Array]] | None:
        """The best k of all documents are among the best k of each part."""
        own = _own_store(store)
        check_mask(mask, own.documents)

        def search(number: int) -> list[tuple[Uint32Array, Float32Array]] | None:
            backend, first, last = self._parts[number], own.starts[number], own.starts[number + 1]
            if not isinstance(backend, ScanningBackend):
                return None
            bits = None if mask is None else mask[first // _MASK_BITS : -(-last // _MASK_BITS)]
            return backend.best_of_all(own.parts[number], queries, query_offsets, k, bits)

        found = self._each(search)
        answers = []
        for query in range(len(query_offsets) - 1):
            documents, scores = [np.zeros(0, np.uint32)], [np.zeros(0, np.float32)]
            for part, first in zip(found, own.starts, strict=False):
                if part is None:
                    return None
                documents.append(part[query][0] + np.uint32(first))
                scores.append(part[query][1])
            answers.append((np.concatenate(documents), np.concatenate(scores)))
        return answers

    def _each(self, work: Callable[[int], _Result]) -> list[_Result]:
        """work(number of a part), on all GPUs at the same time."""
        return list(self._pool.map(work, range(len(self._parts))))

    def _scored(
        self,
        store: PartedStore,
        query_offsets: Int64Array,
        candidates: Candidates,
        score: Callable[[int, Candidates], Float32Array],
    ) -> Float32Array:
        """Scores in the order of the candidates, out of those that each part has of its own."""
        queries = len(query_offsets) - 1
        check_candidates(candidates, queries, store.documents)
        places, cut = _cut(store, candidates)
        shape = (queries, len(places)) if isinstance(candidates, Ranges) else len(places)
        scores = np.empty(shape, dtype=np.float32)
        for number, own in enumerate(self._each(lambda number: score(number, cut[number]))):
            scores[..., places == number] = own
        return scores


def _parted(segments: Sequence[SegmentArrays], parts: int) -> Int64Array:
    """First documents [parts + 1] of parts with about as many tokens each, multiples of 8."""
    ends = np.concatenate([np.zeros(0, np.int64), *(np.diff(segment.doc_offsets) for segment in segments)]).cumsum()
    tokens = int(ends[-1]) if len(ends) else 0
    borders = np.searchsorted(ends, tokens * np.arange(1, parts) / parts)
    borders = np.minimum(-(-borders // _MASK_BITS) * _MASK_BITS, len(ends))
    return np.concatenate([[0], borders, [len(ends)]]).astype(np.int64)


def _documents_of(segments: Sequence[SegmentArrays], first: int, last: int) -> list[SegmentArrays]:
    """Views of the documents first .. last - 1, numbered through the segments; without postings, which the host has."""
    found, start = [], 0
    for segment in segments:
        count = len(segment.doc_offsets) - 1
        begin, end = max(first - start, 0), min(last - start, count)
        start += count
        if begin >= end:
            continue
        offsets = segment.doc_offsets[begin : end + 1]
        tokens = slice(int(offsets[0]), int(offsets[-1]))
        if not 0 <= tokens.start <= tokens.stop <= len(segment.codes):
            raise CorruptIndexError(f"documents own tokens {tokens.start}:{tokens.stop} of {len(segment.codes)}")
        found.append(
            replace(
                segment,
                doc_offsets=offsets - offsets[0],
                codes=segment.codes[tokens],
                centroid_ids=segment.centroid_ids[tokens],
                sigmas=segment.sigmas[tokens],
                norms=segment.norms[tokens],
                posting_offsets=np.zeros_like(segment.posting_offsets),
                posting_documents=segment.posting_documents[:0],
            )
        )
    return found


def _cut(store: PartedStore, candidates: Candidates) -> tuple[Int64Array, Sequence[Candidates]]:
    """Which part each candidate is in, and each part's candidates in the numbers of its own documents."""
    bounds = list(itertools.pairwise(store.starts.tolist()))
    if isinstance(candidates, Ranges):
        ranges = []
        for first, last in bounds:
            starts, ends = (np.clip(edges, first, last) - first for edges in (candidates.starts, candidates.ends))
            ranges.append(Ranges(starts, ends))
        # Of one range after the other, how many documents are in each part: parts follow each other as documents do.
        counts = np.stack([part.ends - part.starts for part in ranges], axis=1)
        return np.repeat(np.tile(np.arange(len(bounds)), len(counts)), counts.ravel()), ranges
    if len(candidates.documents) and int(candidates.documents.max()) >= store.documents:
        raise CorruptIndexError(
            f"document {int(candidates.documents.max())} is not in the store, which has {store.documents}"
        )
    places = store.starts.searchsorted(candidates.documents.astype(np.int64), side="right") - 1
    lists = []
    for number, (first, _) in enumerate(bounds):
        own = places == number
        before = np.concatenate([[0], np.cumsum(own)])
        lists.append(Lists(candidates.documents[own] - np.uint32(first), before[candidates.list_offsets]))
    return places, lists


def _own_store(store: Store) -> PartedStore:
    if not isinstance(store, PartedStore):
        raise InputError(f"the store is a {type(store).__name__}; prepare it with this backend")
    return store


def _own_table(store: PartedStore, table: CentroidTable) -> PartedTable:
    if not isinstance(table, PartedTable) or table.store is not store:
        raise InputError("the table is not one of this store; make it with centroid_scores of this backend")
    return table
