"""Attention over packed texts: every token sees the tokens of its own text, and no time is lost on padding.

On a CPU, and wherever a bias is added, each run of texts of equal length is one batch of torch's scaled dot product
attention, without a mask unless expansion tokens are hidden. On CUDA in half precision torch's variable-length flash
attention takes all texts at once, or flash-attn where it is asked for.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import cache
from typing import cast

import torch
from torch import Tensor
from torch.nn import functional as F

from jcb_engine.encoder.backbones.packing import Packed, Run
from jcb_engine.errors import MissingDependencyError

_log = logging.getLogger(__name__)
# What is added to the products of a run: [1, heads, queries, keys] for rows queries of a text of that length.
Bias = Callable[[int, range], Tensor]

# A bias is as large as the attention matrix: so many of its rows are made at once.
_BIAS_ROWS = 512
_HALF = (torch.float16, torch.bfloat16)


def attend(
    query: Tensor, key: Tensor, value: Tensor, packed: Packed, *, scale: float | None = None, bias: Bias | None = None
) -> Tensor:
    """query, key, value: [tokens, heads, head_dim], texts end to end -> [tokens, heads, head_dim].

    scale: what products are multiplied with; None: 1 / sqrt(head_dim). bias: see Bias; None: nothing.
    """
    if bias is None and query.is_cuda and query.dtype in _HALF and _has_flash_attention(query.device):
        kernel = flash_attn_kernel() if packed.flash_attn else _torch_kernel()
        if kernel is not None:
            return _attend_at_once(kernel, query, key, value, packed, scale)
    attended = torch.empty_like(query)
    for run in packed.runs():
        rows = slice(run.start, run.stop)
        attended[rows] = _attend_run(query[rows], key[rows], value[rows], run, scale, bias)
    return attended


def _attend_run(query: Tensor, key: Tensor, value: Tensor, run: Run, scale: float | None, bias: Bias | None) -> Tensor:
    """[texts * length, heads, head_dim] each and returned."""
    # [texts, heads, length, head_dim]
    query, key, value = (
        part.view(run.texts, run.length, *part.shape[1:]).transpose(1, 2) for part in (query, key, value)
    )
    mask = run.mask(query.device)
    if bias is None:
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=scale)
    else:
        attended = _attend_with_bias(query, key, value, mask, bias, scale)
    return attended.transpose(1, 2).flatten(0, 1)


def _attend_with_bias(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, bias: Bias, scale: float | None
) -> Tensor:
    """Rows of the queries in blocks: a bias for 8,192 tokens and 12 heads would take 3 GB at once."""
    length = query.shape[2]
    parts = []
    for start in range(0, length, _BIAS_ROWS):
        rows = range(start, min(length, start + _BIAS_ROWS))
        added = bias(length, rows).to(query.dtype)
        if mask is not None:
            added = added.masked_fill(~mask, float("-inf"))
        block = query[:, :, rows.start : rows.stop]
        parts.append(F.scaled_dot_product_attention(block, key, value, attn_mask=added, scale=scale))
    return torch.cat(parts, dim=2)


# -- CUDA --------------------------------------------------------------------------------------------------------------
# (query, key, value, query offsets, key offsets, longest query, longest key, scale=) -> attended
_Kernel = Callable[..., Tensor]


def _attend_at_once(
    kernel: _Kernel, query: Tensor, key: Tensor, value: Tensor, packed: Packed, scale: float | None
) -> Tensor:
    query_offsets = key_offsets = packed.offsets(packed.lengths)
    if not packed.is_whole:
        rows = packed.attended_rows()
        key, value, key_offsets = key[rows], value[rows], packed.offsets(packed.attended)
    return kernel(
        query.contiguous(),
        key.contiguous(),
        value.contiguous(),
        query_offsets,
        key_offsets,
        max(packed.lengths),
        max(packed.attended),
        scale=scale,
    )


def is_ampere(device: torch.device) -> bool:
    """Whether a CUDA device has bfloat16, and the kernels of flash attention run on it."""
    return torch.cuda.get_device_capability(device) >= (8, 0)


@cache
def _has_flash_attention(device: torch.device) -> bool:
    """Whether the kernels run there; said once where they do not."""
    if is_ampere(device):
        return True
    _log.info("%s is older than Ampere: attention goes text by text", torch.cuda.get_device_name(device))
    return False


@cache
def _torch_kernel() -> _Kernel | None:
    """Torch's own variable-length attention; None: this torch has none (before 2.10)."""
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:
        _log.info(
            "torch %s has no variable-length attention (2.10 has): attention goes text by text", torch.__version__
        )
        return None

    # a tensor alone, since no auxiliary output is asked for
    return lambda *texts, scale: cast(Tensor, varlen_attn(*texts, scale=scale))


@cache
def flash_attn_kernel() -> _Kernel:
    """The package flash-attn. Raises MissingDependencyError where it is not installed."""
    try:
        from flash_attn import flash_attn_varlen_func
    except ImportError as error:
        raise MissingDependencyError(
            "attention='flash-attn' needs the package flash-attn, which builds from source; install it with: "
            "pip install 'jcb-engine[flash]', or leave attention out for torch's own"
        ) from error

    return lambda *texts, scale: flash_attn_varlen_func(*texts, softmax_scale=scale)
