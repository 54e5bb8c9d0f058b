"""Arrays that no writer of ours made: ids and offsets that point outside give CorruptIndexError, never a crash."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from jcb_engine.errors import CorruptIndexError
from jcb_engine.kernels import Lists, Ranges, SegmentArrays
from jcb_engine.kernels.cpu import CpuBackend
from tests.kernels.cpu_backends import every_backend
from tests.kernels.stores import random_store

DIM, DOCUMENTS = 32, 20
QUERIES = np.random.default_rng(0).standard_normal((9, DIM)).astype(np.float32)
QUERY_OFFSETS = np.array([0, 9], np.int64)
EVERYTHING = Ranges(np.array([0]), np.array([DOCUMENTS]))


cached_store = cache(random_store)


def damaged(nbits: int, wide_ids: bool = False, **changes: object) -> tuple[object, SegmentArrays]:
    codec, segments, _, _ = cached_store(dim=DIM, nbits=nbits, segment_documents=(DOCUMENTS,), wide_ids=wide_ids)
    fields = {name: getattr(segments[0], name) for name in SegmentArrays.__slots__}
    for name, change in changes.items():
        fields[name] = change(fields[name].copy()) if callable(change) else change
    return codec, SegmentArrays(**fields)


def with_value(place: int, value: int):  # type: ignore[no-untyped-def]
    def change(array: np.ndarray) -> np.ndarray:
        array[place] = value
        return array

    return change


@every_backend
@pytest.mark.parametrize("nbits", [1, 2, 4, 8, 16])
@pytest.mark.parametrize(
    ("place", "value"), [(5, -1), (5, 2**40), (5, -(2**63)), (5, 2**63 - 1), (DOCUMENTS, 2**31), (0, 5000)]
)
def test_token_offsets_outside_the_segment_are_found(backend: CpuBackend, nbits: int, place: int, value: int) -> None:
    codec, segment = damaged(nbits, doc_offsets=with_value(place, value))
    store = backend.prepare(codec, [segment])
    for precision in ("fast", "exact"):
        for tokens in (9, 0):
            query_offsets = np.array([0, tokens], np.int64)
            with pytest.raises(CorruptIndexError, match="doc_offsets are damaged"):
                backend.maxsim_quantized(store, QUERIES[:tokens], query_offsets, EVERYTHING, precision)


@every_backend
@pytest.mark.parametrize("wide_ids", [False, True])
def test_centroid_ids_beyond_the_codec_are_found(backend: CpuBackend, wide_ids: bool) -> None:
    for value in (16, 65535) if not wide_ids else (16, 2**31, 2**32 - 1):
        codec, segment = damaged(2, wide_ids, centroid_ids=with_value(40, value))
        store = backend.prepare(codec, [segment])
        table = backend.centroid_scores(store, QUERIES)
        for precision in ("fast", "exact"):
            with pytest.raises(CorruptIndexError, match="centroid_ids are damaged"):
                backend.maxsim_quantized(store, QUERIES, QUERY_OFFSETS, EVERYTHING, precision)
        with pytest.raises(
            CorruptIndexError, match=f"a token names centroid {value} of a codec that has 16: centroid_ids are damaged"
        ):
            backend.maxsim_centroids(store, table, QUERY_OFFSETS, EVERYTHING)


@every_backend
def test_offsets_are_checked_for_centroid_scores_too(backend: CpuBackend) -> None:
    codec, segment = damaged(2, doc_offsets=with_value(4, 2**50))
    store = backend.prepare(codec, [segment])
    with pytest.raises(CorruptIndexError, match="doc_offsets are damaged"):
        backend.maxsim_centroids(store, backend.centroid_scores(store, QUERIES), QUERY_OFFSETS, EVERYTHING)


@every_backend
@pytest.mark.parametrize("document", [DOCUMENTS, 2**31, 2**32 - 1])
def test_documents_beyond_the_store_are_found(backend: CpuBackend, document: int) -> None:
    codec, segment = damaged(2)
    store = backend.prepare(codec, [segment])
    lists = Lists(np.array([1, document], np.uint32), np.array([0, 2], np.int64))
    with pytest.raises(CorruptIndexError, match=f"document {document} was asked for; the store has 20"):
        backend.maxsim_quantized(store, QUERIES, QUERY_OFFSETS, lists)


@every_backend
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_scalars_that_are_not_numbers_do_no_harm(backend: CpuBackend, value: float) -> None:
    codec, segment = damaged(2, sigmas=with_value(3, value), norms=with_value(9, value))
    store = backend.prepare(codec, [segment])
    good = backend.prepare(*(lambda pair: (pair[0], [pair[1]]))(damaged(2)))
    for precision in ("fast", "exact"):
        scores = backend.maxsim_quantized(store, QUERIES, QUERY_OFFSETS, EVERYTHING, precision)
        expected = backend.maxsim_quantized(good, QUERIES, QUERY_OFFSETS, EVERYTHING, precision)
        untouched = (segment.doc_offsets[1:] <= 3) | (segment.doc_offsets[:-1] > 9)
        np.testing.assert_array_equal(scores[:, untouched], expected[:, untouched])


def probe(backend: CpuBackend, store: object, centroid: int) -> None:
    ones = np.ones((1, 1), np.float32)
    backend.accumulate_postings(
        store, np.array([[centroid]]), ones, np.zeros(1, np.float32), np.array([0, 1], np.int64), 10
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"posting_documents": lambda a: np.full_like(a, DOCUMENTS)}, "a posting names document 20"),
        ({"posting_documents": lambda a: np.full_like(a, 2**32 - 1)}, "a posting names document 4294967295"),
        ({"posting_offsets": with_value(3, -1)}, "centroid 3 owns postings -1:"),
        ({"posting_offsets": with_value(4, 2**62)}, "centroid 3 owns postings"),
        ({"posting_offsets": lambda a: a[::-1].copy()}, "centroid 3 owns postings"),
    ],
)
def test_postings_that_point_outside_are_found(changes: dict[str, object], message: str) -> None:
    backend = CpuBackend()
    codec, segment = damaged(2, **changes)
    with pytest.raises(CorruptIndexError, match=message):
        probe(backend, backend.prepare(codec, [segment]), 3)


@pytest.mark.parametrize("centroid", [-1, 16, 2**62])
def test_probes_beyond_the_codec_are_found(centroid: int) -> None:
    backend = CpuBackend()
    codec, segment = damaged(2)
    with pytest.raises(CorruptIndexError, match=f"centroid {centroid} was probed; the codec has 16"):
        probe(backend, backend.prepare(codec, [segment]), centroid)


@pytest.mark.parametrize("name", ["max_sigma", "max_norm"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -1.0])
def test_largest_scalars_that_are_not_sizes_are_found(name: str, value: float) -> None:
    codec, segment = damaged(2, **{name: value})
    with pytest.raises(CorruptIndexError, match="a segment's largest sigma"):
        CpuBackend().prepare(codec, [segment])
