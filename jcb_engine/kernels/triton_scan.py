"""The best of all documents out of fast scores that stay on the GPU. Imported by triton_gpu.py alone: needs torch."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from jcb_engine.kernels.interface import Lists
from jcb_engine.types import Float32Array, Uint8Array, Uint32Array


def best_of_all(
    fast: torch.Tensor,
    bounds: Float32Array,
    k: int,
    mask: Uint8Array | None,
    score_exactly: Callable[[Lists], Float32Array],
) -> list[tuple[Uint32Array, Float32Array]]:
    """See `ScanningBackend.best_of_all`.

    fast [queries, N] on any device, changed here; bounds [queries] of |fast - exact|; score_exactly: scores of lists.
    The k best by fast score are scored exactly: the k-th of these is a floor that the k-th hit cannot lie below, and
    what stays below it by more than the bound is no hit.
    """
    if mask is not None:
        bits = torch.from_numpy(np.unpackbits(mask, count=fast.shape[1], bitorder="little"))
        fast.masked_fill_(bits.to(fast.device)[None, :] == 0, -torch.inf)
    kth = torch.topk(fast, min(k, fast.shape[1]), dim=1).values[:, -1:]
    first = _reaching(fast, kth)
    scores = score_exactly(first)
    floors = np.full((len(fast), 1), -np.inf, np.float32)
    for query, (begin, end) in enumerate(zip(first.list_offsets[:-1], first.list_offsets[1:], strict=True)):
        if end - begin >= k:
            floors[query] = np.partition(scores[begin:end], -k)[-k]
    # What the subtraction may round is taken off as well.
    margins = bounds[:, None] + np.abs(np.where(np.isinf(floors), 0, floors)) * np.float32(2.0**-22)
    reaching = _reaching(fast, torch.from_numpy(floors - margins).to(fast.device))
    exact = score_exactly(reaching)
    places = zip(reaching.list_offsets[:-1], reaching.list_offsets[1:], strict=True)
    return [(reaching.documents[begin:end], exact[begin:end]) for begin, end in places]


def _reaching(scores: torch.Tensor, thresholds: torch.Tensor) -> Lists:
    """Places of each query's scores that reach its threshold [queries, 1], ascending; -inf never does."""
    found = ((scores >= thresholds) & (scores > -torch.inf)).nonzero()
    lengths = torch.bincount(found[:, 0], minlength=len(scores)).cpu().numpy()
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return Lists(found[:, 1].cpu().numpy().astype(np.uint32), offsets)
