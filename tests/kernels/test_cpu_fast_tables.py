"""Fast centroid tables: close to the fp32 products, and what is computed from them agrees with what they say."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from jcb_engine.errors import CorruptIndexError, InputError
from jcb_engine.kernels import Lists
from jcb_engine.kernels.cpu import CpuBackend
from tests.kernels.cpu_backends import DIMENSIONS, QUERY_LENGTHS, every_backend, queries_of, whole
from tests.kernels.stores import random_store

SEVERAL = (5, 0, 32, 17, 40)  # tiles that begin anywhere


def error_bound(backend: CpuBackend, centroids: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """[Q]: what csrc/cpu/word_table.h promises, of 255 weights, or 96 and sums in chains (AVX2)."""
    weights = 255 if backend.name in ("cpu/avx512", "cpu/amx", "cpu/neon") else 96
    unit = (np.maximum(centroids.max(), 0) - np.minimum(centroids.min(), 0)) / weights
    largest = np.maximum(centroids.max(), -centroids.min())
    step = np.abs(queries).max(axis=1) / 127
    if weights == 96:  # half of a chain of 32 and its weights fit a word
        padded = np.pad(np.abs(queries), ((0, 0), (0, -queries.shape[1] % 32)))
        halves = padded.reshape(len(queries), -1, 8, 2, 2).sum(axis=(2, 4)).max(axis=(1, 2))
        step = np.maximum(step, halves * largest / unit / (32765 - 8 * largest / unit))
    of_queries = step[:, None] / 2 * np.abs(centroids).sum(axis=1).max()
    of_centroids = (np.abs(queries).sum(axis=1) + step * queries.shape[1] / 2)[:, None] * unit / 2
    of_bias = step[:, None] * unit * (queries.shape[1] // 32 + 1)
    # A tile shares a shift: half of what a word stands for, which no more than twice the largest score fills.
    longest = np.linalg.norm(centroids, axis=1).max() + unit * np.sqrt(queries.shape[1])
    longest_query = np.linalg.norm(queries, axis=1).max()
    words = step.max() * unit * max(1.0, 2 * longest_query * longest / (step.min() * unit) / 32766)
    return (of_queries + of_centroids + of_bias)[:, 0] + words / 2


@every_backend
@pytest.mark.parametrize("dim", DIMENSIONS)
@pytest.mark.parametrize("tokens", [1, 16, 17, 32, 70])
def test_fast_scores_of_centroids_are_near_their_inner_products(backend: CpuBackend, dim: int, tokens: int) -> None:
    codec, segments, _, _ = random_store(dim=dim, nbits=2, segment_documents=(2,), centroids=45)
    store = backend.prepare(codec, segments)
    queries, _ = queries_of((tokens,), dim)
    table = backend.centroid_scores(store, queries, "fast")
    expected = codec.centroids.astype(np.float64) @ queries.T.astype(np.float64)
    if table.is_exact:
        assert backend.name == "cpu/scalar"
        np.testing.assert_allclose(table.to_array(), expected, rtol=1e-5, atol=1e-5)
        return
    assert (np.abs(table.to_array() - expected) <= error_bound(backend, codec.centroids, queries)).all()


@every_backend
@pytest.mark.parametrize("count", [1, 7, 300, 400])
def test_the_best_centroids_of_a_fast_table_are_the_best_of_its_scores(backend: CpuBackend, count: int) -> None:
    codec, segments, _, _ = random_store(dim=48, nbits=2, segment_documents=(2,), centroids=400)
    store = backend.prepare(codec, segments)
    queries, _ = queries_of(SEVERAL, 48)
    queries[3] = 0
    table = backend.centroid_scores(store, queries, "fast")
    scores = table.to_array()
    expected = np.argsort(-scores, axis=0, kind="stable")[:count].T  # the lower id in a tie
    ids, found = backend.best_centroids(store, table, count)
    np.testing.assert_array_equal(ids, expected)
    np.testing.assert_array_equal(found, np.take_along_axis(scores.T, expected, axis=1))


@every_backend
@pytest.mark.parametrize("tokens", QUERY_LENGTHS)
@pytest.mark.parametrize("wide_ids", [False, True])
def test_centroid_only_maxsim_is_the_sum_of_maxima_of_the_fast_scores(
    backend: CpuBackend, tokens: int, wide_ids: bool
) -> None:
    codec, segments, _, offsets = random_store(
        dim=16, nbits=2, segment_documents=(30, 25), wide_ids=wide_ids, longest=600, centroids=40
    )
    store = backend.prepare(codec, segments)
    queries, query_offsets = queries_of((9, tokens, 0, 3), 16)
    table = backend.centroid_scores(store, queries, "fast")
    rows = table.to_array()[np.concatenate([segment.centroid_ids for segment in segments])]
    scores = backend.maxsim_centroids(store, table, query_offsets, whole(55))
    for query, (first, last) in enumerate(itertools.pairwise(query_offsets)):
        for document, (begin, end) in enumerate(itertools.pairwise(offsets)):
            expected = rows[begin:end, first:last].max(axis=0).sum() if begin < end else -np.inf
            assert scores[query, document] == pytest.approx(expected, rel=1e-5, abs=1e-5)


@every_backend
@pytest.mark.parametrize("nbits", [1, 2, 4, 8])
@pytest.mark.parametrize("dim", [16, 100, 128])
def test_fast_maxsim_by_a_fast_table_is_near_the_exact_score(backend: CpuBackend, nbits: int, dim: int) -> None:
    codec, segments, _, offsets = random_store(dim=dim, nbits=nbits, segment_documents=(40, 12), centroids=30)
    store = backend.prepare(codec, segments)
    queries, query_offsets = queries_of(SEVERAL, dim)
    table = backend.centroid_scores(store, queries, "fast")
    fast = backend.maxsim_quantized(store, queries, query_offsets, whole(52), "fast", table)
    exact = backend.maxsim_quantized(store, queries, query_offsets, whole(52), "exact")
    norms = max(float(segment.norms.max()) for segment in segments) * codec.norm_scale
    of_table = error_bound(backend, codec.centroids, queries) if not table.is_exact else np.zeros(len(queries))
    of_table = np.add.reduceat(np.append(of_table, 0), query_offsets[:-1]) * (np.diff(query_offsets) > 0)
    # A word of a table is coarser than what the bound without it counts, but not by more than its own half.
    allowed = 2 * backend.score_error_bound(store, queries, query_offsets) + 2 * norms * of_table
    filled = np.diff(offsets) > 0
    assert (fast[:, ~filled] == -np.inf).all()
    assert (np.abs(fast[:, filled] - exact[:, filled]) <= allowed[:, None]).all()


@every_backend
@pytest.mark.parametrize("nbits", [2, 4, 16])
def test_exact_scores_by_a_fast_table_are_the_same_bits(backend: CpuBackend, nbits: int) -> None:
    codec, segments, _, _ = random_store(dim=32, nbits=nbits, segment_documents=(50, 0, 70), centroids=300)
    store = backend.prepare(codec, segments)
    queries, query_offsets = queries_of(SEVERAL, 32)
    table = backend.centroid_scores(store, queries, "fast")
    expected = backend.maxsim_quantized(store, queries, query_offsets, whole(120), "exact")
    random = np.random.default_rng(0)
    for _ in range(3):  # each asks for rows that may be there, or not
        picks = [np.sort(random.choice(120, 9, replace=False)).astype(np.uint32) for _ in SEVERAL]
        lists = Lists(np.concatenate(picks), np.arange(6, dtype=np.int64) * 9)
        scores = backend.maxsim_quantized(store, queries, query_offsets, lists, "exact", table)
        np.testing.assert_array_equal(scores, np.concatenate([expected[q, pick] for q, pick in enumerate(picks)]))
    np.testing.assert_array_equal(
        backend.maxsim_quantized(store, queries, query_offsets, whole(120), "exact", table), expected
    )


@every_backend
def test_the_proven_bound_is_never_that_of_a_fast_table(backend: CpuBackend) -> None:
    codec, segments, _, _ = random_store(dim=32, nbits=2, segment_documents=(20,))
    store = backend.prepare(codec, segments)
    queries, query_offsets = queries_of((9, 20), 32)
    expected = backend.score_error_bound(store, queries, query_offsets)
    table = backend.centroid_scores(store, queries, "fast")
    backend.maxsim_quantized(store, queries, query_offsets, whole(20), "fast", table)
    bounds = backend.score_error_bound(store, queries, query_offsets)
    if table.is_exact:  # then it serves the bound too, and makes it a little tighter
        assert (bounds <= expected).all()
    else:
        np.testing.assert_array_equal(bounds, expected)


@every_backend
@pytest.mark.parametrize("nbits", [1, 2, 4, 8])
def test_a_fast_table_serves_backends_of_other_instruction_sets(backend: CpuBackend, nbits: int) -> None:
    codec, segments, _, _ = random_store(dim=48, nbits=nbits, segment_documents=(20,))
    store = CpuBackend().prepare(codec, segments)
    queries, query_offsets = queries_of((9, 20), 48)
    table = CpuBackend().centroid_scores(store, queries, "fast")
    own = backend.centroid_scores(store, queries, "fast")
    for score in (
        lambda table: backend.maxsim_centroids(store, table, query_offsets, whole(20)),
        lambda table: backend.maxsim_quantized(store, queries, query_offsets, whole(20), "fast", table),
    ):
        by_other, by_own = score(table), score(own)
        filled = np.isfinite(by_own)
        np.testing.assert_array_equal(np.isfinite(by_other), filled)
        np.testing.assert_allclose(by_other[filled], by_own[filled], atol=0.3)


@every_backend
def test_no_query_tokens_and_zero_vectors_are_fine(backend: CpuBackend) -> None:
    codec, segments, _, _ = random_store(dim=16, nbits=2, segment_documents=(20,))
    store = backend.prepare(codec, segments)
    nothing = np.zeros((0, 16), np.float32)
    assert backend.centroid_scores(store, nothing, "fast").to_array().shape == (len(codec.centroids), 0)
    zeros, offsets = np.zeros((4, 16), np.float32), np.array([0, 4])
    table = backend.centroid_scores(store, zeros, "fast")
    assert (table.to_array() == 0).all()
    for precision in ("fast", "exact"):
        scores = backend.maxsim_quantized(store, zeros, offsets, whole(20), precision, table)
        assert (scores[np.isfinite(scores)] == 0).all()


@every_backend
def test_bad_input_of_a_fast_table(backend: CpuBackend) -> None:
    codec, segments, _, _ = random_store(dim=16, nbits=2, segment_documents=(20,), centroids=30)
    store = backend.prepare(codec, segments)
    queries, query_offsets = queries_of((4,), 16)
    with pytest.raises(InputError, match="precision is 'rough'; allowed are fast and exact"):
        backend.centroid_scores(store, queries, "rough")
    table = backend.centroid_scores(store, queries, "fast")
    if not table.is_exact:
        broken = queries.copy()
        broken[1, 2] = np.nan
        with pytest.raises(InputError, match="NaN or infinity"):
            backend.centroid_scores(store, broken, "fast")
    segments[0].centroid_ids[3] = 30
    for call in (
        lambda: backend.maxsim_centroids(store, table, query_offsets, whole(20)),
        lambda: backend.maxsim_quantized(store, queries, query_offsets, whole(20), "fast", table),
        lambda: backend.maxsim_quantized(store, queries, query_offsets, whole(20), "exact", table),
    ):
        with pytest.raises(CorruptIndexError, match=r"names (a )?centroid"):
            call()


@every_backend
def test_centroids_that_are_not_finite_harm_no_other(backend: CpuBackend) -> None:
    codec, segments, _, _ = random_store(dim=16, nbits=2, segment_documents=(2,), centroids=30)
    codec.centroids[7, 2], codec.centroids[8, 3] = np.nan, np.inf
    store = backend.prepare(codec, segments)
    queries, _ = queries_of((4,), 16)
    table = backend.centroid_scores(store, queries, "fast")
    sound = np.delete(np.arange(30), [7, 8])
    expected = codec.centroids[sound] @ queries.T
    assert (
        np.abs(table.to_array()[sound] - expected) <= error_bound(backend, codec.centroids[sound], queries) + 1e-6
    ).all()
