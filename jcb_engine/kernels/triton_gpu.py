"""MaxSim over a store on a GPU, by Triton: checks what it is given, keeps the arrays there, launches the programs.

Needs torch and triton, and no CUDA compiler. Importing this module raises BackendUnavailableError where one is missing.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from jcb_engine.errors import BackendUnavailableError, CorruptIndexError, InputError
from jcb_engine.kernels.checks import (
    CODE_WIDTHS,
    check_array,
    check_candidates,
    check_codec,
    check_offsets,
    check_precision,
    check_segment,
)
from jcb_engine.kernels.interface import Candidates, CodecArrays, Lists, Precision, SegmentArrays
from jcb_engine.kernels.lookup_assembly import lookup_assembly
from jcb_engine.types import AnyArray, Float32Array, Int64Array

try:
    import torch
    from triton.runtime import JITFunction

    from jcb_engine.kernels import triton_kernels
    from jcb_engine.kernels.triton_kernels import PIECE
except ImportError as error:
    raise BackendUnavailableError(
        f"the Triton kernels need torch and triton ({error}): pip install 'jcb-engine[gpu]'"
    ) from error

_HALF_ROUNDING = 2.0**-11  # of a number that is rounded to fp16, relative
_SMALLEST_HALF = 2.0**-25  # and at least so much
_FLOAT_SUMS = 2.0**-18  # of sums in fp32, relative
_MOST_BYTES_OF_PLANES = 64  # of a row of codes whose planes a program holds at once
_STEP = 128  # stored tokens of a step, where the planes of a row are held at once
SMALL_STEPS = {1: 64, 2: 64, 4: 64, 8: 32}  # by bits, where they are not


@dataclass(frozen=True, slots=True)
class TritonStore:
    """Segments on a GPU, one after the other. T tokens, N documents, K centroids.

    codes [T, code_bytes] uint8; ids [T] int32; norms, sigmas [T] fp16; centroids [K, D] fp32; levels [2**nbits] fp32.
    doc_offsets [N + 1] and segment_starts stay in host memory. longest: of the centroids.
    """

    codec: CodecArrays
    codes: torch.Tensor
    ids: torch.Tensor
    norms: torch.Tensor
    sigmas: torch.Tensor
    centroids: torch.Tensor
    levels: torch.Tensor
    doc_offsets: Int64Array
    segment_starts: Int64Array
    max_sigma: float
    max_norm: float
    longest: float

    @property
    def documents(self) -> int:
        return len(self.doc_offsets) - 1

    @property
    def tokens(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, slots=True)
class _Pieces:
    """Queries in pieces of 32 tokens. P pieces; a query without tokens is one piece of none.

    first_piece [queries + 1]. vectors [P * 32, D] fp32 of length 1, or 0 where there is no token; lengths [P, 32].
    """

    first_piece: Int64Array
    vectors: torch.Tensor
    lengths: torch.Tensor

    @property
    def count(self) -> int:
        return len(self.lengths)


class TritonScorer:
    """Scores documents of a store on one GPU. Not for raw codecs."""

    def __init__(self, device: str = "cuda") -> None:
        """Choose the GPU.

        Raises BackendUnavailableError where there is none; device="cpu" is for Triton's interpreter
        (TRITON_INTERPRET=1), which runs the same programs slowly, and raises it otherwise.
        """
        self._interpreted = not isinstance(triton_kernels.maxsim_any, JITFunction)
        self._device = torch.device(device)
        if self._device.type == "cuda" and not torch.cuda.is_available():
            raise BackendUnavailableError("no GPU can be used: torch.cuda.is_available() is False")
        if self._device.type not in ("cuda", "cpu") or (self._device.type == "cpu" and not self._interpreted):
            raise BackendUnavailableError(f"the Triton kernels run on a GPU, not on {device}; name one, such as cuda:0")

    def prepare(self, codec: CodecArrays, segments: Sequence[SegmentArrays]) -> TritonStore:
        """Copy segments to the GPU. InputError on wrong shapes, CorruptIndexError on ids or offsets out of range."""
        check_codec(codec)
        if codec.nbits not in CODE_WIDTHS:
            raise InputError(f"the Triton kernels read codes of 1, 2, 4 or 8 bits; this codec has {codec.nbits}")
        for segment in segments:
            check_segment(codec, segment)
            _check_contents(codec, segment)
        sizes = [len(segment.doc_offsets) - 1 for segment in segments]
        lengths = np.concatenate([np.zeros(0, np.int64), *(np.diff(segment.doc_offsets) for segment in segments)])
        return TritonStore(
            codec,
            self._there(_joined([segment.codes for segment in segments], (0, codec.code_bytes), np.uint8)),
            self._there(_joined([segment.centroid_ids for segment in segments], (0,), np.int32)),
            self._there(_joined([np.minimum(s.norms, np.float16(s.max_norm)) for s in segments], (0,), np.float16)),
            self._there(_joined([np.minimum(s.sigmas, np.float16(s.max_sigma)) for s in segments], (0,), np.float16)),
            self._there(codec.centroids),
            self._there(codec.levels),
            np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
            np.cumsum([0, *sizes], dtype=np.int64),
            max((segment.max_sigma for segment in segments), default=0.0),
            max((segment.max_norm for segment in segments), default=0.0),
            float(np.linalg.norm(codec.centroids, axis=1).max(initial=0.0)),
        )

    def maxsim_quantized(
        self,
        store: TritonStore,
        queries: Float32Array,
        query_offsets: Int64Array,
        candidates: Candidates,
        precision: Precision = "fast",
    ) -> Float32Array:
        """As Backend.maxsim_quantized. "fast" multiplies in fp16 and stays within score_error_bound of "exact"."""
        check_precision(precision)
        check_array("queries", queries, np.float32, (None, store.codec.dim))
        check_offsets("query_offsets", query_offsets, len(queries))
        check_candidates(candidates, len(query_offsets) - 1, store.documents)
        if not np.isfinite(queries).all():
            raise InputError("a query has NaN or infinity")
        pieces = self._pieces(queries, query_offsets)
        documents, ranges = _items(candidates, len(query_offsets) - 1)
        if len(documents) and int(documents.max()) >= store.documents:
            raise CorruptIndexError(f"document {int(documents.max())} is not in the store, which has {store.documents}")
        partial = self._partial_scores(store, pieces, documents, ranges, precision == "exact")
        parts, begin = [partial[:0]], 0
        for query, (first, last) in enumerate(ranges):
            own = partial[begin : begin + (last - first) * _pieces_of(pieces, query)]
            parts.append(own.view(_pieces_of(pieces, query), last - first).sum(dim=0))
            begin += len(own)
        scores = torch.cat(parts)
        found = np.asarray(scores.cpu().numpy() * np.float32(store.codec.norm_scale), dtype=np.float32)
        return found if isinstance(candidates, Lists) else found.reshape(len(query_offsets) - 1, -1)

    def score_error_bound(self, store: TritonStore, queries: Float32Array, query_offsets: Int64Array) -> Float32Array:
        """[queries]: a proven bound of |fast - exact|: query, levels and centroid scores are rounded to fp16."""
        check_array("queries", queries, np.float32, (None, store.codec.dim))
        check_offsets("query_offsets", query_offsets, len(queries))
        rows = queries.astype(np.float64)
        lengths = np.linalg.norm(rows, axis=1)
        sums = np.abs(rows).sum(axis=1)  # of sizes; times a level at most, a product with codes
        largest = float(np.abs(store.codec.levels).max(initial=0.0))
        products = store.max_sigma * largest * sums
        centroids = store.longest * lengths
        rounded = centroids * _HALF_ROUNDING + products * 2 * _HALF_ROUNDING
        small = _SMALLEST_HALF * lengths * (1 + store.max_sigma * (largest + 1) * (store.codec.dim + 1))
        bounds = (
            store.max_norm * store.codec.norm_scale * (1.01 * rounded + small + _FLOAT_SUMS * (centroids + products))
        )
        total = np.concatenate([[0.0], np.cumsum(bounds)])
        return np.asarray(total[query_offsets[1:]] - total[query_offsets[:-1]], dtype=np.float32)

    def _there(self, array: AnyArray) -> torch.Tensor:
        return torch.from_numpy(np.require(array, requirements=["C", "W"])).to(self._device)

    def _pieces(self, queries: Float32Array, query_offsets: Int64Array) -> _Pieces:
        counts = np.maximum(1, -(-np.diff(query_offsets) // PIECE))
        first_piece = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        vectors = np.zeros((int(first_piece[-1]) * PIECE, queries.shape[1]), dtype=np.float32)
        for query, piece in enumerate(first_piece[:-1]):
            own = queries[query_offsets[query] : query_offsets[query + 1]]
            vectors[piece * PIECE : piece * PIECE + len(own)] = own
        lengths = np.linalg.norm(vectors, axis=1)
        units = vectors / np.where(lengths > 0, lengths, 1)[:, None]
        return _Pieces(first_piece, self._there(units), self._there(lengths.reshape(-1, PIECE)))

    def _partial_scores(
        self, store: TritonStore, pieces: _Pieces, documents: Int64Array, ranges: list[tuple[int, int]], exact: bool
    ) -> torch.Tensor:
        """Scores of every piece, piece after piece, in units of norm_scale."""
        rows = [
            (first, last - first)
            for query, (first, last) in enumerate(ranges)
            for _ in range(_pieces_of(pieces, query))
        ]
        outputs = np.concatenate([[0], np.cumsum([count for _, count in rows])]).astype(np.int64)
        partial = torch.empty(int(outputs[-1]), dtype=torch.float32, device=self._device)
        if len(partial) == 0 or store.tokens == 0:
            return partial.fill_(-torch.inf)
        described = np.array([[first, count, output, 0] for (first, count), output in zip(rows, outputs, strict=False)])
        starts = store.doc_offsets[documents]
        common = (
            store.codes,
            store.ids,
            store.norms,
            store.sigmas,
            self._there(starts),
            self._there((store.doc_offsets[documents + 1] - starts).astype(np.int32)),
            self._there(described.astype(np.int64)),
        )
        grid = (max(count for _, count in rows), pieces.count)
        bytes_of_row = store.codec.code_bytes
        width = max(16, 1 << (bytes_of_row - 1).bit_length())
        lengths = pieces.lengths.contiguous()
        if exact:
            queries = self._planes(store, pieces, width, torch.float32)
            triton_kernels.maxsim_exact[grid](
                *common, store.centroids, queries, lengths, store.levels, partial,
                dim=store.codec.dim, code_bytes=bytes_of_row, width=width, chunk=min(width, 32), step=16,
                nbits=store.codec.nbits,
            )  # fmt: skip
            return partial
        levels, centroids = store.levels.half(), len(store.centroids)
        scores = (pieces.vectors.view(-1, PIECE, store.codec.dim) @ store.centroids.T).half()
        scores = scores.transpose(1, 2).contiguous()  # [P, K, 32]
        queries = self._planes(store, pieces, width, torch.float16)
        arguments = (*common, scores, queries, lengths, levels, partial, centroids)
        if store.codec.nbits == 2 and width <= _MOST_BYTES_OF_PLANES:
            triton_kernels.maxsim_2bits[grid](
                *arguments, code_bytes=bytes_of_row, width=width, step=_STEP, lookup=self._lookup(store), num_warps=4
            )
        else:
            triton_kernels.maxsim_any[grid](
                *arguments, code_bytes=bytes_of_row, width=width, chunk=min(width, 32),
                step=SMALL_STEPS[store.codec.nbits], nbits=store.codec.nbits, num_warps=4,
            )  # fmt: skip
        return partial

    def _planes(self, store: TritonStore, pieces: _Pieces, width: int, dtype: torch.dtype) -> torch.Tensor:
        """Queries [P, planes, width, 32]: the row of byte b in plane p is dimension b * planes + p."""
        planes = 8 // store.codec.nbits
        padded = torch.zeros((len(pieces.vectors), width * planes), dtype=dtype, device=self._device)
        padded[:, : store.codec.dim] = pieces.vectors.to(dtype)
        return padded.view(-1, PIECE, width, planes).permute(0, 3, 2, 1).contiguous()

    def _lookup(self, store: TritonStore) -> str:
        """The look-up in machine operations, which the interpreter does not run."""
        return "" if self._interpreted else lookup_assembly(store.codec.levels)


def _pieces_of(pieces: _Pieces, query: int) -> int:
    return int(pieces.first_piece[query + 1] - pieces.first_piece[query])


def _items(candidates: Candidates, queries: int) -> tuple[Int64Array, list[tuple[int, int]]]:
    """Documents in the order of their scores, and which of them are each query's."""
    if isinstance(candidates, Lists):
        offsets = candidates.list_offsets.tolist()
        return candidates.documents.astype(np.int64), list(itertools.pairwise(offsets))
    parts = [np.arange(start, end) for start, end in zip(candidates.starts, candidates.ends, strict=True)]
    documents = np.concatenate([np.zeros(0, np.int64), *parts]).astype(np.int64)
    return documents, [(0, len(documents))] * queries


def _joined(parts: Sequence[AnyArray], empty: tuple[int, ...], dtype: type) -> AnyArray:
    return np.concatenate([np.zeros(empty, dtype), *(part.astype(dtype, copy=False) for part in parts)])


def _check_contents(codec: CodecArrays, segment: SegmentArrays) -> None:
    ids, offsets = segment.centroid_ids, segment.doc_offsets
    if len(ids) and int(ids.max()) >= len(codec.centroids):
        raise CorruptIndexError(f"a token names centroid {int(ids.max())}; there are {len(codec.centroids)}")
    if offsets[0] != 0 or offsets[-1] != len(segment.codes) or (offsets[1:] < offsets[:-1]).any():
        raise CorruptIndexError(f"documents must divide the segment's {len(segment.codes)} tokens, and do not")
