"""Vectors compared with all centroids by FAISS on a GPU, where its wheel has one: for a backend that cannot itself.

The backend "triton", which builds take on a GPU, needs none of it: its own program compares operands of fp16 by the
matrix units, FAISS multiplies in fp32 (H100, 1 M vectors and 16,384 centroids: 7 ms at best, predicted, and at its
67 TFLOP/s 66 ms), and it asks for no faiss-gpu. What is left is the backend "cuda", whose library scores and does not
build: where it was chosen for a build, k-means is FAISS's work on the same GPU rather than the processor's.
"""

from __future__ import annotations

import numpy as np

from jcb_engine.codec.held_kmeans import means_of
from jcb_engine.codec.kmeans import import_faiss
from jcb_engine.types import Float32Array, Uint32Array

_ROWS_AT_ONCE = 65_536


def faiss_sees(gpu: int) -> bool:
    """Whether the installed FAISS can use that GPU: faiss-cpu sees none."""
    return bool(gpu < import_faiss().get_num_gpus())


class FaissVectors:
    """HeldVectors [S, D] in host memory, or a map of a file; they are sent to the GPU in every pass."""

    def __init__(self, vectors: Float32Array, gpu: int) -> None:
        faiss = import_faiss()
        config = faiss.GpuIndexFlatConfig()
        config.device = gpu
        self._vectors = vectors
        self._resources = faiss.StandardGpuResources()  # which the index uses for as long as it lives
        self._index = faiss.GpuIndexFlatL2(self._resources, vectors.shape[1], config)

    def means(self, centroids: Float32Array) -> tuple[Float32Array, Uint32Array]:
        """`HeldVectors.means`, in double precision."""
        ids = self._compared(centroids)[0]
        return means_of(self._vectors, ids, len(centroids)), ids

    def squared_distances(self, centroids: Float32Array) -> Float32Array:
        """`HeldVectors.squared_distances`."""
        return self._compared(centroids)[1]

    def _compared(self, centroids: Float32Array) -> tuple[Uint32Array, Float32Array]:
        """Ids [S] of the nearest, and squared distances [S]."""
        self._index.reset()
        self._index.add(np.ascontiguousarray(centroids))
        ids = np.empty(len(self._vectors), dtype=np.uint32)
        distances = np.empty(len(self._vectors), dtype=np.float32)
        for start in range(0, len(ids), _ROWS_AT_ONCE):
            part = slice(start, start + _ROWS_AT_ONCE)
            found, places = self._index.search(np.ascontiguousarray(self._vectors[part]), 1)
            ids[part], distances[part] = places[:, 0], np.maximum(found[:, 0], 0)
        return ids, distances
