"""Differentiable MaxSim on a GPU, against float64 on the processor. benchmarks/gpu.sh runs it."""

from __future__ import annotations

import os

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from tests.kernels.differentiable_cases import DTYPES, assert_close, computed, expected, random_case  # noqa: E402

pytestmark = pytest.mark.gpu


@pytest.fixture(autouse=True)
def _gpu() -> None:
    if not torch.cuda.is_available():
        pytest.skip("there is no GPU here")
    if os.environ.get("TRITON_INTERPRET") == "1":
        pytest.skip("Triton's interpreter was chosen in this process: run these tests alone")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("dim", [1, 16, 64, 96, 100, 128, 256, 768, 1024])
def test_scores_and_gradients_are_those_of_float64(dim: int, dtype: torch.dtype) -> None:
    case = random_case((32, 0, 5, 33, 300), (300, 0, 1, 97, 12, 64), dim, (dtype, dtype))
    assert_close(computed(case, "cuda"), expected(case), case)


@pytest.mark.parametrize("dtype", DTYPES)
def test_ties_go_to_the_first_token(dtype: torch.dtype) -> None:
    case = random_case((40, 1, 130), (200, 0, 3, 65), 5, (dtype, dtype), whole_numbers=True)
    assert_close(computed(case, "cuda"), expected(case), case)


def test_halves_of_two_kinds_and_one_side_alone() -> None:
    case = random_case((9, 1024), (30, 2), 17, (torch.bfloat16, torch.float16))
    assert_close(computed(case, "cuda"), expected(case), case)
    alone = computed(case, "cuda", for_queries=False)
    assert alone.grad_queries is None
    assert_close(alone, expected(case), case)


@pytest.mark.parametrize("dtype", DTYPES)
def test_repeats_are_equal_bit_by_bit(dtype: torch.dtype) -> None:
    case = random_case([32] * 64, [300] * 63 + [0], 128, (dtype, dtype))
    first = computed(case, "cuda")
    for _ in range(5):
        again = computed(case, "cuda")
        assert torch.equal(first.scores, again.scores)
        assert torch.equal(first.grad_queries, again.grad_queries)
        assert torch.equal(first.grad_documents, again.grad_documents)
