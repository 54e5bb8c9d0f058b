"""Token vectors in, the arrays of one segment out: codes, ids and scalars are appended, postings come last.

Compressing and writing are apart, so that one chunk can be written while the next is compressed.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from jcb_engine.codec import ResidualCodec
from jcb_engine.codec.fde import FixedDimensionalEncoding
from jcb_engine.codec.residual import LARGEST_HALF, EncodedTokens
from jcb_engine.indexing.postings import count_postings, fill_postings
from jcb_engine.indexing.scratch import ScratchFile, allocate_scratch, map_scratch
from jcb_engine.kernels import Backend
from jcb_engine.storage import ArrayWriter, SegmentWriter
from jcb_engine.types import AnyArray, Int64Array, JsonValue, RaggedEmbeddings

_ENCODED_VALUES_AT_ONCE = 2**23  # 32 MB in float32
_SMALL_IDS = 65_536  # up to this many centroids, ids take two bytes


@dataclass(frozen=True, slots=True)
class CompressedChunk:
    """Documents of a chunk: offsets [documents + 1] of their tokens, and their vectors where encodings are made too."""

    offsets: Int64Array
    tokens: EncodedTokens
    embeddings: RaggedEmbeddings | None


class SegmentCompressor:
    """Compresses documents into a segment that is being written. Memory is bounded by the chunks that are at work."""

    def __init__(
        self,
        segment: SegmentWriter,
        codec: ResidualCodec,
        backend: Backend,
        scratch: Path,
        encoding: FixedDimensionalEncoding | None = None,
    ) -> None:
        self._segment, self._codec, self._backend, self._scratch = segment, codec, backend, scratch
        ids_dtype = np.uint16 if len(codec.arrays.centroids) <= _SMALL_IDS else np.uint32
        code_columns = codec.dim if codec.is_raw else codec.arrays.code_bytes
        self._doc_offsets = segment.array("doc_offsets", np.int64)
        self._doc_offsets.append(np.zeros(1, np.int64))
        self._codes = segment.array("codes", np.float16 if codec.is_raw else np.uint8, columns=code_columns)
        self._sigmas = segment.array("sigmas", np.float16)
        self._norms = segment.array("norms", np.float16)
        # Ids of a raw codec are needed for the postings only: they go to a scratch file, not into the segment.
        self._ids_dtype = np.dtype(ids_dtype)
        self._stored_ids = segment.array("centroid_ids", ids_dtype)
        self._raw_ids = ScratchFile(scratch / "raw-centroid-ids") if codec.is_raw else None
        self._arrays: tuple[ArrayWriter, ...] = (
            self._doc_offsets,
            self._codes,
            self._sigmas,
            self._norms,
            self._stored_ids,
        )
        self._encoding = encoding
        if encoding is not None:
            self._encodings = segment.array("encodings", np.float16, columns=encoding.output_dim)
            self._arrays += (self._encodings,)
        self._tokens = 0
        self._documents = 0
        self._documents_with_vectors = 0
        self._max_sigma = self._max_norm = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for array in self._arrays:
            if kind is None:
                array.close()
            else:
                array.abandon()
        if self._raw_ids is not None:
            self._raw_ids.abandon()

    def compress(self, embeddings: RaggedEmbeddings) -> CompressedChunk:
        """Compress documents. Nothing is written: it may run beside `write`."""
        tokens = self._codec.encode(embeddings.values, self._backend)
        return CompressedChunk(embeddings.offsets, tokens, None if self._encoding is None else embeddings)

    def write(self, chunk: CompressedChunk) -> None:
        """Append the next documents, in row order."""
        tokens = chunk.tokens
        self._codes.append(tokens.codes)
        ids = tokens.centroid_ids.astype(self._ids_dtype)
        if self._raw_ids is not None:
            self._raw_ids.append(ids)
        else:
            self._stored_ids.append(ids)
            self._sigmas.append(tokens.sigmas)
            self._norms.append(tokens.norms)
            self._max_sigma = max(self._max_sigma, float(tokens.sigmas.max(initial=0)))
            self._max_norm = max(self._max_norm, float(tokens.norms.max(initial=0)))
        if self._encoding is not None and chunk.embeddings is not None:
            self._append_encodings(self._encoding, chunk.embeddings)
        self._doc_offsets.append(chunk.offsets[1:] + self._tokens)
        self._tokens += int(chunk.offsets[-1])
        self._documents += len(chunk.offsets) - 1
        self._documents_with_vectors += int(np.count_nonzero(np.diff(chunk.offsets)))

    def _append_encodings(self, encoding: FixedDimensionalEncoding, embeddings: RaggedEmbeddings) -> None:
        """A bounded number of documents at a time: they may be many and short."""
        at_once = max(1, _ENCODED_VALUES_AT_ONCE // encoding.output_dim)
        for first in range(0, len(embeddings), at_once):
            offsets = embeddings.offsets[first : first + at_once + 1]
            # in units of the corpus' own norms, as the codec has them; what fp16 cannot say is cut off at its largest
            values = embeddings.values[offsets[0] : offsets[-1]] / np.float32(self._codec.arrays.norm_scale)
            part = RaggedEmbeddings(self._codec.rotate(values, self._backend), offsets - offsets[0])
            encoded = encoding.encode_documents(part, self._backend)
            self._encodings.append(np.clip(encoded, -LARGEST_HALF, LARGEST_HALF).astype(np.float16))

    def seal(self, codec_id: str) -> dict[str, JsonValue]:
        """Write the postings and seal the segment. Returns its statistics."""
        for array in self._arrays:
            array.close()
        if self._raw_ids is not None:
            self._raw_ids.close()
        postings = self._write_postings()
        statistics: dict[str, JsonValue] = {
            "documents_with_vectors": self._documents_with_vectors,
            "max_sigma": self._max_sigma,
            "max_norm": self._max_norm,
            "postings": postings,
        }
        self._segment.seal(codec_id, token_count=self._tokens, statistics=statistics)
        return statistics

    @property
    def tokens(self) -> int:
        return self._tokens

    def _centroid_ids(self) -> AnyArray:
        if self._raw_ids is None:
            return self._segment.map("centroid_ids")
        return map_scratch(self._raw_ids.path, self._ids_dtype, (self._tokens,))

    def _write_postings(self) -> int:
        ids, doc_offsets = self._centroid_ids(), self._segment.map("doc_offsets").astype(np.int64)
        offsets = count_postings(ids, doc_offsets, len(self._codec.arrays.centroids))
        with self._segment.array("posting_offsets", np.int64) as array:
            array.append(offsets)
        total = int(offsets[-1])
        with self._segment.array("posting_documents", np.uint32) as array:
            scratch = np.asarray(allocate_scratch(self._scratch / "postings", np.uint32, (total,)), dtype=np.uint32)
            fill_postings(ids, doc_offsets, offsets, scratch)
            for start in range(0, total, 1_000_000):
                array.append(scratch[start : start + 1_000_000])
        return total
