"""Candidates out of postings, against the reference and against a loop in Python."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jcb_engine.errors import CorruptIndexError, InputError
from jcb_engine.kernels import CodecArrays, SegmentArrays
from jcb_engine.kernels.cpu import CpuBackend
from jcb_engine.kernels.reference import ReferenceBackend

CENTROIDS = 8
NOTHING = np.zeros(0, np.float16)


def posting_segment(documents: int, postings: list[list[int]]) -> SegmentArrays:
    """A segment of empty documents with these postings."""
    return SegmentArrays(
        np.zeros(documents + 1, np.int64),
        np.zeros((0, 1), np.uint8),
        np.zeros(0, np.uint16),
        NOTHING,
        NOTHING,
        np.cumsum([0, *map(len, postings)], dtype=np.int64),
        np.array([number for posting in postings for number in posting], np.uint32),
        0.0,
        0.0,
    )


CODEC = CodecArrays(
    4, 1, np.zeros((CENTROIDS, 4), np.float32), np.zeros(1, np.float32), np.array([-1.0, 1.0], np.float32)
)


def draw_segment(random: np.random.Generator, documents: int) -> SegmentArrays:
    shares = random.random((CENTROIDS, documents)) < random.random((CENTROIDS, 1))
    return posting_segment(documents, [np.flatnonzero(row).tolist() for row in shares])


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_documents_and_scores_are_those_of_the_reference(data: st.DataObject) -> None:
    random = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    sizes = data.draw(st.lists(st.integers(0, 40), max_size=4))
    query_lengths = data.draw(st.lists(st.integers(0, 5), max_size=4))
    probe_count, limit = data.draw(st.integers(0, CENTROIDS)), data.draw(st.integers(0, 60))
    segments = [draw_segment(random, size) for size in sizes]
    query_offsets = np.cumsum([0, *query_lengths], dtype=np.int64)
    rows = int(query_offsets[-1])
    probes = np.array([random.permutation(CENTROIDS)[:probe_count] for _ in range(rows)], np.int64)
    probes = probes.reshape(rows, probe_count)
    # Sixteenths add up exactly, so that ties are ties for everyone; probes come in no order, some below the frontier.
    scores = (random.integers(-8, 17, (rows, probe_count)) / 16).astype(np.float32)
    frontier = (random.integers(-8, 9, rows) / 16).astype(np.float32)
    mask = None
    if data.draw(st.booleans()):
        mask = random.integers(0, 256, sum(sizes) // 8 + 1 + data.draw(st.integers(0, 2))).astype(np.uint8)
    arguments = (probes, scores, frontier, query_offsets, limit, mask)
    backend, reference = CpuBackend(threads=2), ReferenceBackend()
    lists, found = backend.accumulate_postings(backend.prepare(CODEC, segments), *arguments)
    expected, expected_scores = reference.accumulate_postings(reference.prepare(CODEC, segments), *arguments)
    np.testing.assert_array_equal(lists.list_offsets, expected.list_offsets)
    np.testing.assert_array_equal(lists.documents, expected.documents)
    np.testing.assert_array_equal(found, expected_scores)


def test_a_segment_of_several_parts_ranks_like_a_loop() -> None:
    documents = 300_000  # the kernel takes 65,536 at a time
    random = np.random.default_rng(0)
    postings = [np.flatnonzero(random.random(documents) < 0.02).tolist() for _ in range(CENTROIDS)]
    backend = CpuBackend()
    store = backend.prepare(CODEC, [posting_segment(500, [[1]] * CENTROIDS), posting_segment(documents, postings)])
    probes = np.array([[0, 1, 2], [2, 3, 4]], np.int64)
    scores = (random.integers(1, 64, (2, 3)) / 64).astype(np.float32)
    frontier = np.array([1 / 64, 0.0], np.float32)
    lists, found = backend.accumulate_postings(store, probes, scores, frontier, np.array([0, 2], np.int64), 1000)

    total = np.zeros(documents + 500)
    held = np.zeros(documents + 500, bool)
    for row in range(2):
        best = np.full(documents + 500, frontier[row])
        for centroid, score in zip(probes[row], scores[row], strict=True):
            members = np.concatenate([[1], np.array(postings[centroid]) + 500])
            best[members] = np.maximum(best[members], score)
            held[members] = True
        total += best
    numbers = np.flatnonzero(held)
    expected = numbers[np.lexsort((numbers, -total[numbers]))][:1000]
    np.testing.assert_array_equal(lists.documents, expected)
    np.testing.assert_array_equal(found, total[expected])


def test_a_posting_out_of_order_is_found_where_parts_rely_on_it() -> None:
    documents = 300_000
    posting = [*range(0, documents, 1000), 5]
    backend = CpuBackend()
    store = backend.prepare(CODEC, [posting_segment(documents, [posting, *[[]] * (CENTROIDS - 1)])])
    with pytest.raises(CorruptIndexError, match="a posting names document 5, out of order or beyond"):
        backend.accumulate_postings(
            store, np.zeros((1, 1), np.int64), np.ones((1, 1), np.float32), np.zeros(1, np.float32), np.array([0, 1]), 9
        )


def test_calls_leave_nothing_behind() -> None:
    backend = CpuBackend(threads=1)
    store = backend.prepare(CODEC, [draw_segment(np.random.default_rng(4), 50)])
    arguments = (np.array([[0, 1], [2, 3]]), np.ones((2, 2), np.float32), np.zeros(2, np.float32), np.array([0, 2]))
    first = backend.accumulate_postings(store, *arguments, 50)
    for _ in range(20):
        lists, scores = backend.accumulate_postings(store, *arguments, 50)
        np.testing.assert_array_equal(lists.documents, first[0].documents)
        np.testing.assert_array_equal(scores, first[1])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"probe_scores": np.full((1, 1), np.nan, np.float32)}, "a probe's score is not finite"),
        ({"frontier": np.full(1, -np.inf, np.float32)}, "a frontier score is not finite"),
        ({"limit": -1}, "limit is -1; it must not be negative"),
        ({"mask": np.zeros(6, np.uint8)}, "mask has 48 bits; the store has 50 documents"),
        ({"probes": np.zeros((2, 1), np.int64)}, r"probe_scores is float32 \[1, 1\]; expected float32 \[2, 1\]"),
        ({"query_offsets": np.array([0, 2])}, "query_offsets must rise from 0 to 1"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(change: dict[str, object], message: str) -> None:
    backend = CpuBackend()
    store = backend.prepare(CODEC, [draw_segment(np.random.default_rng(4), 50)])
    arguments: dict[str, object] = {
        "probes": np.zeros((1, 1), np.int64),
        "probe_scores": np.ones((1, 1), np.float32),
        "frontier": np.zeros(1, np.float32),
        "query_offsets": np.array([0, 1], np.int64),
        "limit": 5,
        "mask": None,
    }
    with pytest.raises(InputError, match=message):
        backend.accumulate_postings(store, **{**arguments, **change})
