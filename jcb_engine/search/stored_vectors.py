"""The segments of a snapshot as the kernels see them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from bitarray import bitarray

from jcb_engine.codec import ResidualCodec
from jcb_engine.errors import CorruptIndexError, IndexTooNewError
from jcb_engine.kernels import Backend, SegmentArrays
from jcb_engine.storage import Segment, Snapshot
from jcb_engine.types import Float32Array, Int64Array, Uint8Array, Uint32Array


def load_codec(snapshot: Snapshot) -> ResidualCodec:
    """The codec of the snapshot's segments. Raises IndexTooNewError where they use several."""
    codec_ids = sorted({segment.codec_id for segment in snapshot.segments})
    if len(codec_ids) != 1:
        raise IndexTooNewError(f"the segments of this index use {len(codec_ids)} codecs; this version searches one")
    stored = snapshot.codec(codec_ids[0])
    arrays = {name: stored.array(name) for name in ("centroids", "cutoffs", "levels")}
    if stored.properties.get("rotation") == "dense":
        arrays["rotation"] = stored.array("rotation")
    return ResidualCodec.from_stored(arrays, stored.properties)


def segment_arrays(segment: Segment) -> SegmentArrays:
    return SegmentArrays(
        doc_offsets=segment.array("doc_offsets"),  # type: ignore[arg-type]
        codes=segment.array("codes"),  # type: ignore[arg-type]
        centroid_ids=segment.array("centroid_ids"),
        sigmas=segment.array("sigmas"),  # type: ignore[arg-type]
        norms=segment.array("norms"),  # type: ignore[arg-type]
        posting_offsets=segment.array("posting_offsets"),  # type: ignore[arg-type]
        posting_documents=segment.array("posting_documents"),  # type: ignore[arg-type]
        max_sigma=_number(segment, "max_sigma"),
        max_norm=_number(segment, "max_norm"),
    )


def decode_document(codec: ResidualCodec, backend: Backend, segment: Segment, row: int) -> Float32Array:
    """The stored vectors [tokens, D] of one document, in the rotated basis."""
    offsets = segment.array("doc_offsets")
    tokens = slice(int(offsets[row]), int(offsets[row + 1]))
    codes = segment.array("codes")[tokens]
    if codec.is_raw:
        return np.asarray(codes, dtype=np.float32) * np.float32(codec.arrays.norm_scale)
    return backend.dequantize(
        np.asarray(segment.array("centroid_ids")[tokens], dtype=np.uint32),
        np.ascontiguousarray(codes),
        np.ascontiguousarray(segment.array("sigmas")[tokens]),
        np.ascontiguousarray(segment.array("norms")[tokens]),
        codec.arrays,
    )


def token_counts(segments: Sequence[Segment]) -> Int64Array:
    """[N] tokens of each document of the store."""
    return np.concatenate([np.zeros(0, np.int64), *(np.diff(segment.array("doc_offsets")) for segment in segments)])


def posting_lengths(segments: Sequence[Segment], centroids: int) -> Int64Array:
    """[K] documents in the postings of each centroid, over all segments."""
    lengths = [np.diff(segment.array("posting_offsets")) for segment in segments]
    return np.asarray(np.sum([np.zeros(centroids, np.int64), *lengths], axis=0), dtype=np.int64)


def parent_groups(segments: Sequence[Segment]) -> Uint32Array:
    """[N] a number per document of the store, equal for passages of one parent of a segment."""
    groups, first = [np.zeros(0, np.uint32)], 0
    for segment in segments:
        parents = np.asarray(segment.array("parents"), dtype=np.uint32)
        groups.append(parents + np.uint32(first))
        first += int(parents.max(initial=0)) + 1
    return np.concatenate(groups)


def deleted_mask(segments: Sequence[Segment]) -> Uint8Array | None:
    """Bitmap of the documents that are not deleted, as the kernels take it; None where none is."""
    if all(segment.tombstones is None for segment in segments):
        return None
    allowed = bitarray(endian="little")
    for segment in segments:
        deleted = segment.tombstones
        if deleted is None:
            allowed.extend(bitarray([True]) * segment.document_count)
        else:
            allowed.extend(~deleted)
    return np.frombuffer(allowed.tobytes(), dtype=np.uint8)


def _number(segment: Segment, name: str) -> float:
    value = segment.statistics.get(name)
    if not isinstance(value, (int, float)) or not value >= 0:
        raise CorruptIndexError(f"segment {segment.id} says {name}={value!r}; it must be a number, 0 or more")
    return float(value)
