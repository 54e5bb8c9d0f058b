"""The CUDA kernels' library (csrc/cuda/library.cu), loaded by ctypes: structs, signatures, errors."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jcb_engine.errors import BackendUnavailableError, CorruptIndexError, InputError
from jcb_engine.kernels.interface import CodecArrays, Probing, SegmentArrays
from jcb_engine.types import AnyArray, Float32Array, Int64Array, Uint8Array, Uint32Array

LIBRARY = Path(__file__).with_name("libjcb_cuda.so")
_CORRUPT, _INPUT, _DEVICE, _MEMORY = 1, 2, 3, 4
_Pointer = ctypes.c_void_p
CHUNK_BYTES = 64 * 2**20  # of codes that are made ready for the GPU at once; twice that is pinned for as long


class _Codec(ctypes.Structure):
    """jcb::CodecView of csrc/include/jcb/store.h."""

    _fields_ = (
        ("dim", ctypes.c_int64),
        ("nbits", ctypes.c_int32),
        ("centroid_count", ctypes.c_int64),
        ("centroids", _Pointer),
        ("cutoffs", _Pointer),
        ("levels", _Pointer),
        ("norm_scale", ctypes.c_float),
    )


class _Segment(ctypes.Structure):
    """jcb::SegmentView of the same."""

    _fields_ = (
        ("documents", ctypes.c_int64),
        ("tokens", ctypes.c_int64),
        ("doc_offsets", _Pointer),
        ("codes", _Pointer),
        ("centroid_ids_16", _Pointer),
        ("centroid_ids_32", _Pointer),
        ("sigmas", _Pointer),
        ("norms", _Pointer),
        ("posting_offsets", _Pointer),
        ("posting_documents", _Pointer),
        ("posting_count", ctypes.c_int64),
        ("max_sigma", ctypes.c_float),
        ("max_norm", ctypes.c_float),
    )


class _Options(ctypes.Structure):
    """jcb::cuda::StoreOptions of csrc/cuda/tile_memory.h."""

    _fields_ = (("most_on_device", ctypes.c_int64), ("chunk_bytes", ctypes.c_int64), ("threads", ctypes.c_int32))


class _Failure(ctypes.Structure):
    _fields_ = (("kind", ctypes.c_int32), ("text", ctypes.c_char * 500))


class CudaLibrary:
    """Its functions over numpy arrays. Shapes are the caller's concern, contents the library's."""

    def __init__(self, path: Path = LIBRARY) -> None:
        """BackendUnavailableError where it was not built or cannot be loaded."""
        if not path.exists():
            raise BackendUnavailableError(
                "the CUDA kernels are not built; install jcb-engine from source with JCB_CUDA=on where nvcc is, "
                "or use the backend triton"
            )
        try:
            self._functions: Any = ctypes.CDLL(str(path))
        except OSError as error:
            raise BackendUnavailableError(f"the CUDA kernels cannot be loaded: {error}") from error
        for name in ("jcb_cuda_new_store", "jcb_cuda_new_queries", "jcb_cuda_search", "jcb_cuda_probe"):
            getattr(self._functions, name).restype = _Pointer
        self._functions.jcb_cuda_bytes_on_host.restype = ctypes.c_int64
        sizes = (ctypes.c_int64 * 4)()
        self._functions.jcb_cuda_sizes(sizes)
        if list(sizes) != [ctypes.sizeof(kind) for kind in (_Codec, _Segment, _Failure, _Options)]:
            raise BackendUnavailableError("the CUDA kernels are of another version of jcb-engine; install it again")

    def device_name(self, number: int) -> str:
        """Name of a GPU. BackendUnavailableError where there is no such one, with the driver's reason."""
        failure = _Failure()
        count = self._functions.jcb_cuda_devices(ctypes.byref(failure))
        _raise(failure)
        if number >= count:
            raise BackendUnavailableError(f"there is no GPU {number}; the driver sees {count}")
        name = ctypes.create_string_buffer(256)
        self._functions.jcb_cuda_name(number, name, ctypes.byref(failure))
        _raise(failure)
        return name.value.decode(errors="replace")

    def new_store(
        self,
        device: int,
        codec: CodecArrays,
        segments: Sequence[SegmentArrays],
        most_on_device: int | None = None,
        threads: int = 1,
        chunk_bytes: int = CHUNK_BYTES,
    ) -> DeviceStore:
        """A copy of the segments on a GPU, made by so many threads.

        most_on_device: bytes of codes that may lie there, and not in host memory; None for what is free.
        """
        options = _Options(-1 if most_on_device is None else most_on_device, chunk_bytes, threads)
        views = (_Segment * len(segments))(*(_segment_view(segment) for segment in segments))
        failure = _Failure()
        made = self._functions.jcb_cuda_new_store(
            device,
            ctypes.byref(_codec_view(codec)),
            views,
            ctypes.c_int64(len(segments)),
            ctypes.byref(options),
            ctypes.byref(failure),
        )
        _raise(failure)
        return DeviceStore(self._functions, made)


class DeviceStore:
    """A store on a GPU; freed with this object."""

    def __init__(self, functions: Any, pointer: int) -> None:
        self._functions, self._pointer = functions, _Pointer(pointer)

    def __del__(self) -> None:
        self._functions.jcb_cuda_delete_store(self._pointer)

    @property
    def bytes_on_host(self) -> int:
        """Of codes that lie in host memory, because they have no room on the GPU; else 0."""
        return int(self._functions.jcb_cuda_bytes_on_host(self._pointer))

    def prepare(self, queries: Float32Array, query_offsets: Int64Array) -> DeviceQueries:
        """Queries [Q, D] made ready for the GPU."""
        failure = _Failure()
        count = len(query_offsets) - 1
        made = self._functions.jcb_cuda_new_queries(
            self._pointer, _address(queries), _address(query_offsets), ctypes.c_int64(count), ctypes.byref(failure)
        )
        _raise(failure)
        return DeviceQueries(self._functions, made, self, count)

    def search(
        self, queries: Float32Array, query_offsets: Int64Array, k: int, mask: Uint8Array | None
    ) -> list[tuple[Uint32Array, Float32Array]] | None:
        """For each query every document that could be among its k best, ascending, with exact scores.

        mask: bitmap of allowed documents. None where lists have no room for all of them (csrc/cuda/scan.h).
        """
        return self._found("jcb_cuda_search", (), queries, query_offsets, k, mask)

    def give_postings(self, codec: CodecArrays, segments: Sequence[SegmentArrays]) -> None:
        """Copy the postings of the segments that the store was made of, for `probe`. Once, and by one thread."""
        views = (_Segment * len(segments))(*(_segment_view(segment) for segment in segments))
        failure = _Failure()
        self._functions.jcb_cuda_give_postings(
            self._pointer,
            ctypes.byref(_codec_view(codec)),
            views,
            ctypes.c_int64(len(segments)),
            ctypes.byref(failure),
        )
        _raise(failure)

    def probe(
        self, queries: Float32Array, query_offsets: Int64Array, k: int, settings: Probing, mask: Uint8Array | None
    ) -> list[tuple[Uint32Array, Float32Array]] | None:
        """The same among the candidates that the settings ask for. None where that cannot be done (probe.h)."""
        counts = (ctypes.c_int64 * 3)(settings.probes, settings.pool, settings.documents)
        return self._found("jcb_cuda_probe", (counts,), queries, query_offsets, k, mask)

    def _found(
        self,
        function: str,
        settings: tuple[Any, ...],
        queries: Float32Array,
        query_offsets: Int64Array,
        k: int,
        mask: Uint8Array | None,
    ) -> list[tuple[Uint32Array, Float32Array]] | None:
        failure, offsets = _Failure(), np.zeros(len(query_offsets), dtype=np.int64)
        found = getattr(self._functions, function)(
            self._pointer,
            _address(queries),
            _address(query_offsets),
            ctypes.c_int64(len(query_offsets) - 1),
            ctypes.c_int64(k),
            *settings,
            None if mask is None else _address(mask),
            _address(offsets),
            ctypes.byref(failure),
        )
        _raise(failure)
        if found is None:
            return None
        documents, scores = np.empty(offsets[-1], np.uint32), np.empty(offsets[-1], np.float32)
        self._functions.jcb_cuda_take(_Pointer(found), _address(documents), _address(scores))
        answers = []
        for first, last in zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True):
            order = np.argsort(documents[first:last])  # a GPU collects them in no order
            answers.append((documents[first:last][order], scores[first:last][order]))
        return answers

    def time_searches(self, repeats: int, among_candidates: bool = False) -> list[float]:
        """Seconds that the GPU took for the last search again, its copies included; zeros where there was none.

        among_candidates: for the last `probe`.
        """
        failure, seconds = _Failure(), np.zeros(repeats, dtype=np.float64)
        self._functions.jcb_cuda_time_searches(
            self._pointer,
            ctypes.c_int32(among_candidates),
            ctypes.c_int32(repeats),
            _address(seconds),
            ctypes.byref(failure),
        )
        _raise(failure)
        return [float(value) for value in seconds]


class DeviceQueries:
    """Prepared queries of one call. Any number of threads may score with them."""

    def __init__(self, functions: Any, pointer: int, store: DeviceStore, count: int) -> None:
        self._functions, self._pointer, self._store, self._count = functions, _Pointer(pointer), store, count

    def __del__(self) -> None:
        self._functions.jcb_cuda_delete_queries(self._pointer)

    def score_lists(self, documents: Uint32Array, list_offsets: Int64Array, exact: bool, scores: Float32Array) -> None:
        """Fills scores [M] of documents [M]."""
        self._score((_address(documents), _address(list_offsets), None, None, ctypes.c_int64(0)), exact, scores)

    def score_ranges(self, starts: Int64Array, ends: Int64Array, exact: bool, scores: Float32Array) -> None:
        """Fills scores [queries, sum(ends - starts)]."""
        self._score((None, None, _address(starts), _address(ends), ctypes.c_int64(len(starts))), exact, scores)

    def error_bounds(self) -> Float32Array:
        """[queries]: of |fast - exact|."""
        failure, bounds = _Failure(), np.zeros(self._count, dtype=np.float64)
        self._functions.jcb_cuda_error_bounds(
            self._pointer, ctypes.c_int64(self._count), _address(bounds), ctypes.byref(failure)
        )
        _raise(failure)
        return np.nextafter(bounds.astype(np.float32), np.float32(np.inf))

    def time_scans(self, repeats: int) -> list[float]:
        """Seconds that the GPU took for fast scores of all documents, each time: no plan, no copies."""
        failure, seconds = _Failure(), np.zeros(repeats, dtype=np.float64)
        self._functions.jcb_cuda_time_scans(
            self._pointer, ctypes.c_int32(repeats), _address(seconds), ctypes.byref(failure)
        )
        _raise(failure)
        return [float(value) for value in seconds]

    def _score(self, candidates: tuple[Any, ...], exact: bool, scores: Float32Array) -> None:
        failure = _Failure()
        self._functions.jcb_cuda_score(
            self._pointer, *candidates, ctypes.c_int32(exact), _address(scores), ctypes.byref(failure)
        )
        _raise(failure)


def _raise(failure: _Failure) -> None:
    if failure.kind == 0:
        return
    text = failure.text.decode(errors="replace")
    known = {
        _CORRUPT: CorruptIndexError,
        _INPUT: InputError,
        _DEVICE: BackendUnavailableError,
        _MEMORY: MemoryError,
    }
    raise known.get(failure.kind, RuntimeError)(text)


def _codec_view(codec: CodecArrays) -> _Codec:
    return _Codec(
        codec.dim,
        codec.nbits,
        len(codec.centroids),
        _address(codec.centroids),
        _address(codec.cutoffs),
        _address(codec.levels),
        codec.norm_scale,
    )


def _segment_view(segment: SegmentArrays) -> _Segment:
    ids = segment.centroid_ids
    return _Segment(
        len(segment.doc_offsets) - 1,
        len(segment.codes),
        _address(segment.doc_offsets),
        _address(segment.codes),
        _address(ids) if ids.dtype == np.uint16 else None,
        _address(ids) if ids.dtype == np.uint32 else None,
        _address(segment.sigmas),
        _address(segment.norms),
        _address(segment.posting_offsets),
        _address(segment.posting_documents),
        len(segment.posting_documents),
        segment.max_sigma,
        segment.max_norm,
    )


def _address(array: AnyArray) -> ctypes.c_void_p:
    return _Pointer(array.ctypes.data)
