"""Codes of token vectors, as Triton programs: all of `Backend.quantize`, a vector and its centroid read once.

A program has `step` vectors in registers, padded to `width` dimensions, a power of two. Codes are found by halving the
table of cutoffs, which may be any that rises. Sums of fits are float64, as in torch_quantize.py: at 8 bits fits differ
in the sixth digit. Values are multiplied by 1 / sigma, not divided: a value that lies on a cutoff to its last bit may
get the code beside the reference's.

What speed is expected is said in triton_building.py.

Imported by triton_building.py alone: importing it imports triton.
"""

from __future__ import annotations

import triton
import triton.language as tl

from jcb_engine.kernels.interface import LEAST_GAIN, SIGN_ROUNDS

_LEAST_GAIN = tl.constexpr(LEAST_GAIN)
_SIGN_ROUNDS = tl.constexpr(SIGN_ROUNDS)
_TINY = tl.constexpr(2.0**-126)  # the smallest normal fp32 value


@triton.jit
def _rows_of(rows, step: tl.constexpr):
    """The program's rows, and those that there are: past the end, the last one is read again."""
    wanted = tl.program_id(0) * step + tl.arange(0, step)
    return tl.minimum(wanted, rows - 1).to(tl.int64), wanted < rows


@triton.jit
def _loaded(matrix, row, dimension, dim: tl.constexpr):
    """[step, width] of rows of a matrix [.., dim], 0 past its columns."""
    place = matrix + row[:, None] * dim + dimension[None, :]
    return tl.load(place, mask=(dimension < dim)[None, :], other=0.0)


@triton.jit
def _length_of(values):
    """[step] of rows [step, width]."""
    return tl.sqrt_rn(tl.sum(values * values, axis=1))


@triton.jit
def _half(values):
    return values.to(tl.float16).to(tl.float32)


@triton.jit
def _codes_of(values, sizes, cutoffs, nbits: tl.constexpr):
    """Number of cutoffs below values / sizes, [step, width] int32; that of 0 where a size is 0."""
    inverse = tl.where(sizes > 0, tl.div_rn(1.0, tl.where(sizes > 0, sizes, 1.0)), 0.0)
    scaled = values * inverse[:, None]
    middle = tl.load(cutoffs + (2 ** (nbits - 1) - 1))
    code = tl.where(scaled > middle, 2 ** (nbits - 1), 0)
    for turn in tl.static_range(nbits - 1):
        half = 2 ** (nbits - 2 - turn)
        code += tl.where(scaled > tl.load(cutoffs + code + (half - 1)), half, 0)
    return code


@triton.jit
def _levels_of(code, levels, dimension, dim: tl.constexpr):
    """The level of each code, 0 past the last dimension."""
    return tl.where((dimension < dim)[None, :], tl.load(levels + code), 0.0)


@triton.jit
def _fit(residual, direction):
    """<r, w> and <w, w> [step] float64."""
    wide = direction.to(tl.float64)
    return tl.sum(residual.to(tl.float64) * wide, axis=1), tl.sum(wide * wide, axis=1)


@triton.jit
def _fitted_codes(
    residual, own, cutoffs, levels, factors, dimension,
    dim: tl.constexpr, nbits: tl.constexpr, trials: tl.constexpr,
):  # fmt: skip
    """Codes and sigmas with the largest gain <r, w>^2 / <w, w> of the sizes tried, and the first among likes."""
    best = tl.zeros(residual.shape, tl.int32)
    overlap, square = own.to(tl.float64) * 0.0, own.to(tl.float64) * 0.0 + 1.0
    for trial in range(trials):
        code = _codes_of(residual, tl.load(factors + trial) * own, cutoffs, nbits)
        own_overlap, own_square = _fit(residual, _levels_of(code, levels, dimension, dim))
        own_overlap = tl.maximum(own_overlap, 0.0)
        # Gains are compared without dividing: in float64 that is some thirty instructions.
        gain, beaten = own_overlap * own_overlap * square, overlap * overlap * own_square
        better = (gain - beaten > _LEAST_GAIN * beaten) | (trial == 0)
        best = tl.where(better[:, None], code, best)
        overlap, square = tl.where(better, own_overlap, overlap), tl.where(better, own_square, square)
    is_fit = overlap > 0
    return best, tl.where(is_fit, (overlap / tl.where(is_fit, square, 1.0)).to(tl.float32), own)


@triton.jit
def _projected_codes(unit, centroid, own, cutoffs, levels, dimension, dim: tl.constexpr):
    """Codes of 1 bit, chosen for the angle between a vector and its decoded form, and sigmas."""
    residual = unit - centroid
    wide = residual.to(tl.float64)
    square = tl.sum(wide * wide, axis=1)
    code, sigma = _codes_of(residual, own, cutoffs, 1), own
    for turn in tl.static_range(_SIGN_ROUNDS + 1):
        direction = _levels_of(code, levels, dimension, dim)
        overlap, _ = _fit(residual, direction)
        is_fit = overlap > 0
        sigma = tl.where(is_fit, (square / tl.where(is_fit, overlap, 1.0)).to(tl.float32), sigma)
        if turn < _SIGN_ROUNDS:
            decoded = centroid + sigma[:, None] * direction
            product = tl.sum(unit * decoded, axis=1)
            again = is_fit & (product > 0)
            scale = tl.div_rn(tl.sum(decoded * decoded, axis=1), tl.where(again, product, 1.0))
            code = tl.where(again[:, None], _codes_of(unit * scale[:, None] - centroid, own, cutoffs, 1), code)
    return code, sigma


@triton.jit
def _packed(code, step: tl.constexpr, width: tl.constexpr, nbits: tl.constexpr):
    """Codes [step, width] as bytes, the first dimension in the low bits."""
    places: tl.constexpr = 8 // nbits
    parts = tl.reshape(code, [step, width // places, places]) << (tl.arange(0, places) * nbits)[None, None, :]
    return tl.sum(parts, axis=2).to(tl.uint8)


@triton.jit
def quantize(
    vectors, ids, centroids, cutoffs, levels, factors, codes, sigmas, norms, rows, per_norm,
    dim: tl.constexpr, width: tl.constexpr, code_bytes: tl.constexpr, nbits: tl.constexpr, trials: tl.constexpr,
    step: tl.constexpr,
):  # fmt: skip
    """codes [rows, code_bytes] uint8, sigmas and norms [rows] fp16 of vectors [rows, dim] fp32.

    ids [rows] int32 of rows of centroids [K, dim] fp32; cutoffs [2**nbits - 1] and levels [2**nbits] fp32; factors
    [trials] fp32, at 4 and 8 bits; per_norm: by which norms are multiplied. See `Backend.quantize`.
    """
    row, there = _rows_of(rows, step)
    dimension = tl.arange(0, width)
    vector = _loaded(vectors, row, dimension, dim)
    centroid = _loaded(centroids, tl.load(ids + row).to(tl.int64), dimension, dim)
    length = _length_of(vector)
    unit = tl.div_rn(vector, tl.maximum(length, _TINY)[:, None] + tl.zeros_like(vector))
    residual = unit - centroid
    own = _half(tl.div_rn(_length_of(residual), tl.sqrt_rn(tl.zeros_like(length) + dim)))
    if nbits == 1:
        code, sigma = _projected_codes(unit, centroid, own, cutoffs, levels, dimension, dim)
    elif nbits == 2:
        code, sigma = _codes_of(residual, own, cutoffs, nbits), own
    else:
        code, sigma = _fitted_codes(residual, own, cutoffs, levels, factors, dimension, dim, nbits, trials)
    code = tl.where((own > 0)[:, None], code, 0)
    sigma = _half(tl.where(own > 0, sigma, 0.0))
    decoded = _length_of(centroid + sigma[:, None] * _levels_of(code, levels, dimension, dim))
    norm = tl.where(decoded > 0, tl.div_rn(length, tl.where(decoded > 0, decoded, 1.0)), 0.0)
    tl.store(sigmas + row, sigma.to(tl.float16), mask=there)
    tl.store(norms + row, (norm * per_norm).to(tl.float16), mask=there)
    code = tl.where((dimension < dim)[None, :], code, 0)
    byte = tl.arange(0, width * nbits // 8)
    place = codes + row[:, None] * code_bytes + byte[None, :]
    tl.store(place, _packed(code, step, width, nbits), mask=there[:, None] & (byte < code_bytes)[None, :])
