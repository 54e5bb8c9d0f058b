"""A search among candidates by Triton programs, stage by stage against numpy; test_gpu_backends.py has the whole."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from jcb_engine.errors import CorruptIndexError
from jcb_engine.kernels import Backend, CodecArrays, Probing, ProbingBackend, SegmentArrays
from jcb_engine.kernels.interface import ERROR_FACTOR, ERROR_SAMPLE
from tests.kernels.cpu_backends import queries_of, whole
from tests.kernels.gpu_backends import triton_interpreted
from tests.kernels.stores import random_store
from tests.kernels.test_cpu_postings import CENTROIDS, draw_segment, posting_segment

pytestmark = pytest.mark.triton


@pytest.fixture
def backend() -> Backend:
    return triton_interpreted()


@pytest.fixture
def postings(backend: Backend) -> Any:
    """The module; imported where triton is there."""
    from jcb_engine.kernels import triton_postings

    return triton_postings


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.floats(width=32), st.integers(0, 2**32 - 1)), min_size=1, unique_by=lambda row: row[1]))
def test_keys_rise_with_the_score_and_fall_with_the_number(rows: list[tuple[float, int]]) -> None:
    from jcb_engine.kernels import triton_keys

    scores = torch.tensor([score for score, _ in rows], dtype=torch.float32)
    numbers = torch.tensor([number for _, number in rows], dtype=torch.int64)
    keys = triton_keys.best_keys(triton_keys.keys_of(scores, numbers)[None], len(rows) + 1)[0]
    known = [(-np.inf if score != score else score, number) for score, number in rows]
    expected = sorted(known, key=lambda row: (-row[0], row[1]))
    assert triton_keys.scores_of(keys).tolist() == [score for score, _ in expected]
    assert triton_keys.numbers_of(keys).tolist() == [number for _, number in expected]


@pytest.mark.parametrize("at_once", [1, 7, 14, 100])
def test_the_best_of_rows_are_found_some_rows_at_a_time(monkeypatch: pytest.MonkeyPatch, at_once: int) -> None:
    from jcb_engine.kernels import triton_keys

    monkeypatch.setattr(triton_keys, "KEYS_AT_ONCE", at_once)
    rows = np.random.default_rng(0).integers(0, 5, (5, 7)).astype(np.float32)
    keys = triton_keys.best_of_rows(torch.from_numpy(rows), 4)
    expected = np.argsort(-rows, axis=1, kind="stable")[:, :4]
    np.testing.assert_array_equal(triton_keys.numbers_of(keys), expected)
    np.testing.assert_array_equal(triton_keys.scores_of(keys), np.take_along_axis(rows, expected, axis=1))


def test_keys_of_sums_rise_with_them() -> None:
    from jcb_engine.kernels import triton_keys

    sums = torch.tensor([[5, 2**31 - 1, 0, 5]], dtype=torch.int32)
    keys = triton_keys.best_keys(triton_keys.keys_of_sums(sums, torch.arange(4)), 4)
    assert triton_keys.numbers_of(keys).tolist() == [[1, 0, 3, 2]]
    assert triton_keys.sums_of(keys).tolist() == [[2**31 - 1, 5, 5, 0]]


def gained_by_loops(
    segments: Sequence[SegmentArrays], centroids: np.ndarray, gains: np.ndarray, owners: np.ndarray, queries: int
) -> np.ndarray:
    """Sums [queries, N] of each token's largest gain among the probes that hold a document."""
    documents = sum(len(segment.doc_offsets) - 1 for segment in segments)
    sums = np.zeros((queries, documents), np.int64)
    for own, own_gains, query in zip(centroids, gains, owners, strict=True):
        best, start = np.zeros(documents, np.int64), 0
        for segment in segments:
            for centroid, gain in zip(own, own_gains, strict=True):
                first, last = segment.posting_offsets[centroid : centroid + 2]
                held = segment.posting_documents[first:last].astype(np.int64) + start
                best[held] = np.maximum(best[held], gain)
            start += len(segment.doc_offsets) - 1
        sums[query] += best
    return sums


@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_a_document_gains_of_each_token_what_its_best_probe_gains(data: st.DataObject) -> None:
    triton_interpreted()
    from jcb_engine.kernels import triton_postings

    random = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    sizes = data.draw(st.lists(st.integers(0, 40), min_size=1, max_size=3).filter(any))
    tokens, probes = data.draw(st.integers(1, 6)), data.draw(st.integers(1, 4))
    segments = [draw_segment(random, size) for size in sizes]
    centroids = random.integers(0, CENTROIDS, (tokens, probes))  # the same one twice, too
    gains = random.integers(1, 2**27, (tokens, probes)).astype(np.int32)
    owners = np.sort(random.integers(0, 2, tokens))
    bits = random.integers(0, 256, sum(sizes) // 8 + 1).astype(np.uint8) if data.draw(st.booleans()) else None
    expected = gained_by_loops(segments, centroids, gains, owners, 2)
    if bits is not None:
        expected *= np.unpackbits(bits, count=sum(sizes), bitorder="little")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(triton_postings, "BEST_BYTES", 4 * sum(sizes) * data.draw(st.integers(0, 7)))
        patch.setattr(triton_postings, "STEP", 8)
        patch.setattr(triton_postings, "_TURNS", data.draw(st.integers(1, 2)))
        patch.setattr(triton_postings, "_MOST_PARTS", data.draw(st.integers(1, 3)))
        patch.setattr(triton_postings, "CHUNK_ROWS", data.draw(st.integers(1, 50)))
        found = triton_postings.copied(segments, torch.device("cpu")).gained(
            torch.from_numpy(centroids),
            torch.from_numpy(gains),
            torch.from_numpy(owners),
            2,
            None if bits is None else torch.from_numpy(bits),
        )
    assert found.dtype == torch.int32
    np.testing.assert_array_equal(found.numpy(), expected)


def test_gains_of_a_query_have_one_unit_and_fit_together(backend: Backend) -> None:
    from jcb_engine.kernels.triton_probe import gains_of
    from jcb_engine.kernels.triton_work import QueryLayout

    offsets = np.array([0, 70, 70, 72])
    layout = QueryLayout(offsets, [1], torch.device("cpu"))
    scores = -np.sort(-np.random.default_rng(0).standard_normal((72, 4)).astype(np.float32), axis=1)
    scores[7] = 2.0  # probes that tie with the frontier
    scores[70] = [np.inf, 3.0, 1.0, 1.0]  # of a damaged centroid
    gains = gains_of(torch.from_numpy(scores), layout).numpy()
    assert gains.min() == 1
    assert (gains[7] == 1).all()
    over = (scores[:70, :3] - scores[:70, 3:]).astype(np.float64)
    np.testing.assert_allclose(gains[:70], np.maximum(over / over.max() / 70 * 2**30, 1), rtol=1e-6, atol=1)
    for first, last in itertools.pairwise(offsets):
        assert gains[first:last, 0].astype(np.int64).sum() < 2**31
    assert (np.diff(gains[:70], axis=1) <= 0).all()


def test_the_floor_of_fast_scores_is_each_querys_kth_less_four_times_its_worst_error(backend: Backend) -> None:
    from jcb_engine.kernels.triton_probe import floor_of

    nothing = -np.inf
    exact = torch.tensor([[5.0, 9.0, 7.0, nothing], [50.0, 90.0, nothing, nothing], [3.0, 2.0, nothing, nothing]])
    fast = torch.tensor([[5.25, 8.5, 7.0, nothing], [50.0, 90.0, nothing, nothing], [4.0, 2.0, nothing, nothing]])
    np.testing.assert_allclose(floor_of(exact, fast, 2).numpy(), [[7 - 4 * 0.5], [50], [2 - 4 * 1.0]], rtol=1e-6)
    assert floor_of(exact, fast, 2)[1, 0] < 50  # what a subtraction rounds
    np.testing.assert_allclose(floor_of(exact, fast, 3).numpy(), [[5 - 4 * 0.5], [nothing], [nothing]], rtol=1e-6)
    assert (floor_of(exact, fast, 5) == nothing).all()


def probed_by_numpy(
    backend: Backend, store: Any, queries: np.ndarray, offsets: np.ndarray, k: int, probing: Probing, mask: np.ndarray
) -> list[tuple[np.ndarray, np.ndarray]]:
    """What each query has to find: stages in numpy over scores of all documents, in double where they are added."""
    allowed = np.unpackbits(mask, count=store.documents, bitorder="little") == 1
    table = backend.centroid_scores(store, queries)
    everything = whole(store.documents)
    by_centroids = backend.maxsim_centroids(store, table, offsets, everything)
    fast = backend.maxsim_quantized(store, queries, offsets, everything, "fast", table)
    exact = backend.maxsim_quantized(store, queries, offsets, everything, "exact", table)
    holds = np.zeros((store.documents, len(table.to_array())), bool)
    for document, (first, last) in enumerate(itertools.pairwise(store.doc_offsets)):
        holds[document, store.ids[first:last].numpy()] = True
    answers = []
    for query, (begin, end) in enumerate(itertools.pairwise(offsets)):
        total, found = np.zeros(store.documents), np.zeros(store.documents, bool)
        for column in table.to_array().T[begin:end]:
            order = np.argsort(-column, kind="stable")
            probed, frontier = order[: probing.probes], column[order[probing.probes]]
            worth = np.where(holds[:, probed], column[probed].astype(np.float64), frontier)
            total += worth.max(axis=1, initial=frontier)
            found |= holds[:, probed].any(axis=1)

        def best(scores: np.ndarray, members: np.ndarray, count: int) -> np.ndarray:
            return members[np.argsort(-scores[members], kind="stable")[:count]]

        pool = np.sort(best(total, np.flatnonzero(found & allowed), probing.pool))
        kept = np.sort(best(by_centroids[query], pool, probing.documents))
        first = best(fast[query], kept, max(k, ERROR_SAMPLE))
        errors = np.abs(exact[query][first] - fast[query][first])
        floor = -np.inf
        if len(first) >= k:
            floor = np.sort(exact[query][first])[-k] - ERROR_FACTOR * errors.max()
        hits = kept[fast[query][kept] >= floor]
        answers.append((hits, exact[query][hits]))
    return answers


@pytest.mark.parametrize("k", [2, 17])
def test_each_stage_keeps_what_numpy_would_keep(backend: Backend, k: int) -> None:
    codec, segments, _, _ = random_store(dim=16, nbits=2, segment_documents=(20, 0), centroids=24, longest=7, seed=k)
    segments.append(segments[0])  # every document twice: the lower number has to win, at every cut
    store = backend.prepare(codec, segments)
    queries, offsets = queries_of((4, 0, 33), 16, seed=k)
    mask = np.array([0b11101111, 0b01111110, 0b11111111, 0b10111011, 0b11110111], np.uint8)
    probing = Probing(probes=3, pool=21, documents=18)
    assert isinstance(backend, ProbingBackend)
    answers = backend.best_among_probed(store, queries, offsets, k, probing, mask)
    assert answers is not None
    expected = probed_by_numpy(backend, store, queries, offsets, k, probing, mask)
    assert [len(documents) >= k for documents, _ in expected] == [k == 2, False, True]
    for found, own in zip(answers, expected, strict=True):
        assert found[0].dtype == np.uint32
        np.testing.assert_array_equal(found[0], own[0])
        np.testing.assert_array_equal(found[1], own[1])


def test_documents_that_score_worse_than_was_expected_of_them_are_left_out(backend: Backend) -> None:
    """Else all tests here could pass although everything kept was scored exactly."""
    codec, segments, _, _ = random_store(dim=16, nbits=2, segment_documents=(60,), centroids=24, longest=7)
    queries, offsets = queries_of((5,), 16)
    assert isinstance(backend, ProbingBackend)
    answers = backend.best_among_probed(backend.prepare(codec, segments), queries, offsets, 2, Probing(6, 60, 40))
    assert answers is not None
    assert 2 <= len(answers[0][0]) < 10


def test_nothing_waits_for_the_host_between_the_stages(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    from jcb_engine.kernels import triton_kernels, triton_posting_kernels, triton_probe

    class Called(TorchDispatchMode):
        def __init__(self) -> None:
            super().__init__()
            self.names: set[str] = set()

        def __torch_dispatch__(self, function: Any, types: Any, arguments: Any = (), options: Any = None) -> Any:
            self.names.add(function.overloadpacket.__name__)
            return function(*arguments, **(options or {}))

    class Launched:
        """A program that writes nothing: the interpreter itself asks for values."""

        def __getitem__(self, grid: object) -> Any:
            return lambda *arguments, **constants: None

    codec, segments, _, _ = random_store(dim=16, nbits=2, segment_documents=(20,), longest=7)
    store = backend.prepare(codec, segments)
    store.postings.get()  # type: ignore[attr-defined]
    for module in (triton_kernels, triton_posting_kernels):
        for name in ("maxsim_2bits", "maxsim_exact", "maxsim_centroids", "centroid_products", "gain_by_postings"):
            if hasattr(module, name):
                monkeypatch.setattr(module, name, Launched())
    monkeypatch.setattr(triton_probe, "answers_of", lambda keys: [])
    monkeypatch.setattr("jcb_engine.kernels.triton_gpu.answers_of", lambda keys: [])
    queries, offsets = queries_of((4, 40), 16)
    assert isinstance(backend, ProbingBackend)
    with Called() as called:
        backend.best_among_probed(store, queries, offsets, 3, Probing(2, 20, 10), np.full(3, 255, np.uint8))
    assert {"topk", "index", "amax", "cat"} <= called.names
    waiting = {"_local_scalar_dense", "nonzero", "masked_select", "equal", "is_nonzero", "_unique2", "bincount", "item"}
    assert not waiting & called.names


@pytest.mark.parametrize(
    ("places", "values", "message"),
    [
        ([0], [-1], "centroid 0 owns postings -1:2 of a segment that has 5"),
        ([1], [4], "centroid 1 owns postings 4:3 of a segment that has 5"),
        ([8], [6], "centroid 7 owns postings 5:6 of a segment that has 5"),
        ([1, 2], [2**62, 2**62], "centroid 0 owns postings 0:4611686018427387904 of a segment that has 5"),
    ],
)
def test_damaged_offsets_of_postings_are_refused(
    postings: Any, places: list[int], values: list[int], message: str
) -> None:
    segment = posting_segment(4, [[0, 1], [3], [1, 2], *[[]] * (CENTROIDS - 3)])
    postings.copied([segment], torch.device("cpu"))
    offsets = segment.posting_offsets.copy()
    offsets[places] = values
    with pytest.raises(CorruptIndexError, match=f"{message}: posting_offsets are damaged"):
        postings.copied([segment, replace(segment, posting_offsets=offsets)], torch.device("cpu"))


@pytest.mark.parametrize("chunk", [1, 2, 100])
@pytest.mark.parametrize(
    ("place", "document", "message"),
    [
        (1, 0, "centroid 0 has document 0 in its posting after 0"),
        (3, 3, "centroid 2 has document 2 in its posting after 3"),
        (2, 4, "centroid 1 has document 4 in its posting after -1"),
        (4, 2**32 - 1, "centroid 2 has document 4294967295 in its posting after 1"),
    ],
)
def test_damaged_postings_are_refused(
    postings: Any, monkeypatch: pytest.MonkeyPatch, place: int, document: int, message: str, chunk: int
) -> None:
    monkeypatch.setattr(postings, "CHUNK_ROWS", chunk)
    segment = posting_segment(4, [[0, 1], [3], [1, 2], *[[]] * (CENTROIDS - 3)])
    documents = segment.posting_documents.copy()
    documents[place] = document
    damaged = replace(segment, posting_documents=documents)
    with pytest.raises(CorruptIndexError, match=f"{message}, and the segment has 4: postings are damaged"):
        postings.copied([segment, damaged], torch.device("cpu"))


def test_postings_go_to_the_gpu_when_a_search_first_needs_them(
    backend: Backend, postings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    codec, segments, _, _ = random_store(dim=16, nbits=2, segment_documents=(4, 3), longest=4)
    store = backend.prepare(codec, segments)
    calls, copied = [], postings.copied
    monkeypatch.setattr(postings, "copied", lambda *given: (calls.append(1), copied(*given))[1])
    queries, offsets = queries_of((1,), 16)
    assert isinstance(backend, ProbingBackend)
    assert backend.best_among_probed(store, queries, offsets, 2, Probing(16, 5, 5)) is None  # it probes all centroids
    assert not calls
    for _ in range(2):
        assert backend.best_among_probed(store, queries, offsets, 2, Probing(2, 5, 5)) is not None
    assert len(calls) == 1


def test_without_room_for_postings_the_processor_has_to_find_candidates(
    backend: Backend, postings: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from jcb_engine.kernels.placement import KEPT_FREE

    codec, segments, _, _ = random_store(dim=16, nbits=2, segment_documents=(4, 3), longest=4)
    queries, offsets = queries_of((1,), 16)
    needed = postings.posting_bytes(segments) + KEPT_FREE // 2
    assert isinstance(backend, ProbingBackend)
    for free, is_there in ((needed, True), (needed - 1, False)):
        monkeypatch.setattr(postings, "free_on_device", lambda device, free=free: free)
        store = backend.prepare(codec, segments)
        with caplog.at_level(logging.WARNING):
            for _ in range(2):
                found = backend.best_among_probed(store, queries, offsets, 2, Probing(2, 5, 5))
                assert (found is not None) == is_there
        assert len(caplog.records) == (not is_there)
    assert "cpu has no room left for postings" in caplog.text


@pytest.mark.parametrize("missing", [0, 1])
def test_room_is_kept_for_postings_when_codes_are_placed(
    backend: Backend, postings: Any, monkeypatch: pytest.MonkeyPatch, missing: int
) -> None:
    from jcb_engine.kernels import triton_memory
    from jcb_engine.kernels.placement import KEPT_FREE, SCORES_A_DOCUMENT

    codec, segments, _, _ = random_store(dim=16, nbits=2, segment_documents=(4, 3), longest=4)
    codes = sum(segment.codes.nbytes for segment in segments)
    needed = codes + postings.posting_bytes(segments) + KEPT_FREE + 7 * SCORES_A_DOCUMENT
    monkeypatch.setattr(triton_memory, "free_on_device", lambda device: needed - missing)
    assert backend.prepare(codec, segments).lies_on_host == bool(missing)  # type: ignore[attr-defined]


def test_a_store_without_a_token_has_no_candidates(backend: Backend) -> None:
    codec, segments, _, _ = random_store(dim=16, nbits=2, segment_documents=(0,))
    queries, offsets = queries_of((2, 3), 16)
    assert isinstance(backend, ProbingBackend)
    for given_segments in (segments, [], [posting_of_nothing(codec)]):
        store = backend.prepare(codec, given_segments)
        answers = backend.best_among_probed(store, queries, offsets, 2, Probing(2, 5, 5))
        assert answers is not None
        assert [len(documents) for documents, _ in answers] == [0, 0]
    store = backend.prepare(codec, random_store(dim=16, nbits=2, segment_documents=(3,))[1])
    assert backend.best_among_probed(store, queries[:0], np.array([0]), 2, Probing(2, 5, 5)) == []


def posting_of_nothing(codec: CodecArrays) -> SegmentArrays:
    """Three documents without tokens, as a segment of this codec."""
    empty = random_store(dim=codec.dim, nbits=codec.nbits, segment_documents=(0,))[1][0]
    return replace(empty, doc_offsets=np.zeros(4, np.int64))
