"""K-means centroids over a bounded sample, by FAISS, and the assignment of tokens to them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from jcb_engine.errors import InputError, MissingDependencyError
from jcb_engine.kernels import Backend
from jcb_engine.types import Float32Array, Int64Array, Uint32Array

# Above this, flat k-means on a CPU takes hours: cost grows with sample x centroids, and both grow with the corpus.
TWO_LEVEL_ABOVE = 16_384
TOKENS_PER_CENTROID = 64  # of the sample; more changes recall by less than the noise of the measurement
ITERATIONS = 8
# Nearest lists searched when assigning through two levels: finds the nearest centroid for about 99 % of tokens.
ASSIGNMENT_PROBES = 16


def import_faiss() -> Any:
    """The faiss module, or an error that names the extras that bring it."""
    try:
        import faiss
    except ImportError as error:
        raise MissingDependencyError(
            "faiss is not installed; pip install 'jcb-engine[cpu]' (or [gpu] on a machine with CUDA; never both)"
        ) from error
    return faiss


def default_centroid_count(tokens: int) -> int:
    """8 * sqrt(tokens), rounded down to a power of two; at least 1. 1.2 M tokens give 8,192."""
    if tokens < 1:
        return 1
    return int(2 ** max(0, math.floor(math.log2(8 * math.sqrt(tokens)))))


def train_centroids(sample: Float32Array, count: int, seed: int) -> Float32Array:
    """Centroids [count, D] float32 of a sample [S, D]; deterministic for a seed.

    count is lowered to S where the sample is smaller. Empty clusters are split off the largest ones by FAISS.
    """
    count = min(count, len(sample))
    if count < 1:
        raise InputError("there are no token vectors to train centroids on: every document is empty")
    if count > TWO_LEVEL_ABOVE:
        return _two_level(sample, count, seed)
    return _kmeans(sample, count, seed)


def _kmeans(sample: Float32Array, count: int, seed: int) -> Float32Array:
    faiss = import_faiss()
    clustering = faiss.Clustering(sample.shape[1], count)
    clustering.niter = ITERATIONS
    clustering.seed = seed % (2**31)
    # The sample is bounded already; FAISS would copy a second one out of it, and warns below 39 points a centroid.
    clustering.max_points_per_centroid = len(sample)
    clustering.min_points_per_centroid = 1
    clustering.train(np.ascontiguousarray(sample), faiss.IndexFlatL2(sample.shape[1]))
    return np.asarray(faiss.vector_to_array(clustering.centroids).reshape(count, -1), dtype=np.float32)


def _two_level(sample: Float32Array, count: int, seed: int) -> Float32Array:
    """About sqrt(count) coarse clusters, then k-means inside each with a share of `count` by its size."""
    coarse = _kmeans(sample, 2 ** round(math.log2(count) / 2), seed)
    nearest = import_faiss().IndexFlatL2(sample.shape[1])
    nearest.add(coarse)
    cluster_of_row = nearest.search(np.ascontiguousarray(sample), 1)[1][:, 0]
    sizes = np.bincount(cluster_of_row, minlength=len(coarse))
    fine = [
        _kmeans(sample[cluster_of_row == cluster], int(share), seed + 1 + int(cluster))
        for cluster, share in enumerate(_shares(sizes, count))
        if share
    ]
    return np.concatenate(fine)


def _shares(sizes: Int64Array, count: int) -> Int64Array:
    """Whole numbers that sum to `count`, in proportion to sizes, never above a size: largest remainders first."""
    exact = sizes * (count / sizes.sum())
    shares: Int64Array = np.minimum(np.floor(exact).astype(np.int64), sizes)
    while (missing := count - int(shares.sum())) > 0:
        open_clusters = np.flatnonzero(shares < sizes)
        order = np.argsort(shares[open_clusters] - exact[open_clusters], kind="stable")
        shares[open_clusters[order[:missing]]] += 1
    return shares


class CentroidAssigner:
    """Finds the nearest centroid (smallest L2 distance) of token vectors.

    Up to TWO_LEVEL_ABOVE centroids all are compared, by the backend: |v - c|**2 is least where <v, c> - |c|**2 / 2 is
    largest, a product of vectors with one dimension more. Such a product does not depend on its neighbours in the
    matrix, so equal vectors get equal ids, which a BLAS does not promise; and it is twice as fast as FAISS here.
    """

    def __init__(self, centroids: Float32Array) -> None:
        self._columns: Float32Array | None = None
        if len(centroids) <= TWO_LEVEL_ABOVE:
            half_squares = -0.5 * np.square(centroids, dtype=np.float64).sum(axis=1, keepdims=True)
            self._columns = np.concatenate([centroids, half_squares.astype(np.float32)], axis=1)
        else:
            self._index = _lists_of_centroids(centroids)

    def assign(self, vectors: Float32Array, backend: Backend) -> Uint32Array:
        """Centroid ids [T] uint32 of vectors [T, D]."""
        if len(vectors) == 0:
            return np.zeros(0, dtype=np.uint32)
        if self._columns is not None:
            rows = np.concatenate([vectors, np.ones((len(vectors), 1), np.float32)], axis=1, dtype=np.float32)
            ids, _ = backend.nearest_centroids(rows, self._columns, 1)
        else:
            _, ids = self._index.search(np.ascontiguousarray(vectors), 1)
        # An IVF probe may come back without a neighbour (-1) only for non-finite input, which is refused before.
        return np.asarray(ids[:, 0], dtype=np.uint32)


def _lists_of_centroids(centroids: Float32Array) -> Any:
    """A FAISS index that looks into a few of about sqrt(K) lists."""
    faiss = import_faiss()
    dim = centroids.shape[1]
    index = faiss.IndexIVFFlat(faiss.IndexFlatL2(dim), dim, 2 ** round(math.log2(len(centroids)) / 2))
    index.cp.seed = 1
    index.cp.min_points_per_centroid = 1
    index.train(centroids)
    index.nprobe = ASSIGNMENT_PROBES
    index.add(np.ascontiguousarray(centroids))
    return index
