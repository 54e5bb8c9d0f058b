"""Candidates by MUVERA's encodings: one inner product per document estimates its MaxSim, and the best are the pool.

The encodings of all segments are in one faiss.Index, made when it is first searched. Which documents may be found is a
mask inside that search: a deleted document, or one without vectors, takes no place of the pool.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from threading import Lock
from typing import Any

import numpy as np

from jcb_engine.codec.candidate_index import encoding_index, search_within
from jcb_engine.codec.fde import FixedDimensionalEncoding
from jcb_engine.errors import CorruptIndexError, InputError
from jcb_engine.kernels import Backend, CentroidTable, Lists
from jcb_engine.search.candidates.coarse import threads_for
from jcb_engine.search.candidates.stage import CandidateSettings
from jcb_engine.search.lists import lists_of
from jcb_engine.storage import Segment
from jcb_engine.types import Float32Array, Int64Array, JsonValue, RaggedEmbeddings, Uint8Array


class MuveraStage:
    """Candidates whose encodings have the largest inner products with the query's."""

    def __init__(self, backend: Backend, segments: Sequence[Segment], settings: JsonValue, dim: int) -> None:
        """settings: what the manifest says of the encodings. Raises InputError where the index has none."""
        if settings is None:
            raise InputError(
                "this index holds no MUVERA encodings: build it with --first-stage muvera (muvera=MuveraOptions()), or "
                "search with first_stage='centroids'"
            )
        self._backend = backend
        self._encoding, self._factory = _stored_encoding(settings, dim)
        self._parts = [segment.array("encodings") for segment in segments]
        for segment, part in zip(segments, self._parts, strict=True):
            if part.shape[1] != self._encoding.output_dim:
                raise CorruptIndexError(
                    f"segment {segment.id} has encodings of {part.shape[1]:,} values; the manifest says "
                    f"{self._encoding.output_dim:,}"
                )
        lengths = [np.diff(segment.array("doc_offsets").astype(np.int64)) for segment in segments]
        filled = np.concatenate(lengths) > 0
        self._filled: Uint8Array | None = None if filled.all() else np.packbits(filled, bitorder="little")
        self._documents = len(filled)
        self._index: Any = None
        self._lock = Lock()

    @property
    def name(self) -> str:
        return f"muvera {self._factory}"

    def find(
        self,
        queries: Float32Array,
        query_offsets: Int64Array,
        table: CentroidTable,
        settings: CandidateSettings,
        mask: Uint8Array | None,
    ) -> Lists:
        encoded = self._encoding.encode_queries(RaggedEmbeddings(queries, query_offsets), self._backend)
        index = self._searchable()
        with threads_for(len(queries)):
            _, ids = search_within(index, encoded, min(settings.pool, self._documents), self._allowed(mask))
        return lists_of([row[row >= 0].astype(np.uint32) for row in ids])

    def _allowed(self, mask: Uint8Array | None) -> Uint8Array | None:
        if mask is None or self._filled is None:
            return self._filled if mask is None else mask
        return mask & self._filled

    def _searchable(self) -> Any:
        with self._lock:
            if self._index is None:
                self._index = encoding_index(self._parts, self._factory)
            return self._index


def _stored_encoding(settings: JsonValue, dim: int) -> tuple[FixedDimensionalEncoding, str]:
    if not isinstance(settings, Mapping) or not isinstance(settings.get("factory"), str) or settings.get("dim") != dim:
        raise CorruptIndexError(
            f"the manifest says muvera={settings!r:.200}; that describes no encodings of this index"
        )
    try:
        return FixedDimensionalEncoding.from_json(settings), str(settings["factory"])
    except InputError as error:
        raise CorruptIndexError(f"the manifest describes encodings that cannot be: {error}") from error
