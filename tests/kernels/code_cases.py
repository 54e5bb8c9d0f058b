"""Vectors to make codes of, and what is asked of codes that are made elsewhere than in the reference."""

from __future__ import annotations

import numpy as np

from jcb_engine.codec.levels import gaussian_levels
from jcb_engine.kernels import Backend, CodecArrays
from jcb_engine.kernels.interface import SIGMA_FACTORS
from jcb_engine.kernels.reference import ReferenceBackend, unpack_codes

REFERENCE = ReferenceBackend()
_TIE = 1e-5  # of a value in units of sigma, from a cutoff: rounding may give it either code


def coded_tokens(tokens: int, dim: int, nbits: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, CodecArrays]:
    """Vectors near their centroids, of several lengths, a zero vector and a zero residual among them; ids; a codec."""
    random = np.random.default_rng([seed, tokens, dim, nbits])
    centroids = random.standard_normal((7, dim)).astype(np.float32)
    centroids *= np.float32(0.9) / np.linalg.norm(centroids, axis=1, keepdims=True)
    ids = random.integers(7, size=tokens).astype(np.uint32)
    noise = random.standard_normal((tokens, dim)) * random.uniform(0.1, 1, (tokens, 1)) / np.sqrt(dim)
    vectors = ((centroids[ids] + noise) * random.uniform(0.5, 8, (tokens, 1))).astype(np.float32)
    if tokens > 2:
        vectors[1] = 0
        centroids[ids[2]] = np.eye(1, dim)
        vectors[2] = 2 * centroids[ids[2]]
    return vectors, ids, CodecArrays(dim, nbits, centroids, *gaussian_levels(nbits), norm_scale=4.0)


def check_codes(backend: Backend, vectors: np.ndarray, ids: np.ndarray, codec: CodecArrays) -> None:
    """Codes are the reference's but for ties, scalars within a step of fp16, errors no larger; repeats are equal."""
    ours, expected = backend.quantize(vectors, ids, codec), REFERENCE.quantize(vectors, ids, codec)
    for array, again, wanted in zip(ours, backend.quantize(vectors, ids, codec), expected, strict=True):
        assert array.dtype == wanted.dtype
        assert array.shape == wanted.shape
        np.testing.assert_array_equal(array, again)
    ties, halfway = _ties(vectors, ids, codec)
    for own, wanted in zip(ours[1:], expected[1:], strict=True):
        steps = np.spacing(np.maximum(own, wanted)).astype(np.float64)
        assert (halfway | (np.abs(own.astype(np.float64) - wanted) <= steps)).all()
    differs = unpack_codes(ours[0], codec.dim, codec.nbits) != unpack_codes(expected[0], codec.dim, codec.nbits)
    assert differs.mean() <= 1e-3 if differs.size else True
    if codec.nbits > 1:  # signs of 1 bit are chosen anew by sums, whose rounding no simple rule has
        assert (ties | halfway[:, None] | ~differs).all()
    assert (_errors(ours, vectors, ids, codec) <= 1.001 * _errors(expected, vectors, ids, codec) + 1e-6).all()
    assert (ours[2][(vectors == 0).all(axis=1)] == 0).all()


def _errors(made: tuple[np.ndarray, ...], vectors: np.ndarray, ids: np.ndarray, codec: CodecArrays) -> np.ndarray:
    """[T] of decoded vectors, in parts of a vector's length."""
    decoded = REFERENCE.dequantize(ids, *made, codec)
    return np.linalg.norm(decoded - vectors, axis=1) / np.maximum(np.linalg.norm(vectors, axis=1), 1e-30)


def _ties(vectors: np.ndarray, ids: np.ndarray, codec: CodecArrays) -> tuple[np.ndarray, np.ndarray]:
    """[T, D]: for some size that is tried the value lies on a cutoff; [T]: that size lies between two of fp16."""
    wide = vectors.astype(np.float64)
    residuals = wide / np.maximum(np.linalg.norm(wide, axis=1, keepdims=True), 1e-30) - codec.centroids[ids]
    exact = np.linalg.norm(residuals, axis=1, keepdims=True) / np.sqrt(codec.dim)
    found = np.zeros(residuals.shape, dtype=bool)
    for factor in SIGMA_FACTORS.get(codec.nbits, (1.0,)):
        scaled = residuals / np.maximum(factor * exact.astype(np.float16).astype(np.float64), 1e-30)
        place = np.searchsorted(codec.cutoffs, scaled)
        for beside in (np.maximum(place - 1, 0), np.minimum(place, len(codec.cutoffs) - 1)):
            found |= np.abs(scaled - codec.cutoffs[beside]) <= _TIE * np.maximum(1, np.abs(scaled))
    halves = exact.astype(np.float16)
    halfway = np.abs(halves - exact) >= 0.49 * np.spacing(halves).astype(np.float64)
    return found, np.asarray(halfway[:, 0])
