"""MaxSim over stored tokens by the native kernels, against double precision over the decoded vectors."""

from __future__ import annotations

import itertools
from functools import cache

import numpy as np
import pytest

from jcb_engine.errors import InputError
from jcb_engine.kernels import Lists, Ranges
from jcb_engine.kernels.cpu import CpuBackend
from tests.conftest import brute_force
from tests.kernels.cpu_backends import DIMENSIONS, QUERY_LENGTHS, every_backend, queries_of, whole
from tests.kernels.stores import random_store

WIDTHS = (1, 2, 4, 8, 16)
sample_store = cache(random_store)  # read only, and slow to make


def expected_scores(
    queries: np.ndarray, query_offsets: np.ndarray, decoded: np.ndarray, offsets: np.ndarray
) -> np.ndarray:
    bounds = itertools.pairwise(query_offsets)
    return np.array([brute_force(queries[first:last], decoded, offsets) for first, last in bounds])


# -- scores ----------------------------------------------------------------------------------------------------------
@every_backend
@pytest.mark.parametrize("dim", DIMENSIONS)
@pytest.mark.parametrize("nbits", WIDTHS)
def test_exact_scores_are_those_of_the_decoded_vectors_and_fast_ones_within_the_bound(
    backend: CpuBackend, dim: int, nbits: int
) -> None:
    codec, segments, decoded, offsets = sample_store(dim=dim, nbits=nbits, segment_documents=(40, 1, 12))
    store = backend.prepare(codec, segments)
    queries, query_offsets = queries_of((32, 5), dim)
    expected = expected_scores(queries, query_offsets, decoded, offsets)
    exact = backend.maxsim_quantized(store, queries, query_offsets, whole(53), "exact")
    np.testing.assert_allclose(exact, expected, rtol=1e-5, atol=1e-4)
    fast = backend.maxsim_quantized(store, queries, query_offsets, whole(53), "fast")
    bounds = backend.score_error_bound(store, queries, query_offsets)
    filled = np.isfinite(expected)
    np.testing.assert_array_equal(np.isfinite(fast), filled)
    errors = np.where(filled, np.abs(np.where(filled, fast, 0) - np.where(filled, exact, 0)), 0)
    assert (errors <= bounds[:, None]).all()
    if nbits == 16:
        np.testing.assert_array_equal(fast, exact)
        np.testing.assert_array_equal(bounds, 0)


@every_backend
@pytest.mark.parametrize("tokens", [*QUERY_LENGTHS, 1030])
@pytest.mark.parametrize("nbits", [2, 16])
def test_queries_of_every_length_are_scored(backend: CpuBackend, tokens: int, nbits: int) -> None:
    codec, segments, decoded, offsets = sample_store(dim=48, nbits=nbits, segment_documents=(15,))
    store = backend.prepare(codec, segments)
    queries, query_offsets = queries_of((3, tokens), 48)
    expected = expected_scores(queries, query_offsets, decoded, offsets)
    exact = backend.maxsim_quantized(store, queries, query_offsets, whole(15), "exact")
    np.testing.assert_allclose(exact, expected, rtol=1e-5, atol=1e-3)
    fast = backend.maxsim_quantized(store, queries, query_offsets, whole(15))
    bounds = backend.score_error_bound(store, queries, query_offsets)
    filled = np.isfinite(expected[0])
    assert (np.abs(fast[:, filled] - exact[:, filled]) <= bounds[:, None]).all()


@every_backend
@pytest.mark.parametrize("nbits", [1, 4, 16])
@pytest.mark.parametrize("precision", ["fast", "exact"])
def test_an_empty_query_scores_zero_and_an_empty_document_minus_infinity(
    backend: CpuBackend, nbits: int, precision: str
) -> None:
    codec, segments, _, offsets = sample_store(dim=16, nbits=nbits, segment_documents=(30,), longest=3)
    empty = np.diff(offsets) == 0
    assert empty.any()
    store = backend.prepare(codec, segments)
    queries, query_offsets = queries_of((0, 4, 0), 16)
    scores = backend.maxsim_quantized(store, queries, query_offsets, whole(30), precision)
    assert (scores[:, empty] == -np.inf).all()
    assert (scores[[0, 2]][:, ~empty] == 0).all()
    assert np.isfinite(scores[1, ~empty]).all()
    np.testing.assert_array_equal(backend.score_error_bound(store, queries, query_offsets)[[0, 2]], 0)


@every_backend
def test_no_queries_no_candidates_and_no_documents_give_empty_scores(backend: CpuBackend) -> None:
    codec, segments, _, _ = sample_store(dim=16, nbits=2, segment_documents=(5,))
    store = backend.prepare(codec, segments)
    queries, query_offsets = queries_of((4,), 16)
    nothing = Lists(np.zeros(0, np.uint32), np.zeros(2, np.int64))
    assert backend.maxsim_quantized(store, queries, query_offsets, nothing).shape == (0,)
    none_asked = backend.maxsim_quantized(store, queries[:0], np.zeros(1, np.int64), whole(5))
    assert none_asked.shape == (0, 5)
    empty_store = backend.prepare(codec, [])
    assert (empty_store.documents, empty_store.tokens) == (0, 0)
    assert backend.maxsim_quantized(empty_store, queries, query_offsets, whole(0)).shape == (1, 0)


# -- candidates ------------------------------------------------------------------------------------------------------
@every_backend
@pytest.mark.parametrize("nbits", [2, 16])
def test_lists_and_ranges_give_the_scores_of_a_full_scan(backend: CpuBackend, nbits: int) -> None:
    codec, segments, _, _ = sample_store(dim=32, nbits=nbits, segment_documents=(50, 0, 1, 70, 90))
    store = backend.prepare(codec, segments)
    np.testing.assert_array_equal(store.segment_starts, [0, 50, 50, 51, 121, 211])
    queries, query_offsets = queries_of((32, 7, 20), 32)
    full = backend.maxsim_quantized(store, queries, query_offsets, whole(211))
    random = np.random.default_rng(0)
    picks = [random.integers(0, 211, count).astype(np.uint32) for count in (100, 0, 333)]
    lists = Lists(np.concatenate(picks), np.cumsum([0, *map(len, picks)], dtype=np.int64))
    scores = backend.maxsim_quantized(store, queries, query_offsets, lists)
    np.testing.assert_array_equal(scores, np.concatenate([full[q, pick] for q, pick in enumerate(picks)]))
    ranges = Ranges(np.array([200, 3, 0, 40], np.int64), np.array([211, 3, 2, 130], np.int64))
    columns = np.r_[200:211, 0:2, 40:130]
    np.testing.assert_array_equal(
        backend.maxsim_quantized(store, queries, query_offsets, ranges), full[:, columns], strict=True
    )


@every_backend
def test_a_table_given_changes_nothing(backend: CpuBackend) -> None:
    codec, segments, _, _ = sample_store(dim=32, nbits=2, segment_documents=(20,))
    store = backend.prepare(codec, segments)
    queries, query_offsets = queries_of((9, 20), 32)
    table = backend.centroid_scores(store, queries)
    np.testing.assert_allclose(table.to_array(), codec.centroids @ queries.T, rtol=1e-5, atol=1e-5)
    for precision in ("fast", "exact"):
        np.testing.assert_array_equal(
            backend.maxsim_quantized(store, queries, query_offsets, whole(20), precision, table),
            backend.maxsim_quantized(store, queries, query_offsets, whole(20), precision),
        )


@every_backend
def test_a_table_serves_queries_cut_otherwise_and_the_bound_finds_what_it_prepared(backend: CpuBackend) -> None:
    codec, segments, _, _ = sample_store(dim=32, nbits=2, segment_documents=(20,))
    store = backend.prepare(codec, segments)
    queries, _ = queries_of((29,), 32)
    table = backend.centroid_scores(store, queries)
    for cuts in ([0, 29], [0, 9, 29], [0, 29], [0, 0, 1, 29]):
        query_offsets = np.array(cuts, np.int64)
        unprepared = backend.score_error_bound(store, queries, query_offsets)
        scores = backend.maxsim_quantized(store, queries, query_offsets, whole(20), "fast", table)
        np.testing.assert_array_equal(
            scores, backend.maxsim_quantized(store, queries, query_offsets, whole(20), "fast")
        )
        # Knowing the centroid scores, the bound is a little tighter; without them it stands for any.
        assert (backend.score_error_bound(store, queries, query_offsets) <= unprepared).all()


def test_a_table_outlives_its_store() -> None:
    codec, segments, _, _ = sample_store(dim=16, nbits=2, segment_documents=(4,))
    backend = CpuBackend()
    queries, _ = queries_of((3,), 16)
    scores = backend.centroid_scores(backend.prepare(codec, segments), queries).to_array()
    np.testing.assert_allclose(scores, codec.centroids @ queries.T, rtol=1e-5, atol=1e-5)


# -- centroids alone -------------------------------------------------------------------------------------------------
@every_backend
@pytest.mark.parametrize("tokens", QUERY_LENGTHS)
@pytest.mark.parametrize("wide_ids", [False, True])
def test_centroid_scores_of_documents_are_sums_of_maxima(backend: CpuBackend, tokens: int, wide_ids: bool) -> None:
    codec, segments, _, offsets = sample_store(
        dim=16, nbits=2, segment_documents=(30, 25), wide_ids=wide_ids, longest=600, centroids=40
    )
    store = backend.prepare(codec, segments)
    queries, query_offsets = queries_of((tokens, 0, 3), 16)
    table = backend.centroid_scores(store, queries)
    scores = backend.maxsim_centroids(store, table, query_offsets, whole(55))
    ids = np.concatenate([segment.centroid_ids for segment in segments])
    expected = expected_scores(queries, query_offsets, codec.centroids[ids], offsets)
    np.testing.assert_allclose(scores, expected, rtol=1e-5, atol=1e-4)
    lists = Lists(np.array([54, 0, 31], np.uint32), np.array([0, 1, 1, 3], np.int64))
    picked = backend.maxsim_centroids(store, table, query_offsets, lists)
    np.testing.assert_array_equal(picked, [scores[0, 54], scores[2, 0], scores[2, 31]])


def test_raw_codecs_have_no_centroid_scores_of_documents() -> None:
    codec, segments, _, _ = sample_store(dim=16, nbits=16, segment_documents=(3,))
    backend = CpuBackend()
    store = backend.prepare(codec, segments)
    queries, query_offsets = queries_of((2,), 16)
    with pytest.raises(InputError, match="a raw codec does not store"):
        backend.maxsim_centroids(store, backend.centroid_scores(store, queries), query_offsets, whole(3))
