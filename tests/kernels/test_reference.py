"""The reference backend is the specification; here it is held against loops written straight from the rules."""

import numpy as np
import pytest

from jcb_engine.errors import CorruptIndexError
from jcb_engine.kernels import CodecArrays, Lists, Ranges, SegmentArrays
from jcb_engine.kernels.reference import ReferenceBackend
from tests.conftest import brute_force, random_embeddings
from tests.kernels.stores import random_store

BACKEND = ReferenceBackend()


def query_of(tokens: int, dim: int, seed: int = 5) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((tokens, dim)).astype(np.float32)


def whole(store: object) -> Ranges:
    return Ranges(np.array([0], np.int64), np.array([store.documents], np.int64))


@pytest.mark.parametrize("nbits", [1, 2, 4, 8, 16])
def test_maxsim_over_stored_tokens_is_maxsim_over_decoded_vectors(nbits: int) -> None:
    codec, segments, decoded, offsets = random_store(dim=24, nbits=nbits, segment_documents=(30, 1, 12))
    store = BACKEND.prepare(codec, segments)
    queries = np.concatenate([query_of(7, 24), query_of(1, 24)])
    query_offsets = np.array([0, 7, 8], np.int64)
    scores = BACKEND.maxsim_quantized(store, queries, query_offsets, whole(store), "exact")
    expected = [brute_force(queries[:7], decoded, offsets), brute_force(queries[7:], decoded, offsets)]
    np.testing.assert_allclose(scores, expected, rtol=1e-4, atol=1e-4)


def test_lists_score_what_they_name() -> None:
    codec, segments, decoded, offsets = random_store(dim=16, nbits=2, segment_documents=(10, 10))
    store = BACKEND.prepare(codec, segments)
    queries, query_offsets = query_of(6, 16), np.array([0, 2, 6], np.int64)
    lists = Lists(np.array([19, 0, 3, 3], np.uint32), np.array([0, 1, 4], np.int64))
    scores = BACKEND.maxsim_quantized(store, queries, query_offsets, lists)
    first, second = brute_force(queries[:2], decoded, offsets), brute_force(queries[2:], decoded, offsets)
    np.testing.assert_allclose(scores, [first[19], second[0], second[3], second[3]], rtol=1e-4, atol=1e-4)


def test_an_empty_document_scores_minus_infinity_and_an_empty_query_zero() -> None:
    vectors, doc_offsets = query_of(3, 4), np.array([0, 0, 3], np.int64)
    scores = BACKEND.maxsim(query_of(2, 4), np.array([0, 0, 2], np.int64), vectors, doc_offsets)
    assert scores[0, 0] == -np.inf
    assert scores[1, 0] == -np.inf
    assert scores[0, 1] == 0
    assert np.isfinite(scores[1, 1])


def test_the_first_index_wins_a_tie() -> None:
    vectors = np.ones((4, 3), np.float32)
    _, argmax = BACKEND.maxsim_argmax(
        np.ones((2, 3), np.float32), np.array([0, 2], np.int64), vectors, np.array([0, 1, 4], np.int64)
    )
    np.testing.assert_array_equal(argmax, [[0, 0], [1, 1]])
    ids, _ = BACKEND.nearest_centroids(vectors, np.ones((5, 3), np.float32), 3)
    np.testing.assert_array_equal(ids, np.tile([0, 1, 2], (4, 1)))


def test_postings_are_accumulated_with_the_frontier_imputed() -> None:
    codec, segments, _, _ = random_store(dim=8, nbits=2, segment_documents=(20, 15), centroids=12)
    store = BACKEND.prepare(codec, segments)
    probes = np.array([[0, 3], [5, 1], [2, 0]], np.int64)
    probe_scores = np.array([[0.9, 0.4], [0.8, 0.7], [0.3, 0.2]], np.float32)
    frontier = np.array([0.1, 0.2, -0.5], np.float32)
    lists, scores = BACKEND.accumulate_postings(
        store, probes, probe_scores, frontier, np.array([0, 2, 3], np.int64), limit=1000
    )
    for number, rows in enumerate(([0, 1], [2])):
        expected = _accumulated(segments, probes[rows], probe_scores[rows], frontier[rows])
        members = slice(lists.list_offsets[number], lists.list_offsets[number + 1])
        found = dict(zip(lists.documents[members].tolist(), scores[members].tolist(), strict=True))
        assert found == pytest.approx(expected)
        order = [(-score, document) for document, score in found.items()]
        assert order == sorted(order)


def test_a_mask_and_a_limit_apply_inside_the_accumulation() -> None:
    codec, segments, _, _ = random_store(dim=8, nbits=2, segment_documents=(40,), centroids=4)
    store = BACKEND.prepare(codec, segments)
    arguments = (
        store,
        np.array([[0, 1, 2, 3]], np.int64),
        np.array([[0.9, 0.5, 0.4, 0.1]], np.float32),
        np.array([0.0], np.float32),
        np.array([0, 1], np.int64),
    )
    everything, _ = BACKEND.accumulate_postings(*arguments, limit=40)
    allowed = np.arange(40) % 3 == 0
    masked, _ = BACKEND.accumulate_postings(*arguments, limit=5, mask=np.packbits(allowed, bitorder="little"))
    expected = [document for document in everything.documents if allowed[document]][:5]
    np.testing.assert_array_equal(masked.documents, expected)


def test_gradients_are_those_of_autograd() -> None:
    import torch

    vectors, doc_offsets = random_embeddings(6, 5, longest=6)
    queries, query_offsets = query_of(5, 5), np.array([0, 2, 5], np.int64)
    grad = np.random.default_rng(1).standard_normal((2, 6)).astype(np.float32)
    grad[:, np.diff(doc_offsets) == 0] = 0
    _, argmax = BACKEND.maxsim_argmax(queries, query_offsets, vectors, doc_offsets)
    rows, tokens = torch.tensor(queries, requires_grad=True), torch.tensor(vectors, requires_grad=True)
    total = torch.zeros(())
    for text in range(2):
        for document in np.flatnonzero(np.diff(doc_offsets)):
            own = rows[query_offsets[text] : query_offsets[text + 1]]
            similarities = own @ tokens[doc_offsets[document] : doc_offsets[document + 1]].T
            total = total + float(grad[text, document]) * similarities.max(dim=1).values.sum()
    total.backward()
    found = BACKEND.maxsim_backward(grad, queries, query_offsets, vectors, doc_offsets, argmax)
    np.testing.assert_allclose(found[0], rows.grad, atol=1e-5)
    np.testing.assert_allclose(found[1], tokens.grad, atol=1e-5)


@pytest.mark.parametrize("damage", ["centroid", "offset", "document"])
def test_ids_outside_the_store_are_corrupt(damage: str) -> None:
    codec, (segment,), _, _ = random_store(dim=8, nbits=2, segment_documents=(10,), centroids=4)
    arrays = {name: getattr(segment, name).copy() for name in ("centroid_ids", "doc_offsets", "posting_documents")}
    if damage == "centroid":
        arrays["centroid_ids"][:] = 60_000
    elif damage == "offset":
        arrays["doc_offsets"][5] = 10**9
    document = 99 if damage == "document" else 4
    broken = SegmentArrays(**{name: getattr(segment, name) for name in SegmentArrays.__slots__} | arrays)
    store = BACKEND.prepare(codec, [broken])
    lists = Lists(np.array([document], np.uint32), np.array([0, 1], np.int64))
    with pytest.raises(CorruptIndexError):
        BACKEND.maxsim_quantized(store, query_of(2, 8), np.array([0, 2], np.int64), lists)


def _accumulated(
    segments: list[SegmentArrays], probes: np.ndarray, scores: np.ndarray, frontier: np.ndarray
) -> dict[int, float]:
    """Straight from the rule: sum over query tokens of the best probed centroid that holds d, or the frontier."""
    members: dict[int, dict[int, float]] = {}
    first = 0
    for segment in segments:
        for row in range(len(probes)):
            for centroid, score in zip(probes[row], scores[row], strict=True):
                start, end = segment.posting_offsets[centroid : centroid + 2]
                for document in segment.posting_documents[start:end]:
                    best = members.setdefault(int(document) + first, {})
                    best[row] = max(best.get(row, frontier[row]), score)
        first += len(segment.doc_offsets) - 1
    return {
        document: float(sum(best.get(row, frontier[row]) for row in range(len(probes))))
        for document, best in members.items()
    }


def test_codecs_state_their_bytes() -> None:
    nothing = np.zeros(0, np.float32)
    assert CodecArrays(100, 2, nothing.reshape(0, 100), nothing, nothing).code_bytes == 25
    assert CodecArrays(9, 4, nothing.reshape(0, 9), nothing, nothing).code_bytes == 5
