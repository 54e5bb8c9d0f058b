"""Random stores for the kernel tests, with the vectors they decode to."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from jcb_engine.codec.levels import gaussian_levels
from jcb_engine.kernels import RAW_BITS, CodecArrays, SegmentArrays
from jcb_engine.kernels.reference import ReferenceBackend
from tests.conftest import random_embeddings


def random_store(
    *,
    dim: int,
    nbits: int,
    segment_documents: Sequence[int],
    centroids: int = 16,
    seed: int = 0,
    norm_scale: float = 1.0,
    wide_ids: bool = False,
    longest: int = 30,
) -> tuple[CodecArrays, list[SegmentArrays], np.ndarray, np.ndarray]:
    """A codec, its segments, and what all their tokens decode to: vectors [T, D], offsets [N + 1]."""
    random = np.random.default_rng(seed)
    rows = random.standard_normal((centroids, dim)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    nothing = np.zeros(0, np.float32)
    cutoffs, levels = (nothing, nothing) if nbits == RAW_BITS else gaussian_levels(nbits)
    codec = CodecArrays(dim, nbits, rows * np.float32(0.9), cutoffs, levels, norm_scale)
    segments, decoded, lengths = [], [np.zeros((0, dim), np.float32)], []
    for number, documents in enumerate(segment_documents):
        vectors, offsets = random_embeddings(documents, dim, seed + number + 1, longest)
        segment, back = _segment(codec, vectors * np.float32(norm_scale), offsets, wide_ids)
        segments.append(segment)
        decoded.append(back)
        lengths.append(np.diff(offsets))
    return codec, segments, np.concatenate(decoded), np.concatenate([[0], np.cumsum(np.concatenate(lengths))])


def _segment(
    codec: CodecArrays, vectors: np.ndarray, offsets: np.ndarray, wide_ids: bool
) -> tuple[SegmentArrays, np.ndarray]:
    reference = ReferenceBackend()
    distances = ((vectors[:, None] - codec.centroids[None]) ** 2).sum(axis=2)
    ids = distances.argmin(axis=1).astype(np.uint32)
    posting_offsets, posting_documents = _postings(ids, offsets, len(codec.centroids))
    halves = np.zeros(0, np.float16)
    if codec.nbits == RAW_BITS:
        codes = (vectors / codec.norm_scale).astype(np.float16)
        stored = (offsets.astype(np.int64), codes, np.zeros(0, np.uint16), halves, halves)
        back = codes.astype(np.float32) * np.float32(codec.norm_scale)
        return SegmentArrays(*stored, posting_offsets, posting_documents, 0.0, 0.0), back
    codes, sigmas, norms = reference.quantize(vectors, ids, codec)
    stored_ids = ids if wide_ids else ids.astype(np.uint16)
    segment = SegmentArrays(
        offsets.astype(np.int64),
        codes,
        stored_ids,
        sigmas,
        norms,
        posting_offsets,
        posting_documents,
        float(sigmas.max(initial=0)),
        float(norms.max(initial=0)),
    )
    return segment, reference.dequantize(ids, codes, sigmas, norms, codec)


def _postings(ids: np.ndarray, offsets: np.ndarray, centroids: int) -> tuple[np.ndarray, np.ndarray]:
    owners = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    lists = [np.unique(owners[ids == centroid]) for centroid in range(centroids)]
    posting_offsets = np.cumsum([0, *map(len, lists)], dtype=np.int64)
    return posting_offsets, np.concatenate([np.zeros(0, int), *lists]).astype(np.uint32)
