"""Segments and codecs as the native kernels see them: views of the caller's arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from jcb_engine.errors import InputError
from jcb_engine.kernels.checks import CODE_WIDTHS, check_codec, check_segment
from jcb_engine.kernels.extension import _cpu
from jcb_engine.kernels.interface import CentroidTable, CodecArrays, SegmentArrays, Store
from jcb_engine.types import Int64Array


@dataclass(frozen=True, slots=True)
class CpuStore:
    """Segments as the kernels see them: views of the given arrays, which `native` keeps alive."""

    codec: CodecArrays
    native: _cpu.Store
    segment_starts: Int64Array
    tokens: int

    @property
    def documents(self) -> int:
        return int(self.segment_starts[-1])


def prepare_store(codec: CodecArrays, segments: Sequence[SegmentArrays]) -> CpuStore:
    """Check shapes and dtypes and take views; contents are not read."""
    check_codec(codec)
    for segment in segments:
        check_segment(codec, segment)
    sizes = [len(segment.doc_offsets) - 1 for segment in segments]
    if sum(sizes) > 2**32:
        raise InputError(f"a store of {sum(sizes)} documents is too large; documents are numbered by 32 bits")
    native = _cpu.Store(_native_codec(codec))
    for segment in segments:
        _add_segment(native, segment)
    starts = np.cumsum([0, *sizes], dtype=np.int64)
    return CpuStore(codec, native, starts, sum(len(segment.codes) for segment in segments))


def own_store(store: Store) -> CpuStore:
    """The store as this backend's own; InputError when another backend prepared it."""
    if not isinstance(store, CpuStore):
        raise InputError(f"the store is a {type(store).__name__}; prepare it with this backend")
    return store


def own_table(store: CpuStore, table: CentroidTable) -> _cpu.Table:
    """The table as this backend's own; InputError when it was made for another store."""
    if not isinstance(table, _cpu.Table) or not table.is_of(store.native):
        raise InputError("the table is not one of this store; make it with centroid_scores of this backend")
    return table


def _native_codec(codec: CodecArrays) -> _cpu.Codec:
    return _cpu.Codec(codec.nbits, codec.centroids, codec.cutoffs, codec.levels, codec.norm_scale)


def coding_codec(codec: CodecArrays) -> _cpu.Codec:
    """The codec for quantize and dequantize, which a raw one does without."""
    check_codec(codec)
    if codec.nbits not in CODE_WIDTHS:
        raise InputError(f"vectors are coded with 1, 2, 4 or 8 bits; this codec has {codec.nbits}")
    return _native_codec(codec)


def _add_segment(native: _cpu.Store, segment: SegmentArrays) -> None:
    ids = segment.centroid_ids
    native.add_segment(
        segment.doc_offsets,
        segment.codes.view(np.uint8),
        ids if ids.dtype == np.uint16 else None,
        ids if ids.dtype == np.uint32 else None,
        segment.sigmas.view(np.uint16),
        segment.norms.view(np.uint16),
        segment.posting_offsets,
        segment.posting_documents,
        segment.max_sigma,
        segment.max_norm,
    )
