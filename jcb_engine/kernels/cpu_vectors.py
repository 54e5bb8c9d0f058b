"""MaxSim of torch tensors on the processor: the native kernels, for differentiable.py.

BackendUnavailableError where the extension was not built: the reference is not taken instead.
"""

from __future__ import annotations

import numpy as np
import torch

from jcb_engine.kernels.selection import select
from jcb_engine.types import Float32Array, Int64Array


def scores(
    queries: torch.Tensor,
    query_offsets: Int64Array,
    documents: torch.Tensor,
    doc_offsets: Int64Array,
    with_winners: bool,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """As VectorKernels.scores."""
    arguments = (_array(queries), query_offsets, _array(documents), doc_offsets)
    if not with_winners:
        return torch.from_numpy(select("cpu").maxsim(*arguments)), None
    found, winners = select("cpu").maxsim_argmax(*arguments)
    return torch.from_numpy(found), torch.from_numpy(winners)


def gradients(
    grad: torch.Tensor,
    queries: torch.Tensor,
    query_offsets: Int64Array,
    documents: torch.Tensor,
    doc_offsets: Int64Array,
    winners: torch.Tensor,
    for_queries: bool,
    for_documents: bool,
) -> tuple[torch.Tensor | None, torch.Tensor | None]:
    """As VectorKernels.gradients."""
    arguments = (_array(grad), _array(queries), query_offsets, _array(documents), doc_offsets, winners.numpy())
    of_queries, of_documents = select("cpu").maxsim_backward(*arguments, for_queries, for_documents)
    return _tensor(of_queries, queries.dtype), _tensor(of_documents, documents.dtype)


def _array(tensor: torch.Tensor) -> Float32Array:
    """Its own memory where it is contiguous fp32, else a copy."""
    return np.asarray(tensor.detach().float().contiguous().numpy(), dtype=np.float32)


def _tensor(array: Float32Array | None, dtype: torch.dtype) -> torch.Tensor | None:
    return None if array is None else torch.from_numpy(array).to(dtype)
