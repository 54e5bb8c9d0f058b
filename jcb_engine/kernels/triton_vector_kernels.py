"""MaxSim over plain vectors and its gradient, as Triton programs.

Scores take two programs: `best_tokens` finds, for a document and a block of query tokens, the best product and the row
that has it; `sums_of_maxima` adds them by query. Gradients gather: each program owns a part of one vector's gradient
and adds the vectors of the other side that it met, always in the same order. So no program needs an atomic addition,
whose order would change from run to run.

Imported by triton_vectors.py alone: importing it imports triton.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def _operand(vectors, is_exact: tl.constexpr):
    """fp32 as it is; halves too, unless both sides are not of one kind."""
    return vectors.to(tl.float32) if is_exact else vectors


# Arguments. queries [query_tokens, dim] and vectors [T, dim], fp32, fp16 or bf16; doc_offsets [documents + 1] and
# query_offsets [queries + 1] int64; maxima [documents, query_tokens] fp32; winners [documents, query_tokens] int32 or
# int64: a row of `vectors`, -1 where the document is empty; scores [queries, documents] fp32.
@triton.jit
def best_tokens(
    queries,
    vectors,
    doc_offsets,
    maxima,
    winners,
    query_tokens,
    dim: tl.constexpr,
    columns: tl.constexpr,
    step: tl.constexpr,
    chunk: tl.constexpr,
    is_exact: tl.constexpr,
    with_winners: tl.constexpr,
):
    """One document and `columns` query tokens, `step` stored tokens at a time. is_exact: products of fp32.

    Products of halves are exact in fp32, in which they are added. Query tokens are the rows of a product, so that each
    one's best is found inside a warp.
    """
    blocks = (query_tokens + columns - 1) // columns
    document = tl.program_id(0) // blocks
    token = tl.program_id(0) % blocks * columns + tl.arange(0, columns)
    first = tl.load(doc_offsets + document)
    count = (tl.load(doc_offsets + document + 1) - first).to(tl.int32)
    inside = token < query_tokens
    query_rows = queries + token.to(tl.int64)[:, None] * dim
    best = tl.full([columns], float("-inf"), tl.float32)
    best_row = tl.zeros([columns], tl.int32)
    for start in range(0, count, step):
        row = start + tl.arange(0, step)
        vector_rows = vectors + (first + row)[None, :] * dim
        dots = tl.zeros([columns, step], tl.float32)
        for begin in range(0, dim, chunk):
            dimension = begin + tl.arange(0, chunk)
            within = dimension < dim
            left = tl.load(query_rows + dimension[None, :], mask=inside[:, None] & within[None, :], other=0.0)
            right = tl.load(vector_rows + dimension[:, None], mask=(row < count)[None, :] & within[:, None], other=0.0)
            dots = tl.dot(_operand(left, is_exact), _operand(right, is_exact), dots, input_precision="ieee")
        # NaN equals nothing; rows past the end lose to all, and the first of equals wins.
        dots = tl.where((dots == dots) & (row < count)[None, :], dots, float("-inf"))
        found, place = tl.max(dots, axis=1, return_indices=True, return_indices_tie_break_left=True)
        best_row = tl.where(found > best, start + place, best_row)
        best = tl.maximum(found, best)
    own = document.to(tl.int64) * query_tokens + token
    tl.store(maxima + own, best, mask=inside)
    if with_winners:
        tl.store(winners + own, tl.where(count == 0, -1, first + best_row), mask=inside)


@triton.jit
def sums_of_maxima(
    maxima, query_offsets, doc_offsets, scores, documents, query_tokens, block: tl.constexpr, step: tl.constexpr
):
    """One query and `block` documents: what its tokens found best in each, added in order."""
    blocks = (documents + block - 1) // block
    query = (tl.program_id(0) // blocks).to(tl.int64)
    document = tl.program_id(0) % blocks * block + tl.arange(0, block)
    inside = document < documents
    first = tl.load(query_offsets + query)
    last = tl.load(query_offsets + query + 1)
    length = tl.load(doc_offsets + document + 1, mask=inside, other=0) - tl.load(
        doc_offsets + document, mask=inside, other=0
    )
    rows = maxima + document.to(tl.int64)[:, None] * query_tokens
    sums = tl.zeros([block, step], tl.float32)
    for start in range(first, last, step):
        token = start + tl.arange(0, step)
        sums += tl.load(rows + token[None, :], mask=inside[:, None] & (token < last)[None, :], other=0.0)
    score = tl.where(length == 0, float("-inf"), tl.sum(sums, axis=1))
    tl.store(scores + query * documents + document, score, mask=inside)


# weights [documents, query_tokens] fp32: the gradient of each token's score. Where one is 0, nothing is read.
@triton.jit
def gradients_of_queries(
    weights,
    winners,
    vectors,
    gradients,
    documents,
    query_tokens,
    dim: tl.constexpr,
    width: tl.constexpr,
    step: tl.constexpr,
):
    """`width` dimensions of one query token's gradient: its winner in every document, weighed."""
    parts: tl.constexpr = (dim + width - 1) // width
    token = (tl.program_id(0) // parts).to(tl.int64)
    dimension = tl.program_id(0) % parts * width + tl.arange(0, width)
    within = dimension < dim
    sums = tl.zeros([step, width], tl.float32)
    for start in range(0, documents, step):
        document = start + tl.arange(0, step)
        place = document.to(tl.int64) * query_tokens + token
        row = tl.load(winners + place, mask=document < documents, other=-1).to(tl.int64)
        weight = tl.load(weights + place, mask=row >= 0, other=0.0)
        mask = (weight != 0.0)[:, None] & within[None, :]
        there = tl.load(vectors + row[:, None] * dim + dimension[None, :], mask=mask, other=0.0)
        sums += weight[:, None] * there.to(tl.float32)
    tl.store(gradients + token * dim + dimension, tl.sum(sums, axis=0), mask=within)


# order [documents * query_tokens] int64: places in `weights`, by winner and in order among those of one winner;
# row_offsets [T + 1] int64: which of them each row of `vectors` has won.
@triton.jit
def gradients_of_documents(
    weights,
    order,
    row_offsets,
    queries,
    gradients,
    query_tokens,
    dim: tl.constexpr,
    width: tl.constexpr,
    step: tl.constexpr,
):
    """`width` dimensions of one document token's gradient: the query tokens that it was best for, weighed."""
    parts: tl.constexpr = (dim + width - 1) // width
    row = (tl.program_id(0) // parts).to(tl.int64)
    dimension = tl.program_id(0) % parts * width + tl.arange(0, width)
    within = dimension < dim
    first = tl.load(row_offsets + row)
    last = tl.load(row_offsets + row + 1)
    sums = tl.zeros([step, width], tl.float32)
    for start in range(first, last, step):
        entry = start + tl.arange(0, step)
        place = tl.load(order + entry, mask=entry < last, other=0)
        weight = tl.load(weights + place, mask=entry < last, other=0.0)
        mask = (weight != 0.0)[:, None] & within[None, :]
        token = place % query_tokens
        there = tl.load(queries + token[:, None] * dim + dimension[None, :], mask=mask, other=0.0)
        sums += weight[:, None] * there.to(tl.float32)
    tl.store(gradients + row * dim + dimension, tl.sum(sums, axis=0), mask=within)
