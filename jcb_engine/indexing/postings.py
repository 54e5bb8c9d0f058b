"""Postings: for every centroid the documents that have one of its tokens."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from jcb_engine.types import AnyArray, Int64Array, Uint32Array

_CHUNK_TOKENS = 1_000_000


def count_postings(centroid_ids: AnyArray, doc_offsets: Int64Array, centroids: int) -> Int64Array:
    """Offsets of the lists: [K + 1] int64."""
    counts = np.zeros(centroids, dtype=np.int64)
    for chunk_centroids, _ in _pairs(centroid_ids, doc_offsets):
        counts += np.bincount(chunk_centroids, minlength=centroids)
    return np.concatenate([[0], np.cumsum(counts)])


def fill_postings(
    centroid_ids: AnyArray, doc_offsets: Int64Array, posting_offsets: Int64Array, out: Uint32Array
) -> None:
    """Write the documents of every list, ascending and unique, into `out` [P] (usually a map of a file).

    A counting sort in chunks of documents: memory does not grow with the corpus.
    """
    cursors = posting_offsets[:-1].copy()
    for centroids, documents in _pairs(centroid_ids, doc_offsets):
        # Pairs come sorted by centroid, then document: the place of each inside its list is its place in its run.
        starts = np.flatnonzero(np.concatenate([centroids[:1] >= 0, centroids[1:] != centroids[:-1]]))
        lengths = np.diff(np.append(starts, len(centroids)))
        place_in_run = np.arange(len(centroids)) - np.repeat(starts, lengths)
        out[cursors[centroids] + place_in_run] = documents
        cursors[centroids[starts]] += lengths


def _pairs(centroid_ids: AnyArray, doc_offsets: Int64Array) -> Iterator[tuple[Int64Array, Uint32Array]]:
    """Unique (centroid, document) pairs of a chunk of documents, sorted by centroid, then document."""
    first, documents = 0, len(doc_offsets) - 1
    while first < documents:
        last = int(np.searchsorted(doc_offsets, doc_offsets[first] + _CHUNK_TOKENS, side="right")) - 1
        last = min(max(last, first + 1), documents)
        tokens = np.asarray(centroid_ids[doc_offsets[first] : doc_offsets[last]]).astype(np.uint64)
        owners = np.repeat(np.arange(first, last, dtype=np.uint64), np.diff(doc_offsets[first : last + 1]))
        pairs = (tokens << np.uint64(32)) | owners
        pairs.sort()  # numpy's unique hashes instead, ten times as slow here
        pairs = pairs[np.concatenate([[True], pairs[1:] != pairs[:-1]])] if len(pairs) else pairs
        yield (pairs >> np.uint64(32)).astype(np.int64), (pairs & np.uint64(0xFFFFFFFF)).astype(np.uint32)
        first = last
