"""K-means by FAISS on the processor; faiss_held.py has its GPU."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from jcb_engine.errors import MissingDependencyError
from jcb_engine.types import Float32Array

ITERATIONS = 8


def import_faiss() -> Any:
    """The faiss module, or an error that names the extras that bring it."""
    try:
        import faiss
    except ImportError as error:
        raise MissingDependencyError(
            "faiss is not installed; pip install 'jcb-engine[cpu]' (or [gpu] on a machine with CUDA; never both)"
        ) from error
    return faiss


@contextmanager
def one_faiss_thread() -> Iterator[None]:
    """Let FAISS work on the calling thread alone.

    For tasks of milliseconds, waking its OpenMP threads costs as much as they help; far more on a busy machine,
    where they spin for a processor.
    """
    faiss = import_faiss()
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)  # OpenMP keeps this per calling thread: other threads are not touched
    try:
        yield
    finally:
        faiss.omp_set_num_threads(threads)


def kmeans(points: Float32Array, count: int, seed: int, iterations: int = ITERATIONS) -> Float32Array:
    """Centroids [count, D] float32 of points [S, D], S >= count; deterministic for a seed.

    Empty clusters are split off the largest ones by FAISS.
    """
    faiss = import_faiss()
    clustering = faiss.Clustering(points.shape[1], count)
    clustering.niter = iterations
    clustering.seed = seed % (2**31)
    # Points are bounded already; FAISS would copy a second set out of them, and warns below 39 points a centroid.
    clustering.max_points_per_centroid = len(points)
    clustering.min_points_per_centroid = 1
    clustering.train(np.ascontiguousarray(points), faiss.IndexFlatL2(points.shape[1]))
    return np.asarray(faiss.vector_to_array(clustering.centroids).reshape(count, -1), dtype=np.float32)
