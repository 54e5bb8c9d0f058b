"""FAISS indexes over centroids or encodings, made anew from them whenever needed: no FAISS file is ever read."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from jcb_engine.codec.kmeans import import_faiss
from jcb_engine.errors import InputError
from jcb_engine.types import AnyArray, Float32Array

_PLACE = re.compile(r"^Error in .* at \S+:\d+: ")  # what FAISS's messages begin with
_LEAST_LISTS = 8
_ROWS_AT_ONCE = 2_048  # of encodings turned into float32
_TRAINING_ROWS = 16_384


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


def encoding_index(parts: Sequence[AnyArray], factory: str) -> Any:
    """A faiss.Index by inner product over the encodings [N, F] of all segments, in their order.

    Trained on rows at equal distances. Raises InputError where FAISS cannot make it, or cannot search within a mask.
    """
    rows, dim = sum(map(len, parts)), int(parts[0].shape[1])
    index = _made(dim, factory)
    _widen_lists(index)
    try:
        if not index.is_trained:
            step = max(1, rows // _TRAINING_ROWS)
            index.train(np.concatenate([np.asarray(part[::step], dtype=np.float32) for part in parts]))
        for part in parts:
            for start in range(0, len(part), _ROWS_AT_ONCE):
                index.add(np.ascontiguousarray(part[start : start + _ROWS_AT_ONCE], dtype=np.float32))
        nothing = np.zeros((rows + 7) // 8, dtype=np.uint8)
        search_within(index, np.zeros((1, dim), dtype=np.float32), 1, nothing)
    except RuntimeError as error:
        raise InputError(
            f"FAISS cannot build {factory!r} over {rows} encodings of {dim} dimensions, or not search it within a "
            f"mask: {_reason(error)}; take Flat, IVF<lists>,Flat or HNSW32"
        ) from error
    return index


def search_within(index: Any, queries: Float32Array, count: int, mask: AnyArray | None) -> tuple[Any, Any]:
    """Scores and ids [queries, count] among the rows whose bit is set in the mask (lowest bit first); -1: none left."""
    if mask is None:
        return index.search(queries, count)  # type: ignore[no-any-return]
    faiss = import_faiss()
    selector = faiss.IDSelectorBitmap(mask)
    return index.search(queries, count, params=_parameters(index, selector))  # type: ignore[no-any-return]


def _parameters(index: Any, selector: Any) -> Any:
    """Search parameters of the index's own kind: FAISS takes no others, and its defaults are not the index's."""
    faiss = import_faiss()
    if isinstance(index, faiss.IndexPreTransform):
        inner = faiss.downcast_index(index.index)
        return faiss.SearchParametersPreTransform(index_params=_parameters(inner, selector))
    if isinstance(index, faiss.IndexIVF):
        return faiss.SearchParametersIVF(sel=selector, nprobe=index.nprobe)
    if isinstance(index, faiss.IndexHNSW):
        return faiss.SearchParametersHNSW(sel=selector, efSearch=index.hnsw.efSearch)
    return faiss.SearchParameters(sel=selector)


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
            f"{factory!r} is not a factory string of FAISS for {dim} dimensions: {_reason(error)}; "
            "give one such as Flat, HNSW32 or IVF256,Flat (--faiss, faiss_factory= or MuveraOptions(factory=))"
        ) from error


def _reason(error: RuntimeError) -> str:
    """FAISS's message without the place in its source."""
    text = str(error).strip().splitlines()[-1]
    return _PLACE.sub("", text).removeprefix("Error: ") or "no reason given"
