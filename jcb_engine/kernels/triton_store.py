"""A store on a GPU as the Triton programs take it, and centroid scores there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from jcb_engine.errors import CorruptIndexError
from jcb_engine.kernels.checks import check_codec, check_segment
from jcb_engine.kernels.host_operations import HostedStore
from jcb_engine.kernels.interface import RAW_BITS, CodecArrays, SegmentArrays, Store
from jcb_engine.kernels.triton_memory import filled, in_chunks, new_codes
from jcb_engine.kernels.triton_postings import PostingsOnDemand, posting_bytes
from jcb_engine.types import AnyArray, Float32Array, Int64Array

_ROWS_AT_ONCE = 65_536


@dataclass(frozen=True, slots=True)
class TritonStore(HostedStore):
    """Segments on a GPU, one after the other. T tokens, N documents, K centroids.

    host: the same store as the CPU kernels have it, for what they do. codes [T, code_bytes] uint8, in pinned host
    memory where lies_on_host; ids [T] int32; norms, sigmas [T] fp16; centroids [K, D] fp32; levels [2**nbits] fp32;
    first_tokens [N] int64 and token_counts [N] int32 of the documents. doc_offsets [N + 1] is the same in host memory.
    longest: of the centroids. Raw: codes [T, D] fp16, no ids, scalars and levels, and max_norm is that of the vectors.
    """

    codec: CodecArrays
    host: Store
    codes: torch.Tensor
    ids: torch.Tensor
    norms: torch.Tensor
    sigmas: torch.Tensor
    centroids: torch.Tensor
    levels: torch.Tensor
    first_tokens: torch.Tensor
    token_counts: torch.Tensor
    doc_offsets: Int64Array
    postings: PostingsOnDemand
    max_sigma: float
    max_norm: float
    longest: float
    lies_on_host: bool


@dataclass(frozen=True, slots=True)
class TritonTable:
    """Scores [K, Q] fp32 of all centroids, on the GPU, and the fp32 queries [Q, D] that they are of, there and here."""

    store: TritonStore
    given: Float32Array
    queries: torch.Tensor
    scores: torch.Tensor
    is_exact = True

    def is_of(self, queries: Float32Array) -> bool:
        return np.array_equal(self.given, queries)

    def to_array(self) -> Float32Array:
        return np.asarray(self.scores.cpu().numpy(), dtype=np.float32)


def place(array: AnyArray, device: torch.device) -> torch.Tensor:
    """A copy of the array on the device."""
    return torch.from_numpy(np.require(array, requirements=["C", "W"])).to(device)


def prepare_store(
    codec: CodecArrays,
    segments: Sequence[SegmentArrays],
    host: Store,
    device: torch.device,
    most_on_device: int | None = None,
) -> TritonStore:
    """Copy segments to the GPU. InputError on wrong shapes, CorruptIndexError on ids or offsets out of range.

    most_on_device: bytes of codes that may lie there; None for what is free.
    """
    check_codec(codec)
    is_raw = codec.nbits == RAW_BITS
    for segment in segments:
        check_segment(codec, segment)
        _check_contents(codec, segment)
    lengths = np.concatenate([np.zeros(0, np.int64), *(np.diff(segment.doc_offsets) for segment in segments)])
    tokens = sum(len(segment.codes) for segment in segments)

    def joined(dtype: torch.dtype, chunks: Iterable[AnyArray]) -> torch.Tensor:
        return filled(torch.empty(0 if is_raw else tokens, dtype=dtype, device=device), chunks)

    def cut_down(scalars: str, largest: str) -> Iterator[AnyArray]:
        for segment in segments:
            most = np.float16(getattr(segment, largest))
            yield from (np.minimum(rows, most) for rows in in_chunks(getattr(segment, scalars)))

    every_id = (rows.astype(np.int32) for segment in segments for rows in in_chunks(segment.centroid_ids))
    ids = joined(torch.int32, every_id)
    norms = joined(torch.float16, cut_down("norms", "max_norm"))
    sigmas = joined(torch.float16, cut_down("sigmas", "max_sigma"))
    centroids, levels = place(codec.centroids, device), place(codec.levels, device)
    doc_offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    first_tokens, token_counts = place(doc_offsets[:-1], device), place(lengths.astype(np.int32), device)
    kept = 0 if is_raw else posting_bytes(segments)  # a raw index finds candidates on the processor
    codes, lies_on_host = new_codes(tokens, codec.code_bytes, len(lengths), kept, device, most_on_device)
    filled(codes, (rows.view(np.uint8) for segment in segments for rows in in_chunks(segment.codes)))
    return TritonStore(
        codec,
        host,
        codes.view(torch.float16) if is_raw else codes,
        ids,
        norms,
        sigmas,
        centroids,
        levels,
        first_tokens,
        token_counts,
        doc_offsets,
        PostingsOnDemand(segments, device),
        max((segment.max_sigma for segment in segments), default=0.0),
        max((_longest(s.codes) if is_raw else s.max_norm for s in segments), default=0.0),
        float(np.linalg.norm(codec.centroids, axis=1).max(initial=0.0)),
        lies_on_host,
    )


def _longest(vectors: AnyArray) -> float:
    """The largest norm of vectors [T, D] fp16, in double; parts of them at a time."""
    starts = range(0, len(vectors), _ROWS_AT_ONCE)
    norms = (np.linalg.norm(vectors[s : s + _ROWS_AT_ONCE].astype(np.float64), axis=1).max() for s in starts)
    return float(max(norms, default=0.0))


def _check_contents(codec: CodecArrays, segment: SegmentArrays) -> None:
    ids, offsets = segment.centroid_ids, segment.doc_offsets
    if len(ids) and int(ids.max()) >= len(codec.centroids):
        raise CorruptIndexError(f"a token names centroid {int(ids.max())}; there are {len(codec.centroids)}")
    if offsets[0] != 0 or offsets[-1] != len(segment.codes) or (offsets[1:] < offsets[:-1]).any():
        raise CorruptIndexError(f"documents must divide the segment's {len(segment.codes)} tokens, and do not")
