"""Which centroid is the nearest one of each token vector."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from jcb_engine.codec.kmeans import kmeans
from jcb_engine.kernels import AssigningBackend, Backend, CentroidLists
from jcb_engine.types import Float32Array, Int64Array, Uint32Array

COMPARE_ALL_UP_TO = 1_024
# Of about sqrt(K) lists. Measured on 1.2 M tokens of 128 dimensions, 8,192 centroids in 128 lists, share of tokens that
# get their nearest centroid, and the mean squared residual beside that of the nearest: 8 probes .991 and 1.0026, 16
# probes .998 and 1.0006. Products per token: 640 and 1,152, instead of 8,192.
PROBES = 16
PROBES_WHILE_TRAINING = 8


class CentroidAssigner:
    """Finds the nearest centroid (smallest L2 distance) of token vectors; above COMPARE_ALL_UP_TO nearly always.

    |v - c|**2 is least where <v, c> - |c|**2 / 2 is largest, a product of vectors with one dimension more. Products of
    the backend do not depend on their neighbours in the matrix, so equal vectors get equal ids, which a BLAS does not
    promise. Many centroids are parted into lists by k-means over them: only those of the nearest lists are compared.
    """

    def __init__(self, centroids: Float32Array, seed: int = 1, probes: int = PROBES) -> None:
        self._centroids = np.ascontiguousarray(centroids)
        self._seed, self._most_probes = seed, probes

    def assign(self, vectors: Float32Array, backend: Backend) -> Uint32Array:
        """Centroid ids [T] uint32 of vectors [T, D]."""
        if len(vectors) == 0:
            return np.zeros(0, dtype=np.uint32)
        if isinstance(backend, AssigningBackend):
            return backend.nearest(np.ascontiguousarray(vectors, dtype=np.float32), self._centroids)
        rows = np.concatenate([vectors, np.ones((len(vectors), 1), np.float32)], axis=1, dtype=np.float32)
        if len(self._centroids) <= COMPARE_ALL_UP_TO:
            ids, _ = backend.nearest_centroids(rows, self._columns, 1)
            return np.asarray(ids[:, 0], dtype=np.uint32)
        middles, lists = self._parts
        probes, _ = backend.nearest_centroids(rows, middles, min(self._most_probes, len(middles)))
        return backend.nearest_in_lists(rows, lists, probes)

    @cached_property
    def _columns(self) -> Float32Array:
        return _for_distances(self._centroids)

    @cached_property
    def _parts(self) -> tuple[Float32Array, CentroidLists]:
        """Columns of the middles of lists, and the lists. A backend that compares all needs neither."""
        middles = kmeans(self._centroids, lists_for(len(self._centroids)), self._seed)
        return _parted(self._centroids, self._columns, middles)


def lists_for(centroids: int) -> int:
    """About sqrt(K), a power of two: what makes choosing the lists and comparing inside them cost alike."""
    return int(2 ** np.ceil(np.log2(centroids) / 2))


def _for_distances(centroids: Float32Array) -> Float32Array:
    """Centroids [K, D + 1] whose products with (v, 1) are largest where the distance to v is smallest."""
    half_squares = -0.5 * np.square(centroids, dtype=np.float64).sum(axis=1, keepdims=True)
    return np.concatenate([centroids, half_squares.astype(np.float32)], axis=1)


def _parted(
    centroids: Float32Array, columns: Float32Array, middles: Float32Array
) -> tuple[Float32Array, CentroidLists]:
    """Lists of `columns` by the nearest of the middles [L, D], and those middles [L', D + 1] that have any."""
    distances = centroids @ middles.T - 0.5 * np.square(middles).sum(axis=1)
    list_of: Int64Array = distances.argmax(axis=1)
    sizes = np.bincount(list_of, minlength=len(middles))
    order = np.argsort(list_of, kind="stable")
    offsets = np.concatenate([[0], np.cumsum(sizes[sizes > 0])]).astype(np.int64)
    lists = CentroidLists(np.ascontiguousarray(columns[order]), order.astype(np.uint32), offsets)
    return _for_distances(np.ascontiguousarray(middles[sizes > 0])), lists
