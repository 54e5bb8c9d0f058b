"""MaxSim and its gradient in plain torch and float64, and inputs to compare with it: torch and numpy alone."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from jcb_engine.kernels.differentiable import maxsim

# Rounding of a result to its dtype, relative. Of halves a whole last place: Triton's interpreter cuts off.
ROUNDING = {torch.float32: 2e-5, torch.float16: 2.0**-10, torch.bfloat16: 2.0**-7}
DTYPES = tuple(ROUNDING)


@dataclass(frozen=True)
class Case:
    """Ragged texts, and the gradient [queries, N] of their scores."""

    queries: torch.Tensor
    query_offsets: np.ndarray
    documents: torch.Tensor
    doc_offsets: np.ndarray
    grad: torch.Tensor


@dataclass(frozen=True)
class Result:
    scores: torch.Tensor
    grad_queries: torch.Tensor | None
    grad_documents: torch.Tensor | None


def random_case(
    query_lengths: Sequence[int],
    doc_lengths: Sequence[int],
    dim: int,
    dtypes: tuple[torch.dtype, torch.dtype] = (torch.float32, torch.float32),
    seed: int = 0,
    whole_numbers: bool = False,
) -> Case:
    """Unit vectors, or small whole numbers, whose products are exact in every dtype and often equal."""
    generator = torch.Generator().manual_seed(seed)

    def vectors(rows: int, dtype: torch.dtype) -> torch.Tensor:
        if whole_numbers:
            return torch.randint(-2, 3, (rows, dim), generator=generator).to(dtype)
        return torch.nn.functional.normalize(torch.randn(rows, dim, generator=generator), dim=1).to(dtype)

    shape = (len(query_lengths), len(doc_lengths))
    grad = torch.randint(-2, 3, shape, generator=generator).float() if whole_numbers else torch.randn(shape)
    return Case(
        vectors(sum(query_lengths), dtypes[0]),
        np.cumsum([0, *query_lengths], dtype=np.int64),
        vectors(sum(doc_lengths), dtypes[1]),
        np.cumsum([0, *doc_lengths], dtype=np.int64),
        grad,
    )


def expected(case: Case) -> Result:
    """By torch's automatic differentiation in float64, the first of equal tokens the winner."""
    rows = case.queries.detach().double().cpu().requires_grad_()
    tokens = case.documents.detach().double().cpu().requires_grad_()
    scores = torch.full(case.grad.shape, -torch.inf, dtype=torch.float64)
    total = (rows.sum() + tokens.sum()) * 0.0
    for query, (a, b) in enumerate(itertools.pairwise(case.query_offsets)):
        for document, (c, d) in enumerate(itertools.pairwise(case.doc_offsets)):
            if c == d:
                continue
            similarities = torch.einsum("id,jd->ij", rows[a:b], tokens[c:d])
            first = torch.from_numpy(similarities.detach().numpy().argmax(axis=1))
            score = similarities.gather(1, first[:, None]).sum()
            scores[query, document] = score.detach()
            total = total + case.grad[query, document].double() * score
    total.backward()
    return Result(scores, rows.grad, tokens.grad)


def computed(case: Case, device: str = "cpu", for_queries: bool = True, for_documents: bool = True) -> Result:
    """By `maxsim`, brought back to the processor."""
    queries = case.queries.detach().to(device).requires_grad_(for_queries)
    documents = case.documents.detach().to(device).requires_grad_(for_documents)
    scores = maxsim(queries, case.query_offsets, documents, case.doc_offsets)
    assert scores.dtype == torch.float32
    assert scores.device == queries.device
    scores.backward(case.grad.to(device))
    grads = (None if vectors.grad is None else vectors.grad.cpu() for vectors in (queries, documents))
    return Result(scores.detach().cpu(), *grads)


def assert_close(found: Result, wanted: Result, case: Case) -> None:
    """Scores within the rounding of fp32 sums, gradients within that of their dtype."""
    longest = max([1, *np.diff(case.query_offsets)])
    torch.testing.assert_close(found.scores.double(), wanted.scores, rtol=2e-6, atol=2e-6 * longest)
    sides = (
        (found.grad_queries, wanted.grad_queries, case.queries),
        (found.grad_documents, wanted.grad_documents, case.documents),
    )
    for ours, theirs, vectors in sides:
        if ours is None:
            continue
        assert ours.dtype == vectors.dtype
        assert theirs is not None
        torch.testing.assert_close(ours.double(), theirs, rtol=ROUNDING[vectors.dtype], atol=2e-5)
