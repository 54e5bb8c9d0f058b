"""Centroids over a bounded sample.

On the processor k-means in two levels by FAISS, polished by iterations over all of it; on a GPU see held_kmeans.py.
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from jcb_engine.codec.assignment import PROBES_WHILE_TRAINING, CentroidAssigner, lists_for
from jcb_engine.codec.faiss_held import FaissVectors, faiss_sees
from jcb_engine.codec.held_kmeans import fill_empty, kmeans_of_held, means_of
from jcb_engine.codec.kmeans import kmeans, one_faiss_thread
from jcb_engine.errors import InputError
from jcb_engine.kernels import AssigningBackend, Backend, GpuBackend, HeldVectors
from jcb_engine.types import Float32Array, Int64Array, Uint32Array

# Above this, k-means in two levels: flat, an iteration costs sample x centroids, and both grow with the corpus.
TWO_LEVEL_ABOVE = 1_024
TOKENS_PER_CENTROID = 64  # of the sample; more changes recall by less than the noise of the measurement
# Measured on 524k tokens of 128 dimensions, 8,192 centroids: mean squared distance of other tokens to their centroid.
# Flat k-means from a random start, 8 iterations, .3156; two levels .3203, and after 1, 2, 3 rounds of polishing .3076,
# .3031, .3009: better than flat, since two levels make the better start, for a tenth of the work.
POLISHING = 3
_POINTS_PER_LIST = 256  # of the sample, for the first level
_ROWS_AT_ONCE = 65_536


def default_centroid_count(tokens: int) -> int:
    """8 * sqrt(tokens), rounded down to a power of two; at least 1. 1.2 M tokens give 8,192."""
    if tokens < 1:
        return 1
    return int(2 ** max(0, math.floor(math.log2(8 * math.sqrt(tokens)))))


def train_centroids(sample: Float32Array, count: int, seed: int, backend: Backend) -> Float32Array:
    """Centroids [count, D] float32 of a sample [S, D] of about unit length; deterministic for a seed and a backend.

    count is lowered to S where the sample is smaller. The sample may be a map of a file: no second copy of it is made
    in host memory, but for the points of one cluster.

    Where vectors can be compared with all centroids on a GPU, all of it is done there (held_kmeans.py): by the backend
    itself if it is an `AssigningBackend`, else by FAISS if that has the backend's GPU. On the processor FAISS trains.
    """
    count = min(count, len(sample))
    if count < 1:
        raise InputError("there are no token vectors to train centroids on: every document is empty")
    held = _held(sample, backend)
    if held is not None:
        return kmeans_of_held(held, sample, count, seed)
    if count <= TWO_LEVEL_ABOVE:
        return kmeans(sample, count, seed)
    centroids = _two_level(sample, count, seed, backend)
    for _ in range(POLISHING):
        centroids = _polished(sample, centroids, seed, backend)
    return centroids


def _held(sample: Float32Array, backend: Backend) -> HeldVectors | None:
    """The sample where comparing it with all centroids is cheap; None where it is not."""
    if isinstance(backend, AssigningBackend):
        return backend.hold(sample)
    if isinstance(backend, GpuBackend) and faiss_sees(backend.gpu):
        return FaissVectors(sample, backend.gpu)
    return None


def _two_level(sample: Float32Array, count: int, seed: int, backend: Backend) -> Float32Array:
    """About sqrt(count) coarse clusters, then k-means inside each with a share of `count` by its size."""
    coarse_count = lists_for(count)
    spread = sample[:: max(1, len(sample) // (coarse_count * _POINTS_PER_LIST))]
    coarse = kmeans(spread, coarse_count, seed)
    ids = _assigned(sample, CentroidAssigner(coarse, seed), backend)
    sizes = np.bincount(ids, minlength=coarse_count)
    shares = _shares(sizes, count)

    def inside(cluster: int) -> Float32Array:
        with one_faiss_thread():
            return kmeans(sample[np.flatnonzero(ids == cluster)], int(shares[cluster]), seed + 1 + cluster)

    with ThreadPoolExecutor(backend.threads, thread_name_prefix="kmeans") as pool:
        return np.concatenate(list(pool.map(inside, np.flatnonzero(shares).tolist())))


def _polished(sample: Float32Array, centroids: Float32Array, seed: int, backend: Backend) -> Float32Array:
    """One iteration of k-means over the whole sample: each centroid becomes the mean of the vectors nearest to it.

    A centroid that is nearest to none moves onto a vector of a large cluster, which it shares from then on.
    """
    ids = _assigned(sample, CentroidAssigner(centroids, seed, PROBES_WHILE_TRAINING), backend)
    means = means_of(sample, ids, len(centroids))
    fill_empty(means, sample, ids, np.bincount(ids, minlength=len(centroids)))
    return means


def _assigned(sample: Float32Array, assigner: CentroidAssigner, backend: Backend) -> Uint32Array:
    parts = [assigner.assign(sample[s : s + _ROWS_AT_ONCE], backend) for s in range(0, len(sample), _ROWS_AT_ONCE)]
    return np.concatenate(parts)


def _shares(sizes: Int64Array, count: int) -> Int64Array:
    """Whole numbers that sum to `count`, in proportion to sizes, never above a size: largest remainders first."""
    exact = sizes * (count / sizes.sum())
    shares: Int64Array = np.minimum(np.floor(exact).astype(np.int64), sizes)
    while (missing := count - int(shares.sum())) > 0:
        open_clusters = np.flatnonzero(shares < sizes)
        order = np.argsort(shares[open_clusters] - exact[open_clusters], kind="stable")
        shares[open_clusters[order[:missing]]] += 1
    return shares
