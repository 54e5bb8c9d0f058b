"""A seeded store of random codes, made in numpy alone: what the kernels' speed depends on is sizes, not meaning."""

from __future__ import annotations

import numpy as np

from jcb_engine.kernels.interface import RAW_BITS, CodecArrays, SegmentArrays

LEVELS = {
    1: [-0.7979, 0.7979],
    2: [-1.5104, -0.4528, 0.4528, 1.5104],
    4: np.linspace(-2.7, 2.7, 16).tolist(),
    8: np.linspace(-4.0, 4.0, 256).tolist(),
    RAW_BITS: [],
}


def random_segment(
    tokens: int, nbits: int = 2, dim: int = 128, centroids: int = 16_384, mean_length: int = 130, seed: int = 0
) -> tuple[CodecArrays, SegmentArrays]:
    """A codec and one segment of about so many tokens; documents have 1 to twice the mean length, decoded vectors 1."""
    random = np.random.default_rng(seed)
    rows = random.standard_normal((centroids, dim), dtype=np.float32)
    rows *= np.float32(0.9) / np.linalg.norm(rows, axis=1, keepdims=True)
    levels = np.array(LEVELS[nbits], np.float32)
    codec = CodecArrays(dim, nbits, rows, np.zeros(max(0, len(levels) - 1), np.float32), levels)
    lengths = random.integers(1, 2 * mean_length, size=max(1, tokens // mean_length))
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    total = int(offsets[-1])
    ids = random.integers(0, centroids, size=total, dtype=np.uint32)
    postings = _postings(ids, lengths, centroids)
    if nbits == RAW_BITS:
        vectors = random.standard_normal((total, dim), dtype=np.float32) / np.float32(np.sqrt(dim))
        halves = np.zeros(0, np.float16)
        stored = (offsets, vectors.astype(np.float16), np.zeros(0, np.uint32), halves, halves)
        return codec, SegmentArrays(*stored, *postings, 0.0, 0.0)
    codes = random.integers(0, 256, size=(total, codec.code_bytes), dtype=np.uint8)
    sigmas = random.uniform(0.03, 0.06, size=total).astype(np.float16)
    norms = random.uniform(0.95, 1.05, size=total).astype(np.float16)
    stored = (offsets, codes, ids, sigmas, norms)
    return codec, SegmentArrays(*stored, *postings, float(sigmas.max()), float(norms.max()))


def _postings(ids: np.ndarray, lengths: np.ndarray, centroids: int) -> tuple[np.ndarray, np.ndarray]:
    """posting_offsets [K + 1] and posting_documents of the tokens' centroid ids."""
    owners = np.repeat(np.arange(len(lengths), dtype=np.uint64), lengths)
    pairs = np.unique(ids.astype(np.uint64) << np.uint64(32) | owners)
    counts = np.bincount((pairs >> np.uint64(32)).astype(np.int64), minlength=centroids)
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64), (pairs & np.uint64(2**32 - 1)).astype(np.uint32)


def random_queries(count: int, tokens: int = 32, dim: int = 128, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors [count * tokens, dim] fp32, and offsets [count + 1]."""
    rows = np.random.default_rng(seed).standard_normal((count * tokens, dim), dtype=np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True), np.arange(count + 1, dtype=np.int64) * tokens


def expected_score(codec: CodecArrays, segment: SegmentArrays, document: int, query: np.ndarray) -> float:
    """MaxSim of one document in float64."""
    first, last = segment.doc_offsets[document : document + 2]
    if codec.nbits == RAW_BITS:
        vectors = segment.codes[first:last].astype(np.float64) * codec.norm_scale
        return float((query.astype(np.float64) @ vectors.T).max(axis=1).sum())
    bits = np.unpackbits(segment.codes[first:last], axis=1, count=codec.dim * codec.nbits, bitorder="little")
    parts = bits.reshape(int(last - first), codec.dim, codec.nbits).astype(np.int64)
    codes = (parts << np.arange(codec.nbits)).sum(axis=2)
    sizes = segment.sigmas[first:last].astype(np.float64)[:, None]
    vectors = codec.centroids[segment.centroid_ids[first:last]].astype(np.float64) + sizes * codec.levels[codes]
    vectors *= segment.norms[first:last].astype(np.float64)[:, None] * codec.norm_scale
    return float((query.astype(np.float64) @ vectors.T).max(axis=1).sum())
