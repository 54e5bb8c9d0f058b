"""MaxSim over stored tokens, as Triton programs: what runs on a GPU where no CUDA compiler was at hand.

A program scores one document for one piece of 32 query tokens, `step` stored tokens at a time. Codes stay as they lie
in the index, packed by bytes: a byte holds 8 / nbits dimensions, "plane" p of them in its bits p * nbits and up. Each
plane is a product of its own, so that nothing is reordered. A last step past the document's end repeats its last token,
which cannot change a maximum: nothing is masked but what lies past the end of a row of codes.

Imported by triton_scoring.py and triton_building.py alone: importing it imports triton.
"""

from __future__ import annotations

import triton
import triton.language as tl

PIECE = 32  # query tokens of a program


@triton.jit
def _levels_of(code, levels, nbits: tl.constexpr):
    """The fp16 level of each code; `levels` points to the codec's table."""
    if nbits == 1:
        value = tl.where(code == 0, tl.load(levels), tl.load(levels + 1))
    elif nbits == 2:
        low = tl.where(code == 0, tl.load(levels), tl.load(levels + 1))
        high = tl.where(code == 2, tl.load(levels + 2), tl.load(levels + 3))
        value = tl.where(code < 2, low, high)
    else:
        value = tl.load(levels + code)
    return value


@triton.jit
def _planes_of_2bits(packed, levels, lookup: tl.constexpr):
    """The four planes [step, width] in fp16 of codes of 2 bits; in the machine's own look-ups where `lookup` is set."""
    if lookup != "":
        a, b, c, d = tl.inline_asm_elementwise(
            lookup,
            "=r,=r,=r,=r,=r,=r,=r,=r,r",
            [packed],
            dtype=(tl.float16, tl.float16, tl.float16, tl.float16),
            is_pure=True,
            pack=4,
        )
    else:
        a = _levels_of(packed & 3, levels, 2)
        b = _levels_of((packed >> 2) & 3, levels, 2)
        c = _levels_of((packed >> 4) & 3, levels, 2)
        d = _levels_of(packed >> 6, levels, 2)
    return a, b, c, d


@triton.jit
def _centroid_scores(rows, ids, table, columns, piece):
    """[step, 32] of a table [K, columns]: of each row's centroid, for the piece's query tokens."""
    place = tl.load(ids + rows).to(tl.int64)[:, None] * columns + piece * 32 + tl.arange(0, 32)[None, :]
    return tl.load(table + place).to(tl.float32)


@triton.jit
def _values(dots, rows, scores, norms, sigmas):
    """norm * (S[id] + sigma * dots), [step, 32] fp32."""
    norm = tl.load(norms + rows).to(tl.float32)
    sigma = tl.load(sigmas + rows).to(tl.float32)
    return norm[:, None] * (scores + sigma[:, None] * dots)


@triton.jit
def _store_score(partial, pieces, piece, item, best, lengths, column, tokens):
    """Writes the sum of maxima; -inf for a document without tokens. Only of an item that the piece has."""
    output = tl.load(pieces + 4 * piece + 2) + item
    maxima = tl.where(tokens == 0, 0.0, tl.max(best, axis=0))
    score = tl.sum(maxima * tl.load(lengths + piece * 32 + column), axis=0)
    tl.store(partial + output, tl.where(tokens == 0, float("-inf"), score))


# Arguments. codes [T, code_bytes] uint8; ids [T] int32; norms, sigmas [T] fp16; first_tokens [items] int64 and
# token_counts [items] int32 of each item's document; pieces [P, 4] int64: first item, items, where scores go, unused;
# table [K, columns] fp16 of centroid scores, columns = 32 P, zeros where a piece has no token; queries [P, planes,
# width, 32] fp16, a row for each byte of a row of codes; lengths [P, 32] fp32, by which products of a query token are
# multiplied; levels [2**nbits] fp16; partial [out].
@triton.jit
def maxsim_2bits(
    codes,
    ids,
    norms,
    sigmas,
    first_tokens,
    token_counts,
    pieces,
    table,
    queries,
    lengths,
    levels,
    partial,
    columns,
    code_bytes: tl.constexpr,
    width: tl.constexpr,
    step: tl.constexpr,
    lookup: tl.constexpr,
):
    """2 bits, rows of codes of at most 32 bytes: the query's planes stay in registers or shared memory."""
    item = tl.program_id(0)
    piece = tl.program_id(1)
    if item < tl.load(pieces + 4 * piece + 1):
        number = tl.load(pieces + 4 * piece) + item
        first = tl.load(first_tokens + number)
        tokens = tl.load(token_counts + number)
        column = tl.arange(0, 32)
        byte = tl.arange(0, width)
        own = queries + piece.to(tl.int64) * (4 * width * 32) + byte[:, None] * 32 + column[None, :]
        query_a = tl.load(own)
        query_b = tl.load(own + width * 32)
        query_c = tl.load(own + 2 * width * 32)
        query_d = tl.load(own + 3 * width * 32)
        best = tl.full([step, 32], float("-inf"), tl.float32)
        for start in range(0, tokens, step):
            rows = first + tl.minimum(start + tl.arange(0, step), tokens - 1)
            at = codes + rows[:, None] * code_bytes + byte[None, :]
            packed = tl.load(at) if width == code_bytes else tl.load(at, mask=byte[None, :] < code_bytes, other=0)
            a, b, c, d = _planes_of_2bits(packed, levels, lookup)
            dots = tl.dot(a, query_a)
            dots = tl.dot(b, query_b, dots)
            dots = tl.dot(c, query_c, dots)
            dots = tl.dot(d, query_d, dots)
            scores = _centroid_scores(rows, ids, table, columns, piece)
            best = tl.maximum(best, _values(dots, rows, scores, norms, sigmas))
        _store_score(partial, pieces, piece, item, best, lengths, column, tokens)


@triton.jit
def maxsim_any(
    codes,
    ids,
    norms,
    sigmas,
    first_tokens,
    token_counts,
    pieces,
    table,
    queries,
    lengths,
    levels,
    partial,
    columns,
    code_bytes: tl.constexpr,
    width: tl.constexpr,
    chunk: tl.constexpr,
    step: tl.constexpr,
    nbits: tl.constexpr,
):
    """Any number of bits and dimensions: rows of codes go in chunks of bytes, and the query is read again for each."""
    item = tl.program_id(0)
    piece = tl.program_id(1)
    if item < tl.load(pieces + 4 * piece + 1):
        number = tl.load(pieces + 4 * piece) + item
        first = tl.load(first_tokens + number)
        tokens = tl.load(token_counts + number)
        column = tl.arange(0, 32)
        own = queries + piece.to(tl.int64) * (8 // nbits * width * 32) + column[None, :]
        best = tl.full([step, 32], float("-inf"), tl.float32)
        for start in range(0, tokens, step):
            rows = first + tl.minimum(start + tl.arange(0, step), tokens - 1)
            dots = tl.zeros([step, 32], tl.float32)
            for begin in range(0, width, chunk):
                byte = begin + tl.arange(0, chunk)
                packed = tl.load(
                    codes + rows[:, None] * code_bytes + byte[None, :], mask=byte[None, :] < code_bytes, other=0
                )
                for plane in tl.static_range(8 // nbits):
                    code = (packed >> (plane * nbits)) & (2**nbits - 1)
                    query = tl.load(own + (plane * width + byte)[:, None] * 32)
                    dots = tl.dot(_levels_of(code, levels, nbits), query, dots)
            scores = _centroid_scores(rows, ids, table, columns, piece)
            best = tl.maximum(best, _values(dots, rows, scores, norms, sigmas))
        _store_score(partial, pieces, piece, item, best, lengths, column, tokens)


@triton.jit
def maxsim_exact(
    codes,
    ids,
    norms,
    sigmas,
    first_tokens,
    token_counts,
    pieces,
    centroid_vectors,
    queries,
    lengths,
    levels,
    partial,
    dim: tl.constexpr,
    code_bytes: tl.constexpr,
    width: tl.constexpr,
    chunk: tl.constexpr,
    step: tl.constexpr,
    nbits: tl.constexpr,
):
    """fp32 over decoded vectors. As above, but queries, levels and centroid_vectors [K, dim] are fp32."""
    item = tl.program_id(0)
    piece = tl.program_id(1)
    if item < tl.load(pieces + 4 * piece + 1):
        number = tl.load(pieces + 4 * piece) + item
        first = tl.load(first_tokens + number)
        tokens = tl.load(token_counts + number)
        column = tl.arange(0, 32)
        own = queries + piece.to(tl.int64) * (8 // nbits * width * 32) + column[None, :]
        best = tl.full([step, 32], float("-inf"), tl.float32)
        for start in range(0, tokens, step):
            rows = first + tl.minimum(start + tl.arange(0, step), tokens - 1)
            sigma = tl.load(sigmas + rows).to(tl.float32)
            centroid = centroid_vectors + tl.load(ids + rows).to(tl.int64) * dim
            dots = tl.zeros([step, 32], tl.float32)
            for begin in range(0, width, chunk):
                byte = begin + tl.arange(0, chunk)
                packed = tl.load(
                    codes + rows[:, None] * code_bytes + byte[None, :], mask=byte[None, :] < code_bytes, other=0
                )
                for plane in tl.static_range(8 // nbits):
                    code = (packed >> (plane * nbits)) & (2**nbits - 1)
                    dimension = byte * (8 // nbits) + plane
                    there = tl.load(centroid[:, None] + dimension[None, :], mask=dimension[None, :] < dim, other=0.0)
                    value = there + sigma[:, None] * _levels_of(code, levels, nbits)
                    query = tl.load(own + (plane * width + byte)[:, None] * 32)
                    dots = tl.dot(value, query, dots, input_precision="ieee")
            norm = tl.load(norms + rows).to(tl.float32)
            best = tl.maximum(best, norm[:, None] * dots)
        _store_score(partial, pieces, piece, item, best, lengths, column, tokens)


@triton.jit
def maxsim_raw(
    vectors,
    first_tokens,
    token_counts,
    pieces,
    queries,
    lengths,
    partial,
    dim: tl.constexpr,
    width: tl.constexpr,
    chunk: tl.constexpr,
    step: tl.constexpr,
    is_exact: tl.constexpr,
):
    """vectors [T, dim] fp16 as stored; queries [P, width, 32] fp16, or fp32 where `is_exact`, zeros past dim.

    Predicted, not measured: 256 bytes of a token of 128 dimensions are read, 12 Gtoken/s on an H100 by its memory.
    """
    item = tl.program_id(0)
    piece = tl.program_id(1)
    if item < tl.load(pieces + 4 * piece + 1):
        number = tl.load(pieces + 4 * piece) + item
        first = tl.load(first_tokens + number)
        tokens = tl.load(token_counts + number)
        column = tl.arange(0, 32)
        own = queries + piece.to(tl.int64) * (width * 32) + column[None, :]
        best = tl.full([step, 32], float("-inf"), tl.float32)
        for start in range(0, tokens, step):
            rows = first + tl.minimum(start + tl.arange(0, step), tokens - 1)
            dots = tl.zeros([step, 32], tl.float32)
            for begin in range(0, width, chunk):
                dimension = begin + tl.arange(0, chunk)
                place = vectors + rows[:, None] * dim + dimension[None, :]
                value = tl.load(place, mask=dimension[None, :] < dim, other=0.0)
                query = tl.load(own + dimension[:, None] * 32)
                if is_exact:
                    dots = tl.dot(value.to(tl.float32), query, dots, input_precision="ieee")
                else:
                    dots = tl.dot(value, query, dots)
            best = tl.maximum(best, dots)
        _store_score(partial, pieces, piece, item, best, lengths, column, tokens)


@triton.jit
def centroid_products(
    centroids, queries, products, rows, columns, dim: tl.constexpr, chunk: tl.constexpr, step: tl.constexpr
):
    """products [rows, columns] = centroids [rows, dim] x queries [columns, dim], fp32 whatever torch was set to."""
    row = tl.program_id(0) * step + tl.arange(0, step)
    column = tl.program_id(1) * 32 + tl.arange(0, 32)
    dots = tl.zeros([step, 32], tl.float32)
    for begin in range(0, dim, chunk):
        dimension = begin + tl.arange(0, chunk)
        inside = dimension < dim
        left = tl.load(
            centroids + row.to(tl.int64)[:, None] * dim + dimension[None, :],
            mask=(row < rows)[:, None] & inside[None, :],
            other=0.0,
        )
        right = tl.load(
            queries + column.to(tl.int64)[None, :] * dim + dimension[:, None],
            mask=(column < columns)[None, :] & inside[:, None],
            other=0.0,
        )
        dots = tl.dot(left, right, dots, input_precision="ieee")
    place = row.to(tl.int64)[:, None] * columns + column[None, :]
    tl.store(products + place, dots, mask=(row < rows)[:, None] & (column < columns)[None, :])


@triton.jit
def maxsim_centroids(ids, first_tokens, token_counts, pieces, table, lengths, partial, columns, step: tl.constexpr):
    """Every token is its centroid. As above, but table is fp32."""
    item = tl.program_id(0)
    piece = tl.program_id(1)
    if item < tl.load(pieces + 4 * piece + 1):
        number = tl.load(pieces + 4 * piece) + item
        first = tl.load(first_tokens + number)
        tokens = tl.load(token_counts + number)
        best = tl.full([step, 32], float("-inf"), tl.float32)
        for start in range(0, tokens, step):
            rows = first + tl.minimum(start + tl.arange(0, step), tokens - 1)
            best = tl.maximum(best, _centroid_scores(rows, ids, table, columns, piece))
        _store_score(partial, pieces, piece, item, best, lengths, tl.arange(0, 32), tokens)


@triton.jit
def nearest_centroids(
    vectors, centroids, offsets, ids, rows, columns,
    width: tl.constexpr, chunk: tl.constexpr, step: tl.constexpr, block: tl.constexpr,
):  # fmt: skip
    """ids [rows] int32 of vectors [rows, width] fp16: which of centroids [columns, width] fp16 has the largest product
    plus offset [columns] fp32; the lower one in a tie. No product leaves the multiprocessor.
    """
    row = tl.program_id(0) * step + tl.arange(0, step)
    there = (row < rows)[:, None]
    place = vectors + row.to(tl.int64)[:, None] * width
    first = tl.load(place + tl.arange(0, chunk)[None, :], mask=there, other=0.0)
    best = tl.full([step], float("-inf"), tl.float32)
    best_id = tl.zeros([step], tl.int32)
    for begin in range(0, columns, block):
        column = begin + tl.arange(0, block)
        inside = (column < columns)[None, :]
        other = centroids + column.to(tl.int64)[None, :] * width + tl.arange(0, chunk)[:, None]
        dots = tl.dot(first, tl.load(other, mask=inside, other=0.0))
        for start in range(chunk, width, chunk):
            more = tl.load(place + (start + tl.arange(0, chunk))[None, :], mask=there, other=0.0)
            dots = tl.dot(more, tl.load(other + start, mask=inside, other=0.0), dots)
        dots += tl.load(offsets + column, mask=column < columns, other=float("-inf"))[None, :]
        largest, winner = tl.max(dots, axis=1, return_indices=True)
        better = largest > best
        best = tl.where(better, largest, best)
        best_id = tl.where(better, begin + winner, best_id)
    tl.store(ids + row, best_id, mask=row < rows)
