"""MaxSim over torch tensors, with gradients: what a loss of training calls.

Scores of queries x documents need the similarities of all pairs of tokens, and a gradient only which of them won. So
the kernels keep one number for every query token and document, and never hold a similarity longer than it takes to
compare it: memory grows with queries x documents, not with their tokens.

On the processor the kernels of csrc/ compute, on a GPU those of triton_vectors.py. Importing this module raises
MissingDependencyError without torch.
"""

from __future__ import annotations

from typing import Any, Protocol, TypeAlias

import numpy as np

from jcb_engine.errors import InputError, MissingDependencyError
from jcb_engine.kernels.checks import check_offsets
from jcb_engine.types import Int64Array

try:
    import torch
    from torch.autograd.function import once_differentiable
except ImportError as error:
    raise MissingDependencyError(
        f"MaxSim of tensors needs torch ({error}): pip install 'jcb-engine[models]'"
    ) from error

Offsets: TypeAlias = "torch.Tensor | Int64Array"
_DTYPES = (torch.float32, torch.float16, torch.bfloat16)
_OFFSET_DTYPES = (np.dtype(np.int64), np.dtype(np.int32))


def maxsim(
    queries: torch.Tensor, query_offsets: Offsets, documents: torch.Tensor, doc_offsets: Offsets
) -> torch.Tensor:
    """Scores [queries, N] fp32: for each query token its best inner product with a document's tokens, summed.

    queries [Q, D] and documents [T, D]: token vectors laid end to end, without padding; fp32, fp16 or bf16, each in a
    dtype of its own if need be, contiguous or not, both on the processor or both on one GPU. query_offsets
    [queries + 1] and doc_offsets [N + 1]: int64 or int32, tensors or numpy arrays; best in host memory, since they are
    checked there (on a GPU, reading them waits for it).

    Sums are fp32 whatever the inputs are; gradients come in each input's dtype, and only for the inputs that require
    one. The first of equally good tokens wins, and it alone gets the gradient. Under no_grad and inference_mode winners
    are not kept. The same input gives the same bits, on any number of threads.

    A document without tokens scores -inf for every query; what comes back for it in the gradient is not read, so it
    can make nothing NaN. A query without tokens scores 0 for every other document. A product that is NaN never wins:
    a query token that has no other scores -inf. Where the gradient of a score is 0, it adds nothing to any vector.

    Raises InputError on other dtypes, shapes, devices or offsets; BackendUnavailableError where the kernels of the
    tensors' device cannot run here (never replaced by slower ones). A gradient of the gradient is a RuntimeError.
    """
    _check_vectors("queries", queries)
    _check_vectors("documents", documents)
    if queries.device != documents.device:
        raise InputError(
            f"queries are on {queries.device} and documents on {documents.device}; move them to one device"
        )
    if queries.shape[1] != documents.shape[1]:
        raise InputError(f"queries have {queries.shape[1]} dimensions and documents {documents.shape[1]}")
    ragged = (
        _host_offsets("query_offsets", query_offsets, len(queries)),
        _host_offsets("doc_offsets", doc_offsets, len(documents)),
    )
    kernels = kernels_of(queries.device)
    if torch.is_grad_enabled() and (queries.requires_grad or documents.requires_grad):
        scores: torch.Tensor = _MaxSim.apply(queries, documents, kernels, *ragged)  # type: ignore[no-untyped-call]
        return scores
    return kernels.scores(queries, ragged[0], documents, ragged[1], with_winners=False)[0]


class VectorKernels(Protocol):
    """What `maxsim` needs of a device, with tensors that it has checked: the modules cpu_vectors and triton_vectors."""

    def scores(
        self,
        queries: torch.Tensor,
        query_offsets: Int64Array,
        documents: torch.Tensor,
        doc_offsets: Int64Array,
        with_winners: bool,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Scores [queries, N] fp32 and, if asked for, winners [N, Q] as `Backend.maxsim_argmax` has them."""
        ...

    def gradients(
        self,
        grad: torch.Tensor,
        queries: torch.Tensor,
        query_offsets: Int64Array,
        documents: torch.Tensor,
        doc_offsets: Int64Array,
        winners: torch.Tensor,
        for_queries: bool,
        for_documents: bool,
    ) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        """Gradients of sum(grad * scores), grad [queries, N] fp32, in the dtypes of queries and documents."""
        ...


def kernels_of(device: torch.device) -> VectorKernels:
    """The kernels for tensors there. InputError where there are none; BackendUnavailableError where they cannot run."""
    if device.type == "cpu":
        from jcb_engine.kernels import cpu_vectors

        return cpu_vectors
    if device.type == "cuda":
        from jcb_engine.kernels import triton_vectors

        return triton_vectors
    raise InputError(f"the tensors are on {device}; MaxSim runs on cpu and cuda")


class _MaxSim(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        queries: torch.Tensor,
        documents: torch.Tensor,
        kernels: VectorKernels,
        query_offsets: Int64Array,
        doc_offsets: Int64Array,
    ) -> torch.Tensor:
        scores, winners = kernels.scores(queries, query_offsets, documents, doc_offsets, with_winners=True)
        ctx.save_for_backward(queries, documents, winners)
        ctx.kernels, ctx.query_offsets, ctx.doc_offsets = kernels, query_offsets, doc_offsets
        return scores

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        queries, documents, winners = ctx.saved_tensors
        for_queries, for_documents = ctx.needs_input_grad[:2]
        own = ctx.kernels.gradients(
            grad, queries, ctx.query_offsets, documents, ctx.doc_offsets, winners, for_queries, for_documents
        )
        return (*own, None, None, None)


def _check_vectors(name: str, vectors: torch.Tensor) -> None:
    if not isinstance(vectors, torch.Tensor):
        raise InputError(f"{name} is a {type(vectors).__name__}; give a torch tensor [tokens, dimensions]")
    if vectors.dtype not in _DTYPES:
        raise InputError(f"{name} is {vectors.dtype}; allowed are {', '.join(map(str, _DTYPES))}")
    if vectors.dim() != 2 or vectors.shape[1] < 1:
        raise InputError(f"{name} has shape {list(vectors.shape)}; expected [tokens, dimensions], at least 1 dimension")
    if vectors.layout != torch.strided:
        raise InputError(f"{name} is {vectors.layout}; expected a dense tensor")


def _host_offsets(name: str, offsets: Offsets, rows: int) -> Int64Array:
    """A copy: what is saved for the backward pass must not change with the caller's array."""
    given = offsets.detach().cpu().numpy() if isinstance(offsets, torch.Tensor) else np.asarray(offsets)
    if given.dtype not in _OFFSET_DTYPES:
        raise InputError(f"{name} is {given.dtype}; allowed are int64 and int32")
    own = np.array(given, dtype=np.int64, order="C")
    check_offsets(name, own, rows)
    return own
