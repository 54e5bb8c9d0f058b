"""Postings of a store on a GPU, and what they gain documents. Imported by triton_probe.py and triton_store.py alone.

Prediction (no GPU was there), for 32 query tokens of 16 probes each and a million documents in 16,384 postings of
4,300, on an H100: setting 128 MB of largest gains to zero takes 40 us by its memory, and 2.2 M entries of postings meet
them at random, 32 bytes in and out for each: another 45.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from threading import Lock

import numpy as np
import torch

from jcb_engine.errors import CorruptIndexError
from jcb_engine.kernels import triton_posting_kernels
from jcb_engine.kernels.interface import SegmentArrays
from jcb_engine.kernels.placement import has_room_for_postings, warn_of_postings_on_host
from jcb_engine.kernels.triton_memory import CHUNK_ROWS, free_on_device
from jcb_engine.types import Int64Array

BEST_BYTES = 2**27  # of the largest gains, 4 for each document and query token: of more tokens, some at a time
STEP, WARPS = 512, 4  # documents of a program's turn
_TURNS = 8  # of a program in the longest posting, unless it would take more than _MOST_PARTS programs
_MOST_PARTS = 64


@dataclass(frozen=True, slots=True)
class DevicePostings:
    """documents [P] int32, numbered through the store; offsets [K + 1] int64. longest: of the postings."""

    documents: torch.Tensor
    offsets: torch.Tensor
    longest: int
    document_count: int

    def gained(
        self,
        centroids: torch.Tensor,
        gains: torch.Tensor,
        query_of_token: torch.Tensor,
        queries: int,
        allowed: torch.Tensor | None,
    ) -> torch.Tensor:
        """Sums [queries, documents] int32 of what documents gain: 0 where none of a query's probes holds one.

        centroids, gains [Q, probes]: int64 ids below K, and positive int32, of which a query's largest add up to less
        than 2^31. allowed: bitmap of documents, None for all.
        """
        tokens, probes = centroids.shape
        where = centroids.device
        at_once = max(1, min(tokens, BEST_BYTES // (4 * self.document_count)))
        sums = torch.zeros((queries, self.document_count), dtype=torch.int32, device=where)
        best = torch.empty((at_once, self.document_count), dtype=torch.int32, device=where)
        unread = torch.empty(16, dtype=torch.uint8, device=where)
        parts = min(_MOST_PARTS, max(1, -(-self.longest // (_TURNS * STEP))))
        for first in range(0, tokens, at_once):
            best.zero_()
            triton_posting_kernels.gain_by_postings[(min(at_once, tokens - first) * probes, parts)](
                self.documents, self.offsets, centroids, gains, query_of_token, unread if allowed is None else allowed,
                best, sums, first, probes, self.document_count, parts,
                step=STEP, is_masked=allowed is not None, num_warps=WARPS,
            )  # fmt: skip
        return sums


@dataclass(slots=True, eq=False)
class PostingsOnDemand:
    """Copied to the device when a search first needs them: who scans never does."""

    segments: Sequence[SegmentArrays]
    device: torch.device
    _lock: Lock = field(default_factory=Lock)
    _there: DevicePostings | None = None
    _have_no_room: bool = False

    def get(self) -> DevicePostings | None:
        """None where the device has no room for them, which a warning says once. CorruptIndexError as `copied`."""
        with self._lock:
            if self._there is None and not self._have_no_room:
                size = posting_bytes(self.segments)
                self._have_no_room = not has_room_for_postings(size, free_on_device(self.device))
                if self._have_no_room:
                    warn_of_postings_on_host(str(self.device), size)
                else:
                    self._there = copied(self.segments, self.device)
            return self._there


def posting_bytes(segments: Sequence[SegmentArrays]) -> int:
    """What postings take on a device."""
    offsets = max((len(segment.posting_offsets) for segment in segments), default=0)
    return 4 * sum(len(segment.posting_documents) for segment in segments) + 8 * offsets


def copied(segments: Sequence[SegmentArrays], device: torch.device) -> DevicePostings:
    """Postings of at least one segment on the device, each centroid's of all segments one after the other.

    CorruptIndexError where postings or their offsets point outside the arrays or do not ascend.
    """
    for segment in segments:
        _check_offsets(segment)
    lengths = np.stack([np.diff(segment.posting_offsets) for segment in segments])  # [segments, K]
    offsets = np.concatenate([[0], np.cumsum(lengths.sum(axis=0))]).astype(np.int64)
    begins = offsets[:-1] + np.cumsum(lengths, axis=0) - lengths  # where each segment's part begins
    documents = torch.empty(int(offsets[-1]), dtype=torch.int32, device=device)
    start = 0
    for segment, own in zip(segments, begins, strict=True):
        _copy(segment, start, own, documents)
        start += len(segment.doc_offsets) - 1
    longest = int(np.diff(offsets).max(initial=0))
    return DevicePostings(documents, torch.from_numpy(offsets).to(device), longest, start)


def _copy(segment: SegmentArrays, start: int, begins: Int64Array, target: torch.Tensor) -> None:
    """Check a segment's postings and copy them, a chunk at a time, to where `begins` [K] says."""
    offsets = segment.posting_offsets
    for first in range(int(offsets[0]), int(offsets[-1]), CHUNK_ROWS):
        places = np.arange(first, min(first + CHUNK_ROWS, int(offsets[-1])))
        centroids = np.searchsorted(offsets, places, side="right") - 1
        documents = segment.posting_documents[places[0] : places[-1] + 1].astype(np.int64)
        before = segment.posting_documents[np.maximum(places - 1, 0)].astype(np.int64)
        before[offsets[centroids] == places] = -1
        _check_documents(centroids, documents, before, len(segment.doc_offsets) - 1)
        moved = torch.from_numpy(places - offsets[centroids] + begins[centroids]).to(target.device)
        target[moved] = torch.from_numpy((documents + start).astype(np.int32)).to(target.device)


def _check_offsets(segment: SegmentArrays) -> None:
    offsets, count = segment.posting_offsets, len(segment.posting_documents)
    bad = (offsets[:-1] < 0) | (offsets[1:] < offsets[:-1]) | (offsets[1:] > count)
    if bad.any():
        centroid = int(bad.argmax())
        raise CorruptIndexError(
            f"centroid {centroid} owns postings {offsets[centroid]}:{offsets[centroid + 1]} of a segment that has "
            f"{count}: posting_offsets are damaged; run `jcb-index verify`"
        )


def _check_documents(centroids: Int64Array, documents: Int64Array, before: Int64Array, count: int) -> None:
    bad = (documents <= before) | (documents >= count)
    if bad.any():
        place = int(bad.argmax())
        raise CorruptIndexError(
            f"centroid {centroids[place]} has document {documents[place]} in its posting after {before[place]}, and "
            f"the segment has {count}: postings are damaged; run `jcb-index verify`"
        )
