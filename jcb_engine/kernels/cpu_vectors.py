"""MaxSim of torch tensors on the processor: the native kernels, for differentiable.py.

They read fp32. Documents in halves are widened some at a time, so that no copy of all of them is made.
BackendUnavailableError where the extension was not built: the reference is not taken instead.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from jcb_engine.kernels.interface import no_winners
from jcb_engine.kernels.selection import select
from jcb_engine.types import Float32Array, Int64Array

PART_ELEMENTS = 2**22  # of halves that are widened at once: 16 MiB, and the queries are laid out anew for each


def scores(
    queries: torch.Tensor,
    query_offsets: Int64Array,
    documents: torch.Tensor,
    doc_offsets: Int64Array,
    with_winners: bool,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """As VectorKernels.scores."""
    backend, rows, count = select("cpu"), _array(queries), len(doc_offsets) - 1
    found = np.empty((len(query_offsets) - 1, count), dtype=np.float32)
    winners = no_winners(count if with_winners else 0, len(queries), len(documents))
    for first, last in _parts(documents, doc_offsets):
        begin, end = doc_offsets[first], doc_offsets[last]
        part = (rows, query_offsets, _array(documents[begin:end]), doc_offsets[first : last + 1] - begin)
        if with_winners:
            found[:, first:last], own = backend.maxsim_argmax(*part)
            np.add(own, begin, out=winners[first:last], where=own >= 0, casting="same_kind")
        else:
            found[:, first:last] = backend.maxsim(*part)
    return torch.from_numpy(found), torch.from_numpy(winners) if with_winners else None


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
    backend, rows, weights = select("cpu"), _array(queries), _array(grad)
    of_queries: torch.Tensor | None = None
    of_documents: torch.Tensor | None = None
    for first, last in _parts(documents, doc_offsets):
        begin, end = doc_offsets[first], doc_offsets[last]
        own, own_documents = backend.maxsim_backward(
            np.ascontiguousarray(weights[:, first:last]),
            rows,
            query_offsets,
            _array(documents[begin:end]),
            doc_offsets[first : last + 1] - begin,
            winners[first:last].numpy() - winners.numpy().dtype.type(begin),
            for_queries,
            for_documents,
        )
        if own is not None:
            of_part = torch.from_numpy(own)
            of_queries = of_part if of_queries is None else of_queries.add_(of_part)
        if own_documents is not None:
            of_documents = _filled(of_documents, begin, torch.from_numpy(own_documents), documents)
    return None if of_queries is None else of_queries.to(queries.dtype), of_documents


def _filled(target: torch.Tensor | None, begin: int, part: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """`target` with the rows of `part` from `begin`, as `like` is; `part` itself where it is all of it."""
    if part.dtype == like.dtype and part.shape == like.shape:
        return part
    if target is None:
        target = torch.empty(like.shape, dtype=like.dtype)
    target[begin : begin + len(part)] = part
    return target


def _parts(documents: torch.Tensor, doc_offsets: Int64Array) -> Iterator[tuple[int, int]]:
    """Documents that are scored together, first and last + 1: all of them in fp32, and at least one part."""
    count = len(doc_offsets) - 1
    if documents.dtype == torch.float32:
        yield 0, count
        return
    rows = max(1, PART_ELEMENTS // documents.shape[1])
    first = 0
    while True:
        last = max(first + 1, int(np.searchsorted(doc_offsets, doc_offsets[first] + rows, side="right")) - 1)
        yield first, min(last, count)
        first = last
        if first >= count:
            return


def _array(tensor: torch.Tensor) -> Float32Array:
    """Its own memory where it is contiguous fp32, else a copy."""
    return np.asarray(tensor.detach().float().contiguous().numpy(), dtype=np.float32)
