"""The GPU backends against the reference, over any store and query: Triton in its interpreter, CUDA emulated."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

from jcb_engine.errors import BackendUnavailableError, CorruptIndexError, InputError
from jcb_engine.kernels import (
    RAW_BITS,
    Backend,
    CodecArrays,
    Lists,
    Probing,
    ProbingBackend,
    Ranges,
    ScanningBackend,
    SegmentArrays,
)
from jcb_engine.kernels.cpu import CpuBackend
from jcb_engine.kernels.reference import ReferenceBackend
from tests.kernels.cpu_backends import queries_of, whole
from tests.kernels.gpu_backends import GPU_BACKENDS, cuda_emulated, gpu_backend, triton_interpreted
from tests.kernels.stores import random_store

REFERENCE = ReferenceBackend()


@pytest.fixture(params=GPU_BACKENDS)
def backend(request: pytest.FixtureRequest) -> Backend:
    return gpu_backend(request.param)


def check(
    backend: Backend,
    codec: CodecArrays,
    segments: list[SegmentArrays],
    queries: np.ndarray,
    offsets: np.ndarray,
    candidates: Lists | Ranges | None = None,
) -> None:
    """Exact scores are the reference's, fast ones within the bound that is said of them."""
    store = backend.prepare(codec, segments)
    wanted = candidates or whole(store.documents)
    expected = REFERENCE.maxsim_quantized(REFERENCE.prepare(codec, segments), queries, offsets, wanted)
    exact = backend.maxsim_quantized(store, queries, offsets, wanted, "exact")
    assert exact.dtype == np.float32
    assert exact.shape == expected.shape
    np.testing.assert_allclose(exact, expected, rtol=2e-5, atol=2e-5)
    fast = backend.maxsim_quantized(store, queries, offsets, wanted)
    bounds = backend.score_error_bound(store, queries, offsets)
    is_listed = isinstance(wanted, Lists)
    bounds = np.repeat(bounds, np.diff(wanted.list_offsets)) if is_listed else bounds[:, None]
    empty = np.isneginf(expected)
    assert (np.isneginf(fast) == empty).all()
    errors = np.where(empty, 0, np.abs(np.where(empty, 0, fast) - np.where(empty, 0, expected)))
    assert (errors <= bounds + 1e-6).all()


@pytest.mark.parametrize("dim", [1, 16, 48, 100, 128, 300])
def test_codes_of_2_bits_are_scored_at_any_dimension(backend: Backend, dim: int) -> None:
    codec, segments, _, _ = random_store(dim=dim, nbits=2, segment_documents=(6,), seed=dim)
    check(backend, codec, segments, *queries_of((5,), dim))


def test_the_bound_of_fast_scores_is_a_small_part_of_a_score(backend: Backend) -> None:
    codec, segments, _, _ = random_store(dim=128, nbits=2, segment_documents=(2,))
    queries, offsets = queries_of((32,), 128)
    assert 0 < backend.score_error_bound(backend.prepare(codec, segments), queries, offsets)[0] < 0.03 * 32


@pytest.mark.parametrize("nbits", [1, 4, 8, RAW_BITS])
@pytest.mark.parametrize("dim", [16, 100, 160])
def test_other_widths_of_codes_are_scored(backend: Backend, nbits: int, dim: int) -> None:
    codec, segments, _, _ = random_store(dim=dim, nbits=nbits, segment_documents=(5,), seed=nbits)
    check(backend, codec, segments, *queries_of((4, 33), dim))
    check(backend, codec, segments, *queries_of((4, 3, 0, 5), dim))


@pytest.mark.parametrize("nbits", [8, RAW_BITS])
def test_wide_codes_are_scored_as_others_are(backend: Backend, nbits: int) -> None:
    codec, segments, _, _ = random_store(dim=32, nbits=nbits, segment_documents=(5, 0, 3), longest=60, norm_scale=64.0)
    queries, offsets = queries_of((1, 0, 31, 32, 70), 32)
    check(backend, codec, segments, queries, offsets)
    for size in (1000, 1e-6, 1e20, 0):
        check(backend, codec, segments, queries[:36] * np.float32(size), np.array([0, 6, 36]))
    lists = Lists(np.array([7, 7, 0, 3, 6], np.uint32), np.array([0, 3, 3, 3, 3, 5], np.int64))
    check(backend, codec, segments, queries, offsets, lists)
    check(backend, codec, segments, queries, offsets, Ranges(np.array([6, 0], np.int64), np.array([8, 2], np.int64)))
    check(backend, codec, random_store(dim=32, nbits=nbits, segment_documents=(0,))[1], queries, offsets)


def test_fast_scores_of_raw_vectors_are_nearly_exact(backend: Backend) -> None:
    codec, segments, _, _ = random_store(dim=128, nbits=RAW_BITS, segment_documents=(2,))
    queries, offsets = queries_of((32,), 128)
    assert 0 < backend.score_error_bound(backend.prepare(codec, segments), queries, offsets)[0] < 0.001 * 32


def test_a_raw_codec_has_no_maxsim_of_centroids(backend: Backend) -> None:
    codec, segments, _, _ = random_store(dim=16, nbits=RAW_BITS, segment_documents=(2,))
    queries, offsets = queries_of((3,), 16)
    store = backend.prepare(codec, segments)
    table = backend.centroid_scores(store, queries)
    assert table.to_array().shape == (16, 3)
    with pytest.raises(InputError, match="a raw codec does not store"):
        backend.maxsim_centroids(store, table, offsets, whole(2))


def test_queries_of_any_length_are_scored(backend: Backend) -> None:
    codec, segments, _, _ = random_store(dim=32, nbits=2, segment_documents=(4,))
    check(backend, codec, segments, *queries_of((1, 0, 31, 32, 33, 70), 32))
    check(backend, codec, segments, *queries_of((0,), 32))


def test_documents_of_any_length_in_several_segments_are_scored(backend: Backend) -> None:
    codec, segments, _, _ = random_store(dim=32, nbits=2, segment_documents=(5, 0, 3), longest=300, wide_ids=True)
    check(backend, codec, segments, *queries_of((3,), 32))
    check(backend, codec, random_store(dim=32, nbits=2, segment_documents=(0,))[1], *queries_of((3,), 32))


def test_lists_and_ranges_are_scored_in_their_order(backend: Backend) -> None:
    codec, segments, _, _ = random_store(dim=32, nbits=2, segment_documents=(7, 4))
    queries, offsets = queries_of((5, 0, 40), 32)
    lists = Lists(np.array([9, 9, 0, 3, 10], np.uint32), np.array([0, 3, 3, 5], np.int64))
    check(backend, codec, segments, queries, offsets, lists)
    check(backend, codec, segments, queries, offsets, Ranges(np.array([8, 0], np.int64), np.array([11, 2], np.int64)))
    check(backend, codec, segments, queries, offsets, Ranges(np.zeros(0, np.int64), np.zeros(0, np.int64)))


def test_sizes_of_vectors_and_uneven_levels_are_kept(backend: Backend) -> None:
    codec, segments, _, _ = random_store(dim=32, nbits=2, segment_documents=(6,), norm_scale=64.0)
    queries, offsets = queries_of((5, 2), 32)
    check(backend, codec, segments, queries * np.float32(1000), offsets)
    check(backend, codec, segments, queries * np.float32(1e-6), offsets)
    check(backend, codec, segments, queries * np.float32(1e20), offsets)
    check(backend, codec, segments, queries * np.float32(0), offsets)
    check(backend, replace(codec, levels=np.array([-3, 0.1, 0.5, 0.7], np.float32)), segments, queries, offsets)


def test_damaged_and_wrong_input_is_refused(backend: Backend) -> None:
    codec, segments, _, _ = random_store(dim=32, nbits=2, segment_documents=(6,))
    queries, offsets = queries_of((3,), 32)
    store = backend.prepare(codec, segments)
    for document in (6, 2**32 - 1):
        beyond = Lists(np.array([document], np.uint32), np.array([0, 1], np.int64))
        with pytest.raises(CorruptIndexError, match=f"document {document} is not in the store, which has 6"):
            backend.maxsim_quantized(store, queries, offsets, beyond)
    for bad in (np.nan, np.inf):
        damaged = queries.copy()
        damaged[1, 4] = bad
        with pytest.raises(InputError, match="NaN or infinity"):
            backend.maxsim_quantized(store, damaged, offsets, whole(6))
    ids = segments[0].centroid_ids.copy()
    ids[2] = 16
    with pytest.raises(CorruptIndexError, match="names centroid 16; there are 16"):
        backend.prepare(codec, [replace(segments[0], centroid_ids=ids)])
    doc_offsets = segments[0].doc_offsets.copy()
    doc_offsets[2] = -5
    with pytest.raises(CorruptIndexError, match="document"):
        backend.prepare(codec, [replace(segments[0], doc_offsets=doc_offsets)])


@pytest.mark.emulated
@pytest.mark.parametrize("nbits", [8, RAW_BITS])
def test_damaged_wide_codes_are_refused(nbits: int) -> None:
    codec, segments, _, _ = random_store(dim=32, nbits=nbits, segment_documents=(6,))
    backend = cuda_emulated()
    doc_offsets = segments[0].doc_offsets.copy()
    doc_offsets[2] = 10_000
    with pytest.raises(CorruptIndexError, match="document"):
        backend.prepare(codec, [replace(segments[0], doc_offsets=doc_offsets)])
    if nbits == RAW_BITS:
        return
    ids = segments[0].centroid_ids.copy()
    ids[2] = 16
    with pytest.raises(CorruptIndexError, match="names centroid 16; there are 16"):
        backend.prepare(codec, [replace(segments[0], centroid_ids=ids)])
    levels = codec.levels.copy()
    levels[17] = np.nan
    with pytest.raises(CorruptIndexError, match="level 17 of the codec is no number"):
        backend.prepare(replace(codec, levels=levels), segments)


def test_scalars_beyond_the_largest_of_their_segment_are_cut_down(backend: Backend) -> None:
    codec, segments, _, _ = random_store(dim=32, nbits=2, segment_documents=(6,))
    queries, offsets = queries_of((3,), 32)
    norms = segments[0].norms.copy()
    place = int(norms.argmax())
    norms[place] = np.inf
    before = backend.maxsim_quantized(backend.prepare(codec, segments), queries, offsets, whole(6))
    after = backend.maxsim_quantized(
        backend.prepare(codec, [replace(segments[0], norms=norms)]), queries, offsets, whole(6)
    )
    np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize("wide", [False, True])
def test_centroids_and_their_maxsim_are_the_references(backend: Backend, wide: bool) -> None:
    codec, segments, _, _ = random_store(dim=32, nbits=2, segment_documents=(7, 4), wide_ids=wide)
    queries, offsets = queries_of((5, 0, 40), 32)
    store, plain = backend.prepare(codec, segments), REFERENCE.prepare(codec, segments)
    table, expected = backend.centroid_scores(store, queries), REFERENCE.centroid_scores(plain, queries)
    np.testing.assert_allclose(table.to_array(), expected.to_array(), rtol=1e-6, atol=1e-6)
    ids, scores = backend.best_centroids(store, table, 5)
    np.testing.assert_array_equal(scores, -np.sort(-table.to_array(), axis=0)[:5].T)
    np.testing.assert_array_equal(np.take_along_axis(table.to_array().T, ids, axis=1), scores)
    lists = Lists(np.array([9, 9, 0, 3, 10], np.uint32), np.array([0, 3, 3, 5], np.int64))
    for candidates in (lists, whole(11)):
        np.testing.assert_allclose(
            backend.maxsim_centroids(store, table, offsets, candidates),
            REFERENCE.maxsim_centroids(plain, expected, offsets, candidates),
            rtol=1e-5,
            atol=1e-5,
        )


def test_the_lower_centroid_wins_a_tie(backend: Backend) -> None:
    codec, segments, _, _ = random_store(dim=16, nbits=2, segment_documents=(2,), centroids=6)
    centroids = np.tile(codec.centroids[:2], (3, 1))
    store = backend.prepare(replace(codec, centroids=centroids), segments)
    queries = np.concatenate([queries_of((3,), 16)[0], np.zeros((1, 16), np.float32)])
    ids, scores = backend.best_centroids(store, backend.centroid_scores(store, queries), 6)
    for row, values in zip(ids, scores, strict=True):
        order = sorted(range(6), key=lambda place: (-values[place], row[place]))
        assert order == list(range(6))
        assert sorted(row) == list(range(6))


@pytest.mark.parametrize("nbits", [1, 2, 4, 8, RAW_BITS])
@pytest.mark.parametrize(("k", "masked"), [(1, False), (4, True), (100, False)])
def test_the_best_of_all_are_found_with_their_exact_scores(backend: Backend, nbits: int, k: int, masked: bool) -> None:
    codec, segments, _, _ = random_store(dim=48, nbits=nbits, segment_documents=(11, 6), seed=nbits)
    store = backend.prepare(codec, segments)
    queries, offsets = queries_of((5, 0, 40), 48)
    mask = np.array([0b10110101, 0b11001110, 0b1], np.uint8) if masked else None
    allowed = np.unpackbits(mask, count=17, bitorder="little") == 1 if masked else np.ones(17, bool)
    exact = backend.maxsim_quantized(store, queries, offsets, whole(store.documents), "exact")
    assert isinstance(backend, ScanningBackend)
    answers = backend.best_of_all(store, queries, offsets, k, mask)
    assert answers is not None
    assert len(answers) == 3
    for (documents, scores), own in zip(answers, exact, strict=True):
        hits = np.flatnonzero(allowed & (own > -np.inf))
        kth = np.sort(own[hits])[-k] if len(hits) >= k else -np.inf
        assert set(hits[own[hits] >= kth]) <= set(documents.tolist()) <= set(hits)
        np.testing.assert_array_equal(scores, own[documents])
        assert (np.diff(documents.astype(np.int64)) > 0).all()


def test_a_search_of_everything_refuses_what_does_not_fit(backend: Backend) -> None:
    codec, segments, _, _ = random_store(dim=32, nbits=2, segment_documents=(20,))
    store = backend.prepare(codec, segments)
    queries, offsets = queries_of((3,), 32)
    assert isinstance(backend, ScanningBackend)
    with pytest.raises(InputError, match="mask has 16 bits; the store has 20 documents"):
        backend.best_of_all(store, queries, offsets, 3, np.zeros(2, np.uint8))
    with pytest.raises(InputError, match="queries"):
        backend.best_of_all(store, queries[:, :16].copy(), offsets, 3)
    bad = queries.copy()
    bad[0, 0] = np.nan
    with pytest.raises(InputError, match="NaN"):
        backend.best_of_all(store, bad, offsets, 3)
    nothing = backend.best_of_all(store, queries, offsets, 3, np.zeros(3, np.uint8))
    assert nothing is not None
    assert len(nothing[0][0]) == 0


def probed_by_the_host(
    backend: Backend, store: object, queries: np.ndarray, offsets: np.ndarray, probing: Probing, mask: np.ndarray | None
) -> list[np.ndarray]:
    """The candidates of each query, stage after stage, by the operations that a CPU has of these."""
    table = backend.centroid_scores(store, queries)
    ids, scores = backend.best_centroids(store, table, probing.probes + 1)
    columns = (np.ascontiguousarray(ids[:, :-1]), np.ascontiguousarray(scores[:, :-1]), scores[:, -1].copy())
    pool, _ = backend.accumulate_postings(store, *columns, offsets, probing.pool, mask)
    narrowed = backend.maxsim_centroids(store, table, offsets, pool)
    kept = []
    for first, last in itertools.pairwise(pool.list_offsets.tolist()):
        best = np.argsort(-narrowed[first:last], kind="stable")[: probing.documents]
        kept.append(pool.documents[first:last][best])
    return kept


@pytest.mark.parametrize("masked", [False, True])
def test_candidates_of_a_gpu_are_those_of_the_host_with_their_exact_scores(backend: Backend, masked: bool) -> None:
    host = CpuBackend(threads=2)
    codec, segments, _, _ = random_store(dim=48, nbits=2, segment_documents=(20, 11), centroids=64, longest=12, seed=4)
    queries, offsets = queries_of((8, 0, 34), 48)
    mask = np.random.default_rng(3).integers(0, 256, 4).astype(np.uint8) if masked else None
    # A pool of whatever was found, so that no rounding decides who is in it.
    probing, k = Probing(probes=3, pool=31, documents=31), 4
    store = backend.prepare(codec, segments)
    expected = probed_by_the_host(host, host.prepare(codec, segments), queries, offsets, probing, mask)
    exact = backend.maxsim_quantized(store, queries, offsets, whole(31), "exact")
    assert isinstance(backend, ProbingBackend)
    answers = backend.best_among_probed(store, queries, offsets, k, probing, mask)
    assert answers is not None
    for (documents, scores), candidates, own in zip(answers, expected, exact, strict=True):
        best = candidates[np.argsort(-own[candidates], kind="stable")[:k]]
        assert set(best) <= set(documents.tolist()) <= set(candidates.tolist())
        np.testing.assert_array_equal(scores, own[documents])
        assert (np.diff(documents.astype(np.int64)) > 0).all()
    assert len(answers[0][0]) >= k


def test_a_gpu_that_cannot_probe_says_so_and_refuses_what_does_not_fit(backend: Backend) -> None:
    assert isinstance(backend, ProbingBackend)
    codec, segments, _, _ = random_store(dim=32, nbits=2, segment_documents=(20,))
    store = backend.prepare(codec, segments)
    queries, offsets = queries_of((3,), 32)
    assert backend.best_among_probed(store, queries, offsets, 3, Probing(16, 20, 10)) is None  # of 16 centroids
    assert backend.best_among_probed(store, queries, offsets, 5_000, Probing(2, 20, 10)) is None
    raw, of_raw, _, _ = random_store(dim=32, nbits=RAW_BITS, segment_documents=(20,))
    assert backend.best_among_probed(backend.prepare(raw, of_raw), queries, offsets, 3, Probing(2, 20, 10)) is None
    with pytest.raises(InputError, match="mask has 16 bits; the store has 20 documents"):
        backend.best_among_probed(store, queries, offsets, 3, Probing(2, 20, 10), np.zeros(2, np.uint8))
    bad = queries.copy()
    bad[0, 0] = np.inf
    with pytest.raises(InputError, match="NaN"):
        backend.best_among_probed(store, bad, offsets, 3, Probing(2, 20, 10))
    postings = segments[0].posting_documents.copy()
    postings[-1] = 20
    damaged = backend.prepare(codec, [replace(segments[0], posting_documents=postings)])
    for _ in range(2):  # and again, not an answer from what was copied of it
        with pytest.raises(CorruptIndexError, match="document 20 in its posting"):
            backend.best_among_probed(damaged, queries, offsets, 3, Probing(2, 20, 10))


def test_tables_and_stores_of_others_are_refused(backend: Backend) -> None:
    codec, segments, _, _ = random_store(dim=32, nbits=2, segment_documents=(3,))
    queries, offsets = queries_of((3,), 32)
    store, other = backend.prepare(codec, segments), backend.prepare(codec, segments)
    table = backend.centroid_scores(store, queries)
    with pytest.raises(InputError, match="prepare it with this backend"):
        backend.maxsim_quantized(REFERENCE.prepare(codec, segments), queries, offsets, whole(3))
    with pytest.raises(InputError, match="the table was made for other queries"):
        backend.maxsim_quantized(store, queries + np.float32(1), offsets, whole(3), "fast", table)
    with pytest.raises(InputError, match="the table is not one of this store"):
        backend.maxsim_centroids(other, table, offsets, whole(3))


@pytest.mark.triton
def test_a_gpu_that_is_not_there_is_an_error() -> None:
    triton_interpreted()
    from jcb_engine.kernels.cpu import CpuBackend
    from jcb_engine.kernels.triton_gpu import TritonBackend

    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    with pytest.raises(BackendUnavailableError, match="no GPU can be used"):
        TritonBackend(CpuBackend())
