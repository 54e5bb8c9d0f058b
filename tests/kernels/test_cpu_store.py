"""What a store may be made of, and what is refused before any kernel is called."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from jcb_engine.errors import InputError
from jcb_engine.kernels import Lists, Ranges, SegmentArrays
from jcb_engine.kernels.cpu import CpuBackend
from jcb_engine.kernels.reference import ReferenceBackend
from tests.conftest import brute_force
from tests.kernels.cpu_backends import queries_of, whole
from tests.kernels.stores import random_store


@pytest.mark.parametrize("nbits", [2, 16])
def test_mapped_read_only_arrays_serve_and_stay_alive(tmp_path: Path, nbits: int) -> None:
    codec, segments, decoded, offsets = random_store(dim=32, nbits=nbits, segment_documents=(30,), wide_ids=True)
    names = ("doc_offsets", "codes", "centroid_ids", "sigmas", "norms", "posting_offsets", "posting_documents")
    mapped = []
    for name in names:
        array = getattr(segments[0], name)
        path = tmp_path / name
        path.write_bytes(array.tobytes() + b"\0" * 64)
        view = np.memmap(path, dtype=array.dtype, mode="r")
        mapped.append(view[: array.size].reshape(array.shape))
    backend = CpuBackend()
    store = backend.prepare(codec, [SegmentArrays(*mapped, segments[0].max_sigma, segments[0].max_norm)])
    del mapped, view
    queries, query_offsets = queries_of((20,), 32)
    scores = backend.maxsim_quantized(store, queries, query_offsets, whole(30), "exact")
    np.testing.assert_allclose(scores[0], brute_force(queries, decoded, offsets), rtol=1e-5, atol=1e-4)


def broken(segment: SegmentArrays, **changes: np.ndarray) -> SegmentArrays:
    fields = {name: getattr(segment, name) for name in SegmentArrays.__slots__}
    return SegmentArrays(**{**fields, **changes})


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("doc_offsets", np.zeros(3, np.int32), r"doc_offsets is int32 \[3\]; expected int64 \[any\]"),
        ("doc_offsets", np.zeros(0, np.int64), "doc_offsets is empty"),
        ("codes", np.zeros((5, 7), np.uint8), r"codes is uint8 \[5, 7\]; expected uint8 \[any, 8\]"),
        ("centroid_ids", np.zeros(5, np.int64), "centroid_ids is int64"),
        ("sigmas", np.zeros(1, np.float16), r"sigmas is float16 \[1\]; expected float16 \[\d+\]"),
        ("norms", np.zeros((5, 1), np.float16), "norms is float16"),
        ("posting_offsets", np.zeros(3, np.int64), r"posting_offsets is int64 \[3\]; expected int64 \[17\]"),
        ("posting_documents", np.zeros(3, np.int64), "posting_documents is int64"),
    ],
)
def test_prepare_names_the_array_that_does_not_fit(name: str, array: np.ndarray, message: str) -> None:
    codec, segments, _, _ = random_store(dim=32, nbits=2, segment_documents=(5,))
    with pytest.raises(InputError, match=message):
        CpuBackend().prepare(codec, [broken(segments[0], **{name: array})])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"nbits": 3}, "a codec of 3 bits is unknown; allowed are 1, 2, 4, 8 and 16"),
        ({"norm_scale": 0.0}, "both must be positive"),
        ({"levels": np.zeros(5, np.float32)}, r"codec.levels is float32 \[5\]; expected float32 \[4\]"),
        ({"centroids": np.zeros((16, 31), np.float32)}, "codec.centroids is float32"),
    ],
)
def test_prepare_refuses_a_codec_that_does_not_fit(change: dict[str, object], message: str) -> None:
    codec, _, _, _ = random_store(dim=32, nbits=2, segment_documents=(1,))
    with pytest.raises(InputError, match=message):
        CpuBackend().prepare(replace(codec, **change), [])  # type: ignore[arg-type]


def test_stores_and_tables_of_other_makers_are_refused() -> None:
    codec, segments, _, _ = random_store(dim=16, nbits=2, segment_documents=(3,))
    backend, reference = CpuBackend(), ReferenceBackend()
    queries, query_offsets = queries_of((2,), 16)
    foreign, own = reference.prepare(codec, segments), backend.prepare(codec, segments)
    with pytest.raises(InputError, match="the store is a ReferenceStore; prepare it with this backend"):
        backend.maxsim_quantized(foreign, queries, query_offsets, whole(3))
    with pytest.raises(InputError, match="the table is not one of this store"):
        backend.maxsim_centroids(own, reference.centroid_scores(foreign, queries), query_offsets, whole(3))
    with pytest.raises(InputError, match="the table is not one of this store"):
        table = backend.centroid_scores(backend.prepare(codec, segments), queries)
        backend.maxsim_quantized(own, queries, query_offsets, whole(3), "fast", table)
    for others in (queries[:1], queries[::-1].copy()):
        with pytest.raises(InputError, match="the table of centroid scores was made for other queries"):
            table = backend.centroid_scores(own, others)
            backend.maxsim_quantized(own, queries, query_offsets, whole(3), "fast", table)


@pytest.mark.parametrize(
    ("candidates", "message"),
    [
        (Lists(np.zeros(3, np.uint32), np.array([0, 2])), "list_offsets must rise from 0 to 3"),
        (Lists(np.zeros(3, np.uint32), np.array([0, 1, 3])), r"list_offsets is int64 \[3\]; expected int64 \[2\]"),
        (Lists(np.zeros(3, np.int64), np.array([0, 3])), "candidates.documents is int64"),
        (Ranges(np.array([0]), np.array([4])), "candidate ranges must lie in 0:3"),
        (Ranges(np.array([-1]), np.array([2])), "candidate ranges must lie in 0:3"),
        (Ranges(np.array([2]), np.array([1])), "candidate ranges must lie in 0:3"),
        (Ranges(np.array([0, 1]), np.array([2])), r"candidates.ends is int64 \[1\]; expected int64 \[2\]"),
    ],
)
def test_candidates_that_are_not_well_formed_are_refused(candidates: Lists | Ranges, message: str) -> None:
    codec, segments, _, _ = random_store(dim=16, nbits=2, segment_documents=(3,))
    backend = CpuBackend()
    store = backend.prepare(codec, segments)
    queries, query_offsets = queries_of((2,), 16)
    with pytest.raises(InputError, match=message):
        backend.maxsim_quantized(store, queries, query_offsets, candidates)


def test_an_unknown_precision_is_refused() -> None:
    codec, segments, _, _ = random_store(dim=16, nbits=2, segment_documents=(3,))
    backend = CpuBackend()
    queries, query_offsets = queries_of((2,), 16)
    with pytest.raises(InputError, match="precision is 'best'; allowed are fast and exact"):
        backend.maxsim_quantized(backend.prepare(codec, segments), queries, query_offsets, whole(3), "best")
