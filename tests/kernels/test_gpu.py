"""The GPU backends on a GPU, against double precision. benchmarks/gpu.sh runs them."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from benchmarks.gpu.store import expected_score, random_queries, random_segment
from jcb_engine.errors import BackendUnavailableError
from jcb_engine.kernels.interface import (
    RAW_BITS,
    AssigningBackend,
    Backend,
    Lists,
    Probing,
    ProbingBackend,
    Ranges,
    ScanningBackend,
)
from jcb_engine.kernels.reference import ReferenceBackend
from tests.kernels.code_cases import check_codes, coded_tokens

pytestmark = pytest.mark.gpu


@pytest.fixture(params=["triton", "cuda"], scope="module")
def backend(request: pytest.FixtureRequest) -> Backend:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    if not torch.cuda.is_available():
        pytest.skip("there is no GPU here")
    if os.environ.get("TRITON_INTERPRET") == "1":
        pytest.skip("Triton's interpreter was chosen in this process: run these tests alone")
    try:
        if request.param == "triton":
            from jcb_engine.kernels.triton_gpu import TritonBackend

            return TritonBackend(ReferenceBackend())
        from jcb_engine.kernels.cuda_gpu import CudaBackend
        from jcb_engine.kernels.cuda_library import LIBRARY

        return CudaBackend(ReferenceBackend(), library=Path(os.environ.get("JCB_CUDA_LIBRARY") or LIBRARY))
    except BackendUnavailableError as error:
        if request.param == "cuda" and os.environ.get("JCB_CUDA_LIBRARY"):
            raise  # it was built here, for this GPU
        pytest.skip(str(error))


@pytest.mark.parametrize("nbits", [1, 2, 4, 8, RAW_BITS])
@pytest.mark.parametrize("dim", [16, 64, 96, 128, 256])
@pytest.mark.parametrize(("count", "tokens"), [(1, 32), (1, 5), (1, 300), (9, 32)])
def test_scores_are_those_of_double_precision(backend: Backend, dim: int, nbits: int, count: int, tokens: int) -> None:
    codec, segment = random_segment(20_000, nbits, dim, centroids=300, mean_length=70)
    store = backend.prepare(codec, [segment])
    queries, offsets = random_queries(count, tokens, dim)
    every = Ranges(np.array([0]), np.array([store.documents]))
    exact = backend.maxsim_quantized(store, queries, offsets, every, "exact")
    fast = backend.maxsim_quantized(store, queries, offsets, every)
    assert (np.abs(fast - exact) <= backend.score_error_bound(store, queries, offsets)[:, None]).all()
    for document in range(0, store.documents, 17):
        for query in range(count):
            rows = queries[offsets[query] : offsets[query + 1]]
            expected = expected_score(codec, segment, document, rows)
            assert exact[query, document] == pytest.approx(expected, abs=1e-5 * tokens)


@pytest.mark.parametrize("nbits", [1, 2, 4, 8])
@pytest.mark.parametrize("dim", [16, 96, 128, 768])
def test_codes_are_the_references_but_for_ties(backend: Backend, dim: int, nbits: int) -> None:
    check_codes(backend, *coded_tokens(3_000, dim, nbits))


def test_repeats_are_equal_bit_by_bit_and_lists_are_ranges(backend: Backend) -> None:
    codec, segment = random_segment(200_000, centroids=1000)
    store = backend.prepare(codec, [segment])
    queries, offsets = random_queries(1)
    every = Ranges(np.array([0]), np.array([store.documents]))
    listed = Lists(np.arange(store.documents, dtype=np.uint32), np.array([0, store.documents]))
    for precision in ("fast", "exact"):
        first = backend.maxsim_quantized(store, queries, offsets, every, precision)
        for _ in range(3):
            np.testing.assert_array_equal(first, backend.maxsim_quantized(store, queries, offsets, every, precision))
        np.testing.assert_array_equal(first[0], backend.maxsim_quantized(store, queries, offsets, listed, precision))


def test_codes_in_host_memory_have_the_same_scores_bit_by_bit(backend: Backend) -> None:
    codec, segment = random_segment(200_000, centroids=1000)
    there = backend.prepare(codec, [segment])
    here = backend.prepare(codec, [segment], most_on_device=0)  # type: ignore[call-arg]
    assert here.lies_on_host  # type: ignore[attr-defined]
    every = Ranges(np.array([0]), np.array([there.documents]))
    listed = Lists(np.arange(0, there.documents, 3, dtype=np.uint32), np.array([0, -(-there.documents // 3)]))
    queries, offsets = random_queries(1)
    for candidates in (every, listed):
        for precision in ("fast", "exact"):
            np.testing.assert_array_equal(
                backend.maxsim_quantized(there, queries, offsets, candidates, precision),
                backend.maxsim_quantized(here, queries, offsets, candidates, precision),
            )


@pytest.fixture
def assigning(backend: Backend) -> AssigningBackend:
    if not isinstance(backend, AssigningBackend):
        pytest.skip(f"{backend.name} compresses nothing")
    return backend


def test_vectors_that_go_up_while_others_are_encoded_get_the_codes_they_would_get_alone(
    assigning: AssigningBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    from jcb_engine.kernels import triton_building

    vectors, _, codec = coded_tokens(200_000, 96, 4)
    found = assigning.encode(vectors, codec)
    for at_once in (len(vectors), 4_000, 999):  # small parts: many are under way at the same time
        monkeypatch.setattr(triton_building, "ROWS_AT_ONCE", at_once)
        for array, wanted in zip(assigning.encode(vectors, codec), found, strict=True):
            np.testing.assert_array_equal(array, wanted)


def test_training_gives_the_same_bits_wherever_the_vectors_lie_and_however_they_are_parted(
    assigning: AssigningBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    from jcb_engine.kernels import triton_sample

    vectors = coded_tokens(100_000, 96, 4)[0]
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-30)
    centroids = vectors[5:2_005].copy()
    held = assigning.hold(vectors)
    expected = (*held.means(centroids), held.squared_distances(centroids))
    own = vectors[expected[1] == 7].mean(axis=0, dtype=np.float64)
    np.testing.assert_allclose(expected[0][7], own, atol=1e-6)
    monkeypatch.setattr(triton_sample, "ROWS_AT_ONCE", 3_000)
    for room in (None, 0):
        parted = assigning.hold(vectors, room)  # type: ignore[call-arg]
        for array, wanted in zip(
            (*parted.means(centroids), parted.squared_distances(centroids)), expected, strict=True
        ):
            np.testing.assert_array_equal(array, wanted)


@pytest.mark.parametrize("nbits", [1, 2, 4, 8, RAW_BITS])
def test_the_best_of_all_are_found_with_their_exact_scores(backend: Backend, nbits: int) -> None:
    codec, segment = random_segment(700_000, nbits, 64, centroids=1000, mean_length=8)  # more than 65,536 documents
    store = backend.prepare(codec, [segment])
    every = Ranges(np.array([0]), np.array([store.documents]))
    mask = np.random.default_rng(1).integers(0, 256, -(-store.documents // 8)).astype(np.uint8)
    allowed = np.unpackbits(mask, count=store.documents, bitorder="little") == 1
    assert isinstance(backend, ScanningBackend)
    for count, k, masked in ((1, 10, False), (1, 300, True), (9, 10, True)):
        queries, offsets = random_queries(count, 40, 64)
        answers = backend.best_of_all(store, queries, offsets, k, mask if masked else None)
        assert answers is not None
        for query, (documents, scores) in enumerate(answers):
            rows = queries[offsets[query] : offsets[query + 1]]
            own = backend.maxsim_quantized(store, rows, np.array([0, len(rows)]), every, "exact")[0]
            np.testing.assert_array_equal(scores, own[documents])
            own = np.where(allowed, own, -np.inf) if masked else own
            np.testing.assert_array_equal(np.sort(own)[-k:], np.sort(own[documents])[-k:])


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("count", [1, 16])
def test_candidates_are_those_of_the_stages_and_the_same_every_time(backend: Backend, count: int, masked: bool) -> None:
    codec, segment = random_segment(400_000, centroids=1000, mean_length=40)
    store = backend.prepare(codec, [segment])
    queries, offsets = random_queries(count, 40)
    mask = np.random.default_rng(1).integers(0, 256, -(-store.documents // 8)).astype(np.uint8) if masked else None
    assert isinstance(backend, ProbingBackend)
    # All that is found is scored, so that no rounding decides who is.
    probing = Probing(probes=4, pool=store.documents, documents=store.documents)
    answers = backend.best_among_probed(store, queries, offsets, 10, probing, mask)
    assert answers is not None
    table = backend.centroid_scores(store, queries)
    ids, scores = backend.best_centroids(store, table, 5)
    columns = (np.ascontiguousarray(ids[:, :-1]), np.ascontiguousarray(scores[:, :-1]), scores[:, -1].copy())
    pool, _ = backend.accumulate_postings(store, *columns, offsets, store.documents, mask)
    exact = backend.maxsim_quantized(store, queries, offsets, pool, "exact")
    for query, (documents, found) in enumerate(answers):
        own = slice(pool.list_offsets[query], pool.list_offsets[query + 1])
        expected = dict(zip(pool.documents[own].tolist(), exact[own].tolist(), strict=True))
        best = sorted(expected, key=lambda document: -expected[document])[:10]
        assert set(best) <= set(documents.tolist()) <= set(expected)
        np.testing.assert_array_equal(found, [expected[document] for document in documents.tolist()])
    narrow = Probing(probes=4, pool=500, documents=200)
    first = backend.best_among_probed(store, queries, offsets, 10, narrow, mask)
    assert first is not None
    for _ in range(3):
        again = backend.best_among_probed(store, queries, offsets, 10, narrow, mask)
        assert again is not None
        for one, other in zip(first, again, strict=True):
            np.testing.assert_array_equal(one[0], other[0])
            np.testing.assert_array_equal(one[1], other[1])
