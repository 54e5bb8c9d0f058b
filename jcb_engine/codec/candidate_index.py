"""A FAISS index over the centroids, made anew from them whenever it is needed: no FAISS file is ever read."""

from __future__ import annotations

from typing import Any

import numpy as np

from jcb_engine.codec.kmeans import import_faiss
from jcb_engine.errors import InputError
from jcb_engine.types import Float32Array

_LEAST_LISTS = 8


def check_factory(factory: str, dim: int) -> None:
    """Raise InputError where FAISS does not know the factory string, or cannot use it for this dimension."""
    _made(dim, factory)


def centroid_index(centroids: Float32Array, factory: str) -> Any:
    """A faiss.Index by inner product over centroids [K, D]; trained where the factory asks for it."""
    index = _made(centroids.shape[1], factory)
    rows = np.ascontiguousarray(centroids)
    _widen_lists(index)
    try:
        if not index.is_trained:
            index.train(rows)
        index.add(rows)
    except RuntimeError as error:
        raise InputError(
            f"FAISS cannot build {factory!r} over {len(centroids)} centroids of {centroids.shape[1]} dimensions: "
            f"{_reason(error)}"
        ) from error
    return index


def _widen_lists(index: Any) -> None:
    """An IVF index looks into one list by default, which loses a third of the nearest centroids: make it an eighth."""
    ivf = import_faiss().try_extract_index_ivf(index)
    if ivf is not None:
        ivf.nprobe = min(ivf.nlist, max(_LEAST_LISTS, ivf.nlist // 8))
        ivf.cp.min_points_per_centroid = 1  # centroids are few by nature; FAISS would warn


def _made(dim: int, factory: str) -> Any:
    faiss = import_faiss()
    try:
        return faiss.index_factory(dim, factory, faiss.METRIC_INNER_PRODUCT)
    except RuntimeError as error:
        raise InputError(
            f"faiss_factory {factory!r} is not a FAISS factory string for {dim} dimensions: {_reason(error)}"
        ) from error


def _reason(error: RuntimeError) -> str:
    """FAISS's message without the place in its source."""
    return str(error).strip().splitlines()[-1].rpartition("Error: ")[2] or "no reason given"
