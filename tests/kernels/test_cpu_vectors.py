"""MaxSim over plain vectors, its winners and its gradient, against loops in double and torch's own gradient."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from jcb_engine.errors import InputError
from jcb_engine.kernels.cpu import CpuBackend
from jcb_engine.kernels.reference import ReferenceBackend
from tests.conftest import brute_force, random_embeddings
from tests.kernels.cpu_backends import DIMENSIONS, QUERY_LENGTHS, every_backend


def ragged_queries(lengths: tuple[int, ...], dim: int, seed: int = 5) -> tuple[np.ndarray, np.ndarray]:
    offsets = np.cumsum([0, *lengths], dtype=np.int64)
    return np.random.default_rng(seed).standard_normal((offsets[-1], dim)).astype(np.float32), offsets


@every_backend
@pytest.mark.parametrize("dim", DIMENSIONS)
@pytest.mark.parametrize("longest", [2, 30, 250])
def test_scores_are_sums_of_maxima(backend: CpuBackend, dim: int, longest: int) -> None:
    vectors, doc_offsets = random_embeddings(23, dim, longest=longest)
    queries, query_offsets = ragged_queries((32, 0, 5, 33), dim)
    scores = backend.maxsim(queries, query_offsets, vectors, doc_offsets)
    for query, (first, last) in enumerate(itertools.pairwise(query_offsets)):
        expected = brute_force(queries[first:last], vectors, doc_offsets)
        np.testing.assert_allclose(scores[query], expected, rtol=1e-5, atol=1e-4)


@every_backend
@pytest.mark.parametrize("tokens", QUERY_LENGTHS)
def test_queries_of_every_length_are_scored(backend: CpuBackend, tokens: int) -> None:
    vectors, doc_offsets = random_embeddings(9, 48)
    queries, query_offsets = ragged_queries((tokens,), 48)
    scores, argmax = backend.maxsim_argmax(queries, query_offsets, vectors, doc_offsets)
    np.testing.assert_allclose(scores[0], brute_force(queries, vectors, doc_offsets), rtol=1e-5, atol=1e-4)
    np.testing.assert_array_equal(scores, backend.maxsim(queries, query_offsets, vectors, doc_offsets))
    assert argmax.shape == (9, tokens)


@every_backend
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_the_first_of_equal_tokens_wins(backend: CpuBackend, data: st.DataObject) -> None:
    dim = data.draw(st.integers(1, 4))
    lengths = data.draw(st.lists(st.integers(0, 120), min_size=1, max_size=6))
    query_lengths = data.draw(st.lists(st.integers(0, 40), min_size=1, max_size=3))
    random = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    doc_offsets = np.cumsum([0, *lengths], dtype=np.int64)
    query_offsets = np.cumsum([0, *query_lengths], dtype=np.int64)
    vectors = random.integers(-2, 3, (doc_offsets[-1], dim)).astype(np.float32)
    queries = random.integers(-2, 3, (query_offsets[-1], dim)).astype(np.float32)
    scores, argmax = backend.maxsim_argmax(queries, query_offsets, vectors, doc_offsets)
    for document, (first, last) in enumerate(itertools.pairwise(doc_offsets)):
        if first == last:
            assert (argmax[document] == -1).all()
            assert (scores[:, document] == -np.inf).all()
            continue
        products = queries @ vectors[first:last].T
        np.testing.assert_array_equal(argmax[document], first + products.argmax(axis=1))
        sums = [products[a:b].max(axis=1).sum() for a, b in itertools.pairwise(query_offsets)]
        np.testing.assert_array_equal(scores[:, document], np.array(sums, np.float32))


@every_backend
def test_negative_similarities_are_not_beaten_by_padding(backend: CpuBackend) -> None:
    vectors = -np.ones((7, 3), np.float32)
    queries = np.ones((3, 3), np.float32)
    scores = backend.maxsim(queries, np.array([0, 3]), vectors, np.array([0, 1, 7]))
    np.testing.assert_array_equal(scores, [[-9.0, -9.0]])


@every_backend
@pytest.mark.parametrize("dim", [3, 64, 100])
def test_the_gradient_is_that_of_automatic_differentiation(backend: CpuBackend, dim: int) -> None:
    vectors, doc_offsets = random_embeddings(10, dim, longest=20)
    queries, query_offsets = ragged_queries((7, 0, 33), dim)
    _, argmax = backend.maxsim_argmax(queries, query_offsets, vectors, doc_offsets)
    grad = np.random.default_rng(1).standard_normal((3, 10)).astype(np.float32)
    grad_queries, grad_vectors = backend.maxsim_backward(grad, queries, query_offsets, vectors, doc_offsets, argmax)

    rows = torch.tensor(queries, dtype=torch.float64, requires_grad=True)
    tokens = torch.tensor(vectors, dtype=torch.float64, requires_grad=True)
    total = torch.zeros((), dtype=torch.float64)
    for query, (a, b) in enumerate(itertools.pairwise(query_offsets)):
        for document, (c, d) in enumerate(itertools.pairwise(doc_offsets)):
            if a < b and c < d:
                score = (rows[a:b] @ tokens[c:d].T).max(dim=1).values.sum()
                total = total + float(grad[query, document]) * score
    total.backward()
    np.testing.assert_allclose(grad_queries, rows.grad.numpy(), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(grad_vectors, tokens.grad.numpy(), rtol=1e-4, atol=1e-4)


def test_the_gradient_agrees_with_the_reference_on_its_own_winners() -> None:
    vectors, doc_offsets = random_embeddings(12, 16)
    queries, query_offsets = ragged_queries((5, 9), 16)
    _, argmax = ReferenceBackend().maxsim_argmax(queries, query_offsets, vectors, doc_offsets)
    grad = np.ones((2, 12), np.float32)
    arguments = (grad, queries, query_offsets, vectors, doc_offsets, argmax)
    expected = ReferenceBackend().maxsim_backward(*arguments)
    for ours, theirs in zip(CpuBackend().maxsim_backward(*arguments), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)


@every_backend
def test_a_gradient_for_one_side_is_that_of_both_whatever_the_width_of_winners(backend: CpuBackend) -> None:
    vectors, doc_offsets = random_embeddings(40, 24, longest=20)
    queries, query_offsets = ragged_queries((7, 0, 130), 24)
    _, argmax = backend.maxsim_argmax(queries, query_offsets, vectors, doc_offsets)
    assert argmax.dtype == np.int32
    grad = np.random.default_rng(1).standard_normal((3, 40)).astype(np.float32)
    given = (grad, queries, query_offsets, vectors, doc_offsets)
    both = backend.maxsim_backward(*given, argmax)
    wide = argmax.astype(np.int64)
    of_queries, nothing = backend.maxsim_backward(*given, wide, for_vectors=False)
    assert nothing is None
    nothing, of_vectors = backend.maxsim_backward(*given, wide, for_queries=False)
    assert nothing is None
    for ours, expected in zip((of_queries, of_vectors), both, strict=True):
        np.testing.assert_array_equal(ours, expected)


@every_backend
def test_long_documents_are_cut_into_blocks_without_a_gap(backend: CpuBackend) -> None:
    lengths = [1, 11, 12, 13, 47, 48, 95, 96, 97, 143, 144, 145, 299, 300, 1000]
    doc_offsets = np.cumsum([0, *lengths], dtype=np.int64)
    vectors = np.random.default_rng(2).standard_normal((doc_offsets[-1], 8)).astype(np.float32)
    queries, query_offsets = ragged_queries((33,), 8)
    scores, argmax = backend.maxsim_argmax(queries, query_offsets, vectors, doc_offsets)
    np.testing.assert_allclose(scores[0], brute_force(queries, vectors, doc_offsets), rtol=1e-5, atol=1e-4)
    for document, (first, last) in enumerate(itertools.pairwise(doc_offsets)):
        best = (queries.astype(np.float64) @ vectors[first:last].astype(np.float64).T).argmax(axis=1)
        np.testing.assert_array_equal(argmax[document], first + best)


def test_a_gradient_of_0_and_an_empty_document_add_nothing() -> None:
    vectors = np.array([[1.0], [np.inf]], np.float32)
    queries, grad = np.ones((1, 1), np.float32), np.array([[2.0, 0.0, np.nan]], np.float32)
    offsets = np.array([0, 1]), np.array([0, 1, 2, 2])
    for backend in (CpuBackend(), ReferenceBackend()):
        _, argmax = backend.maxsim_argmax(queries, offsets[0], vectors, offsets[1])
        found = backend.maxsim_backward(grad, queries, offsets[0], vectors, offsets[1], argmax)
        np.testing.assert_array_equal(found[0], [[2.0]])
        np.testing.assert_array_equal(found[1], [[2.0], [0.0]])


def test_nan_never_wins() -> None:
    vectors = np.array([[np.nan], [-3.0], [np.nan]], np.float32)
    queries = np.ones((2, 1), np.float32)
    for backend in (CpuBackend(), ReferenceBackend()):
        scores, argmax = backend.maxsim_argmax(queries, np.array([0, 2]), vectors, np.array([0, 2, 3]))
        np.testing.assert_array_equal(scores, [[-6.0, -np.inf]])
        np.testing.assert_array_equal(argmax, [[1, 1], [2, 2]])


@pytest.mark.parametrize("row", [-2, -1, 5, 2**40])
def test_a_winner_outside_its_document_is_refused(row: int) -> None:
    vectors, queries = np.ones((6, 4), np.float32), np.ones((1, 4), np.float32)
    argmax = np.array([[0], [row]], np.int64)
    with pytest.raises(InputError, match=f"argmax names row {row} for document 1, which owns rows 2:5"):
        CpuBackend().maxsim_backward(
            np.ones((1, 3), np.float32),
            queries,
            np.array([0, 1]),
            vectors,
            np.array([0, 2, 5, 6]),
            np.concatenate([argmax, [[5]]]),
        )


@pytest.mark.parametrize("offsets", [[0, 3, 2, 6], [1, 6], [0, 5], [0, 7], [-1, 6], []])
def test_offsets_that_do_not_rise_to_the_end_are_refused(offsets: list[int]) -> None:
    vectors, queries = np.ones((6, 4), np.float32), np.ones((6, 4), np.float32)
    good, bad = np.array([0, 6], np.int64), np.array(offsets, np.int64)
    with pytest.raises(InputError, match="doc_offsets must rise from 0 to 6"):
        CpuBackend().maxsim(queries, good, vectors, bad)
    with pytest.raises(InputError, match="query_offsets must rise from 0 to 6"):
        CpuBackend().maxsim(queries, bad, vectors, good)
