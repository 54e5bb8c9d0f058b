"""Differentiable MaxSim against automatic differentiation of plain torch in float64: by native kernels, and by Triton
programs in its interpreter."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jcb_engine.errors import BackendUnavailableError, InputError
from jcb_engine.kernels import cpu_vectors, differentiable
from jcb_engine.kernels.cpu import CpuBackend
from jcb_engine.kernels.differentiable import maxsim
from tests.kernels.differentiable_cases import DTYPES, Case, Result, assert_close, computed, expected, random_case

EVERY_KIND = ("cpu", pytest.param("triton", marks=pytest.mark.triton))


@pytest.fixture(params=EVERY_KIND)
def kernels(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Lets `maxsim` take these kernels for tensors on the processor."""
    if request.param == "triton":
        use_interpreter(monkeypatch)
    return str(request.param)


def use_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    if find_spec("triton") is None:
        pytest.skip("triton is not installed: pip install '.[dev]'")
    if os.environ.get("TRITON_INTERPRET") != "1":
        pytest.skip("TRITON_INTERPRET is not 1: Triton's interpreter was not chosen")
    from jcb_engine.kernels import triton_vectors

    monkeypatch.setattr(differentiable, "kernels_of", lambda device: triton_vectors)


def same_bits(first: Result, second: Result) -> bool:
    pairs = (
        (first.scores, second.scores),
        (first.grad_queries, second.grad_queries),
        (first.grad_documents, second.grad_documents),
    )
    return all(torch.equal(a, b) for a, b in pairs if a is not None and b is not None)


# ------------------------------------------------------------------------------------------------ against float64
@st.composite
def cases(draw: st.DrawFn) -> Case:
    return random_case(
        draw(st.lists(st.integers(0, 40), max_size=3)),
        draw(st.lists(st.integers(0, 80), max_size=4)),
        draw(st.integers(1, 9)),
        (draw(st.sampled_from(DTYPES)), draw(st.sampled_from(DTYPES))),
        draw(st.integers(0, 2**31)),
        whole_numbers=True,
    )


@settings(max_examples=150, deadline=None)
@given(case=cases())
def test_whole_numbers_give_exactly_the_scores_and_gradients_of_float64_ties_included(case: Case) -> None:
    found, wanted = computed(case), expected(case)
    torch.testing.assert_close(found.scores, wanted.scores.float(), rtol=0, atol=0)
    for ours, theirs in (
        (found.grad_queries, wanted.grad_queries),
        (found.grad_documents, wanted.grad_documents),
    ):
        assert ours is not None
        assert theirs is not None
        torch.testing.assert_close(ours, theirs.to(ours.dtype), rtol=0, atol=0)


@pytest.mark.triton
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(case=cases())
def test_the_programs_give_them_too(monkeypatch: pytest.MonkeyPatch, case: Case) -> None:
    use_interpreter(monkeypatch)
    assert_close(computed(case), expected(case), case)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("dim", [1, 2, 64, 96, 100, 768, 1024])
def test_every_dimension_and_dtype_is_that_of_float64(dim: int, dtype: torch.dtype) -> None:
    case = random_case((32, 0, 5, 33), (300, 0, 1, 97, 12), dim, (dtype, dtype))
    assert_close(computed(case), expected(case), case)


@pytest.mark.triton
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("dim", [1, 64, 200])
def test_the_programs_take_every_dimension_and_dtype(
    monkeypatch: pytest.MonkeyPatch, dim: int, dtype: torch.dtype
) -> None:
    use_interpreter(monkeypatch)
    case = random_case((32, 0, 5), (70, 0, 1, 33), dim, (dtype, dtype))
    assert_close(computed(case), expected(case), case)


@pytest.mark.parametrize("tokens", [1, 2, 31, 32, 33, 129, 1024])
def test_queries_of_every_length(kernels: str, tokens: int) -> None:
    case = random_case((tokens, 3), (40, 1) if kernels == "triton" else (40, 1, 350), 24)
    assert_close(computed(case), expected(case), case)


def test_both_sides_may_have_halves_of_another_kind(kernels: str) -> None:
    case = random_case((9,), (30, 2), 17, (torch.bfloat16, torch.float16))
    found = computed(case)
    assert_close(found, expected(case), case)
    assert found.grad_queries is not None
    assert found.grad_documents is not None
    assert (found.grad_queries.dtype, found.grad_documents.dtype) == (torch.bfloat16, torch.float16)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("elements", [1, 24 * 40, 24 * 100])
def test_halves_are_widened_in_parts_of_any_size(
    monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype, elements: int
) -> None:
    case = random_case((9, 0, 33), (0, 40, 0, 0, 1, 60, 40, 39, 0), 24, (dtype, dtype), whole_numbers=True)
    whole = computed(case)
    monkeypatch.setattr(cpu_vectors, "PART_ELEMENTS", elements)
    assert same_bits(computed(case), whole)  # whole numbers: their sums are exact in any order


# ----------------------------------------------------------------------------------------------------------- the rules
def test_the_first_of_equal_tokens_gets_the_whole_gradient(kernels: str) -> None:
    queries = torch.ones(2, 3)
    documents = torch.ones(70, 3, requires_grad=True)  # more rows than a block
    maxsim(queries, np.array([0, 2]), documents, np.array([0, 70])).sum().backward()
    assert documents.grad is not None
    assert torch.equal(documents.grad[0], torch.full((3,), 2.0))
    assert not documents.grad[1:].any()


def test_an_empty_document_scores_minus_infinity_and_makes_nothing_nan(kernels: str) -> None:
    case = random_case((4, 7), (5, 0, 9, 0), 8)
    queries, documents = case.queries.requires_grad_(), case.documents.requires_grad_()
    scores = maxsim(queries, case.query_offsets, documents, case.doc_offsets)
    assert (scores[:, [1, 3]] == -torch.inf).all()
    torch.nn.functional.cross_entropy(scores, torch.tensor([0, 2])).backward()
    assert queries.grad is not None
    assert documents.grad is not None
    assert queries.grad.isfinite().all()
    assert documents.grad.isfinite().all()
    grad = case.grad.clone()
    grad[:, [1, 3]] = torch.nan
    assert same_bits(computed(replace(case, grad=grad)), computed(case))


def test_a_query_without_tokens_scores_0(kernels: str) -> None:
    case = random_case((0, 3, 0), (5, 0), 4)
    scores = computed(case).scores
    assert torch.equal(scores[[0, 2]], torch.tensor([[0.0, -torch.inf]] * 2))


@pytest.mark.parametrize(
    ("query_lengths", "doc_lengths"), [((), (3,)), ((3,), ()), ((), ()), ((0,), (0,)), ((2,), (0,))]
)
def test_nothing_is_scored_without_texts_or_tokens(
    kernels: str, query_lengths: tuple[int, ...], doc_lengths: tuple[int, ...]
) -> None:
    case = random_case(query_lengths, doc_lengths, 4)
    found = computed(case)
    assert found.scores.shape == (len(query_lengths), len(doc_lengths))
    for gradient, vectors in ((found.grad_queries, case.queries), (found.grad_documents, case.documents)):
        assert gradient is not None
        assert gradient.shape == vectors.shape
        assert not gradient.any()


def test_negative_similarities_are_not_beaten_by_padding(kernels: str) -> None:
    scores = maxsim(torch.ones(3, 3), np.array([0, 3]), -torch.ones(7, 3), np.array([0, 1, 7]))
    assert torch.equal(scores, torch.full((1, 2), -9.0))


def test_nan_never_wins(kernels: str) -> None:
    case = random_case((4,), (6, 3), 5)
    documents = case.documents.clone()
    documents[2] = torch.nan
    documents[6:] = torch.nan
    found = computed(replace(case, documents=documents))
    kept = [0, 1, 3, 4, 5]
    without = expected(replace(case, documents=case.documents[kept], doc_offsets=np.array([0, 5, 5])))
    torch.testing.assert_close(found.scores.double(), without.scores)
    assert found.grad_documents is not None
    assert not found.grad_documents[2].any()


@pytest.mark.filterwarnings("ignore:invalid value encountered in matmul")  # of infinities, in the interpreter
def test_a_score_whose_gradient_is_0_adds_nothing(kernels: str) -> None:
    case = random_case((4, 2), (6, 3), 5)
    documents = case.documents.clone()
    documents[6:] = torch.inf
    grad = case.grad.clone()
    grad[:, 1] = 0.0
    found = computed(replace(case, documents=documents, grad=grad))
    assert found.grad_queries is not None
    assert found.grad_queries.isfinite().all()


# ---------------------------------------------------------------------------------------------- what autograd asks for
@pytest.mark.parametrize("side", ["queries", "documents"])
def test_a_gradient_for_one_side_alone_is_that_of_both(kernels: str, side: str) -> None:
    case = random_case((9, 3), (20, 8), 12)
    alone = computed(case, for_queries=side == "queries", for_documents=side == "documents")
    assert (alone.grad_queries is None) == (side == "documents")
    assert (alone.grad_documents is None) == (side == "queries")
    assert same_bits(alone, computed(case))


def test_tensors_need_not_be_contiguous(kernels: str) -> None:
    case = random_case((6, 3), (17, 5), 16)
    wide = case.queries.repeat_interleave(2, dim=1).requires_grad_()
    turned = case.documents.T.contiguous().requires_grad_()
    maxsim(wide[:, ::2], case.query_offsets, turned.T, case.doc_offsets).backward(case.grad)
    wanted = computed(case)
    assert wide.grad is not None
    assert turned.grad is not None
    assert torch.equal(wide.grad[:, ::2], wanted.grad_queries)
    assert not wide.grad[:, 1::2].any()
    assert torch.equal(turned.grad.T, wanted.grad_documents)


def test_repeated_calls_give_the_same_bits(kernels: str) -> None:
    case = random_case((32, 7), (50, 0, 30), 40)
    first = computed(case)
    assert all(same_bits(first, computed(case)) for _ in range(3))


@pytest.mark.parametrize("threads", [1, 2, 3, 7])
def test_any_number_of_threads_gives_the_same_bits(monkeypatch: pytest.MonkeyPatch, threads: int) -> None:
    case = random_case([32] * 5 + [1], [60] * 9 + [0, 3], 70)
    wanted = computed(case)
    backend = CpuBackend(threads=threads)
    monkeypatch.setattr(cpu_vectors, "select", lambda name: backend)
    assert same_bits(computed(case), wanted)


class Recorded:
    """Kernels that note whether winners were asked for."""

    def __init__(self) -> None:
        self.asked: list[bool] = []

    def scores(self, *arguments: Any, with_winners: bool) -> tuple[torch.Tensor, torch.Tensor | None]:
        self.asked.append(with_winners)
        return cpu_vectors.scores(*arguments, with_winners=with_winners)


def test_winners_are_kept_only_for_a_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    recorded = Recorded()
    monkeypatch.setattr(differentiable, "kernels_of", lambda device: recorded)
    case = random_case((4,), (5, 6), 8)
    arguments = (case.query_offsets, case.documents, case.doc_offsets)
    plain = maxsim(case.queries, *arguments)
    asking = case.queries.clone().requires_grad_()
    with torch.no_grad():
        assert torch.equal(maxsim(asking, *arguments), plain)
    with torch.inference_mode():
        assert torch.equal(maxsim(asking, *arguments), plain)
    assert recorded.asked == [False, False, False]
    kept = maxsim(asking, *arguments)
    assert recorded.asked[-1] is True
    winners = kept.grad_fn.saved_tensors[2]  # type: ignore[union-attr]
    assert winners.dtype == torch.int32
    assert winners.shape == (2, 4)


def test_a_gradient_of_the_gradient_is_refused(kernels: str) -> None:
    case = random_case((4,), (5, 6), 8)
    queries = case.queries.requires_grad_()
    scores = maxsim(queries, case.query_offsets, case.documents, case.doc_offsets)
    (gradient,) = torch.autograd.grad(scores.square().sum(), queries, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


def test_offsets_may_be_tensors_or_arrays_and_change_afterwards(kernels: str) -> None:
    case = random_case((4, 3), (5, 6), 8)
    wanted = computed(case)
    queries = case.queries.clone().requires_grad_()
    query_offsets = torch.from_numpy(case.query_offsets).to(torch.int32)
    doc_offsets = torch.from_numpy(case.doc_offsets.copy())
    scores = maxsim(queries, query_offsets, case.documents, doc_offsets)
    doc_offsets.zero_()
    query_offsets.zero_()
    scores.backward(case.grad)
    assert torch.equal(scores.detach(), wanted.scores)
    assert torch.equal(queries.grad, wanted.grad_queries)


# ------------------------------------------------------------------------------------------------------------ refusals
@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"queries": torch.ones(6, 4, dtype=torch.float64)}, "queries is torch.float64; allowed are torch.float32"),
        ({"documents": torch.ones(6, 4, dtype=torch.int64)}, "documents is torch.int64; allowed are"),
        ({"queries": np.ones((6, 4), np.float32)}, "queries is a ndarray; give a torch tensor"),
        ({"queries": torch.ones(6, 2, 2)}, r"queries has shape \[6, 2, 2\]; expected \[tokens, dimensions\]"),
        ({"documents": torch.ones(6, 5)}, "queries have 4 dimensions and documents 5"),
        ({"queries": torch.ones(6, 0), "documents": torch.ones(6, 0)}, "at least 1 dimension"),
        ({"queries": torch.ones(6, 4).to_sparse()}, "queries is torch.sparse_coo; expected a dense tensor"),
        ({"documents": torch.ones(6, 4, device="meta")}, "queries are on cpu and documents on meta; move them to one"),
        ({name: torch.ones(6, 4, device="meta") for name in ("queries", "documents")}, "MaxSim runs on cpu and cuda"),
        ({"doc_offsets": np.array([0, 3, 2, 6])}, "doc_offsets must rise from 0 to 6"),
        ({"doc_offsets": np.array([0, 5])}, "doc_offsets must rise from 0 to 6"),
        ({"query_offsets": torch.tensor([1, 6])}, "query_offsets must rise from 0 to 6"),
        ({"query_offsets": np.array([], np.int64)}, "query_offsets must rise from 0 to 6"),
        ({"query_offsets": np.array([0.0, 6.0])}, "query_offsets is float64; allowed are int64 and int32"),
        ({"query_offsets": np.array([[0, 6]])}, "query_offsets"),
    ],
)
def test_what_cannot_be_scored_is_refused(changed: dict[str, Any], message: str) -> None:
    good = {
        "queries": torch.ones(6, 4),
        "query_offsets": np.array([0, 6]),
        "documents": torch.ones(6, 4),
        "doc_offsets": np.array([0, 6]),
    }
    with pytest.raises(InputError, match=message):
        maxsim(**(good | changed))


def test_a_gpu_without_triton_is_not_replaced_by_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    import jcb_engine.kernels

    for name in [name for name in sys.modules if name == "triton" or name.startswith("triton.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "triton", None)
    for name in ("triton_vectors", "triton_vector_kernels"):
        monkeypatch.delitem(sys.modules, f"jcb_engine.kernels.{name}", raising=False)
        monkeypatch.delattr(jcb_engine.kernels, name, raising=False)
    with pytest.raises(BackendUnavailableError, match=r"needs triton .*pip install 'jcb-engine\[gpu\]'"):
        differentiable.kernels_of(torch.device("cuda"))
