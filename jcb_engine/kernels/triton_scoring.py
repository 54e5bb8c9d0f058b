"""Launches of the programs of triton_kernels.py: scores of what a Work says, and how wrong fast ones may be.

Imported by triton_gpu.py and triton_probe.py alone: needs torch and triton. The store's GPU has to be the thread's
current one.
"""

from __future__ import annotations

import itertools
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from triton.runtime import JITFunction

from jcb_engine.kernels import triton_kernels
from jcb_engine.kernels.interface import RAW_BITS, Precision
from jcb_engine.kernels.lookup_assembly import lookup_assembly
from jcb_engine.kernels.triton_store import TritonStore, TritonTable
from jcb_engine.kernels.triton_work import PIECE, Work, added
from jcb_engine.types import Float32Array, Int64Array

Float64Array: TypeAlias = npt.NDArray[np.float64]
IS_INTERPRETED = not isinstance(triton_kernels.maxsim_any, JITFunction)
_HALF_ROUNDING = 2.0**-11  # of a number that is rounded to fp16, relative
_SMALLEST_HALF = 2.0**-25  # and at least so much
_MOST_BYTES_OF_PLANES = 32  # of a row of codes whose planes a program holds at once
_STEP = 128  # stored tokens of a step, where the planes of a row are held at once
SMALL_STEPS = {1: 64, 2: 64, 4: 64, 8: 32}  # by bits, where they are not
RAW_STEPS = {False: 128, True: 16}  # stored vectors of a step of fast and of exact scores
RAW_CHUNK = 32  # dimensions of a product
CENTROID_STEP = 64  # where no codes are read: twice as many would spill on some GPUs
_SMALLEST_WIDTH = 16  # of a product's inner dimension
_WARPS = 4
_PRODUCT_ROWS = 64  # centroids of a program that multiplies them


def centroid_products(store: TritonStore, queries: torch.Tensor) -> torch.Tensor:
    """Inner products [K, Q] fp32 of all centroids and queries [Q, D]."""
    count, tokens = len(store.centroids), len(queries)
    products = torch.empty((count, tokens), dtype=torch.float32, device=queries.device)
    if tokens:
        triton_kernels.centroid_products[-(-count // _PRODUCT_ROWS), -(-tokens // PIECE)](
            store.centroids, queries, products, count, tokens,
            dim=store.codec.dim, chunk=32, step=_PRODUCT_ROWS, num_warps=_WARPS,
        )  # fmt: skip
    return products


def centroid_maxsim(store: TritonStore, table: TritonTable, work: Work) -> torch.Tensor:
    """Scores in the order of `work` in which every token is its centroid. Not of raw codecs."""
    partial = _empty(work)
    ones = torch.ones(work.tokens.shape, dtype=torch.float32, device=partial.device)
    if work.outputs:
        triton_kernels.maxsim_centroids[_grid(work)](
            store.ids, work.first_tokens, work.token_counts, work.pieces, _columns(table.scores, work), ones, partial,
            work.tokens.numel(), step=CENTROID_STEP, num_warps=_WARPS,
        )  # fmt: skip
    return added(partial, work)


def maxsim(store: TritonStore, table: TritonTable, work: Work, precision: Precision) -> torch.Tensor:
    """Scores in the order of `work` over codes."""
    partial = _empty(work)
    if work.outputs:
        (_score_exact if precision == "exact" else _score_fast)(store, table, work, partial)
    return added(partial, work) * store.codec.norm_scale


def error_bounds(store: TritonStore, queries: Float32Array, query_offsets: Int64Array) -> Float32Array:
    """See `Backend.score_error_bound`. Queries, levels and centroid scores are rounded to fp16, raw: the unit queries
    alone; sums are fp32.
    """
    rows = queries.astype(np.float64)
    lengths = np.linalg.norm(rows, axis=1)
    errors = _raw_errors(store, lengths) if store.codec.nbits == RAW_BITS else _code_errors(store, rows, lengths)
    bounds = [errors[first:last].sum() for first, last in itertools.pairwise(query_offsets)]
    return np.nextafter(np.array(bounds, dtype=np.float32), np.float32(np.inf))


def _code_errors(store: TritonStore, rows: Float64Array, lengths: Float64Array) -> Float64Array:
    """[Q] of query tokens [Q, D] of such lengths."""
    largest = float(np.abs(store.codec.levels).max(initial=0.0))
    products = store.max_sigma * largest * np.abs(rows).sum(axis=1)  # with codes, at most
    centroids = store.longest * lengths
    rounded = centroids * _HALF_ROUNDING + products * 2 * _HALF_ROUNDING
    small = _SMALLEST_HALF * lengths * (1 + store.max_sigma * (largest + 1) * (store.codec.dim + 1))
    sums = 2 * (store.codec.dim + 64) * 2.0**-24 * (centroids + products)  # in fp32, of fast and of exact scores
    return np.asarray(store.max_norm * store.codec.norm_scale * (1.01 * rounded + small + sums))


def _raw_errors(store: TritonStore, lengths: Float64Array) -> Float64Array:
    """[Q] of query tokens of such lengths: a unit query is rounded to fp16, the stored vectors are exact."""
    rounding = _HALF_ROUNDING + _SMALLEST_HALF * store.codec.dim**0.5
    sums = 6 * (store.codec.dim + 64) * 2.0**-24  # in fp32, of fast and of exact scores, and over query tokens
    return np.asarray(lengths * store.max_norm * store.codec.norm_scale * (rounding + sums) * 1.01)


def _score_fast(store: TritonStore, table: TritonTable, work: Work, partial: torch.Tensor) -> None:
    # In double, where no square of an fp32 value is lost.
    exact_lengths = table.queries.double().norm(dim=1)
    lengths = exact_lengths.float()
    units = torch.where(exact_lengths > 0, 1 / exact_lengths, 0.0)
    if store.codec.nbits == RAW_BITS:
        _score_raw(store, (table.queries * units[:, None]).half(), lengths, work, partial)
        return
    width, nbits = _width(store), store.codec.nbits
    arguments = (
        *_stored(store, work),
        _columns((table.scores * units).half(), work),
        _planes(store, (table.queries * units[:, None]).half(), work),
        _of_pieces(lengths, work),
        store.levels.half(),
        partial,
        work.tokens.numel(),
    )
    row = {"code_bytes": store.codec.code_bytes, "width": width}
    if nbits == 2 and width <= _MOST_BYTES_OF_PLANES:
        lookup = "" if IS_INTERPRETED else lookup_assembly(store.codec.levels)
        triton_kernels.maxsim_2bits[_grid(work)](*arguments, **row, step=_STEP, lookup=lookup, num_warps=_WARPS)
    else:
        triton_kernels.maxsim_any[_grid(work)](
            *arguments, **row, chunk=min(width, 32), step=SMALL_STEPS[nbits], nbits=nbits, num_warps=_WARPS
        )


def _score_exact(store: TritonStore, table: TritonTable, work: Work, partial: torch.Tensor) -> None:
    if store.codec.nbits == RAW_BITS:
        _score_raw(store, table.queries, torch.ones_like(table.queries[:, 0]), work, partial)
        return
    width = _width(store)
    triton_kernels.maxsim_exact[_grid(work)](
        *_stored(store, work),
        store.centroids,
        _planes(store, table.queries, work),
        _of_pieces(torch.ones_like(table.queries[:, 0]), work),
        store.levels,
        partial,
        dim=store.codec.dim, code_bytes=store.codec.code_bytes, width=width, chunk=min(width, 32), step=16,
        nbits=store.codec.nbits, num_warps=_WARPS,
    )  # fmt: skip


def _score_raw(
    store: TritonStore, queries: torch.Tensor, lengths: torch.Tensor, work: Work, partial: torch.Tensor
) -> None:
    """By queries [Q, D] in fp16 or, exactly, fp32."""
    width, is_exact = _width(store), queries.dtype == torch.float32
    triton_kernels.maxsim_raw[_grid(work)](
        store.codes, work.first_tokens, work.token_counts, work.pieces,
        _planes(store, queries, work), _of_pieces(lengths, work), partial,
        dim=store.codec.dim, width=width, chunk=min(width, RAW_CHUNK), step=RAW_STEPS[is_exact],
        is_exact=is_exact, num_warps=_WARPS,
    )  # fmt: skip


def _stored(store: TritonStore, work: Work) -> tuple[torch.Tensor, ...]:
    stored = (store.codes, store.ids, store.norms, store.sigmas)
    return (*stored, work.first_tokens, work.token_counts, work.pieces)


def _width(store: TritonStore) -> int:
    """Bytes of a row of codes (raw: dimensions), up to a power of two that a product takes."""
    columns = store.codec.dim if store.codec.nbits == RAW_BITS else store.codec.code_bytes
    return max(_SMALLEST_WIDTH, 1 << (columns - 1).bit_length())


def _planes(store: TritonStore, queries: torch.Tensor, work: Work) -> torch.Tensor:
    """Queries [P, planes, width, 32]: the row of byte b in plane p is dimension b * planes + p."""
    planes, width = max(1, 8 // store.codec.nbits), _width(store)
    padded = torch.zeros((*work.tokens.shape, width * planes), dtype=queries.dtype, device=queries.device)
    padded[:, :, : store.codec.dim] = _of_pieces(queries, work)
    return padded.view(*work.tokens.shape, width, planes).permute(0, 3, 2, 1).contiguous()


def _empty(work: Work) -> torch.Tensor:
    return torch.empty(work.outputs, dtype=torch.float32, device=work.pieces.device)


def _grid(work: Work) -> tuple[int, int]:
    return work.items, len(work.pieces)


def _of_pieces(values: torch.Tensor, work: Work) -> torch.Tensor:
    """Values [Q, ...] of query tokens as [P, 32, ...], zeros where a column has no token."""
    padded = torch.cat([values, values.new_zeros((1, *values.shape[1:]))])  # the last one is what -1 names
    return padded[work.tokens]


def _columns(scores: torch.Tensor, work: Work) -> torch.Tensor:
    """Scores [K, Q] as [K, 32 P]: a column for each of every piece's, zeros where it has no token."""
    padded = torch.cat([scores, scores.new_zeros((len(scores), 1))], dim=1)
    return padded[:, work.tokens.flatten()].contiguous()
