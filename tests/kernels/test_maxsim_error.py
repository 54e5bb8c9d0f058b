"""Scores are no farther from float64 than twice what plain torch is in their dtype: root mean square over documents."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from jcb_engine.kernels import RAW_BITS, Ranges
from jcb_engine.kernels.cpu import CpuBackend
from jcb_engine.kernels.differentiable import maxsim
from tests.kernels.cpu_backends import queries_of
from tests.kernels.differentiable_cases import DTYPES, random_case
from tests.kernels.gpu_backends import GPU_BACKENDS, gpu_backend
from tests.kernels.stores import random_store
from tests.kernels.test_differentiable import EVERY_KIND, use_interpreter


def plain_scores(queries: torch.Tensor, vectors: torch.Tensor, doc_offsets: np.ndarray) -> np.ndarray:
    """Scores [N] of one query, in the dtype of the tensors."""
    products = queries @ vectors.T
    parts = itertools.pairwise(doc_offsets.tolist())
    return np.array([float(products[:, first:last].max(dim=1).values.sum()) for first, last in parts])


def error(scores: np.ndarray, expected: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(scores.astype(np.float64) - expected))))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("kind", EVERY_KIND)
def test_scores_of_tensors(kind: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    if kind == "triton":
        use_interpreter(monkeypatch)
    case = random_case([32], [130] * 60, 128, (dtype, dtype), seed=3)
    scores = maxsim(case.queries, case.query_offsets, case.documents, case.doc_offsets)[0]
    expected = plain_scores(case.queries.double(), case.documents.double(), case.doc_offsets)
    plain = error(plain_scores(case.queries, case.documents, case.doc_offsets), expected)
    assert 0 < error(scores.float().numpy(), expected) <= 2 * plain


@pytest.mark.parametrize("nbits", [1, 2, 4, 8, RAW_BITS])
@pytest.mark.parametrize("name", [*GPU_BACKENDS, "cpu"])
def test_exact_scores_of_stored_vectors(name: str, nbits: int) -> None:
    backend = CpuBackend(threads=2) if name == "cpu" else gpu_backend(name)
    codec, segments, decoded, doc_offsets = random_store(dim=128, nbits=nbits, segment_documents=(25,), longest=60)
    queries, offsets = queries_of((32,), 128)
    there = np.flatnonzero(np.diff(doc_offsets))
    scores = backend.maxsim_quantized(
        backend.prepare(codec, segments), queries, offsets, Ranges(np.array([0]), np.array([25])), "exact"
    )[0]
    vectors, query = torch.from_numpy(decoded.astype(np.float64)), torch.from_numpy(queries)
    filled = np.concatenate([[0], doc_offsets[1:][there]])  # documents without tokens have no maximum
    expected = plain_scores(query.double(), vectors, filled)
    plain = error(plain_scores(query, vectors.float(), filled), expected)
    assert error(scores[there], expected) <= 2 * plain
