"""Where the vectors of a segment come from: texts through an encoder, or a spool of the caller's own vectors."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Protocol

import numpy as np

from jcb_engine.encoder import Encoder
from jcb_engine.encoder.windows import windows
from jcb_engine.indexing.sampling import SampleFile
from jcb_engine.indexing.spool import VectorSpool
from jcb_engine.storage import DocumentWriter
from jcb_engine.types import Document, Float32Array, Int64Array, RaggedEmbeddings

_TEXTS_READ_AT_ONCE = 256


class VectorSource(Protocol):
    """The documents of a segment in row order, as vectors."""

    @property
    def documents(self) -> int: ...
    @property
    def dim(self) -> int: ...
    @property
    def tokens(self) -> int | None:
        """Token vectors in all, where that is known before encoding."""
        ...

    @property
    def largest_norm(self) -> float | None:
        """Norm of the longest vector of all, where that is known before encoding."""
        ...

    def vectors_of(self, rows: Int64Array) -> Iterator[Float32Array]:
        """[tokens, dim] float32 of each of these rows."""
        ...

    def chunks(self, sample_rows: Int64Array, sample: SampleFile) -> Iterator[RaggedEmbeddings]:
        """All documents in row order; those in sample_rows need not be encoded again."""
        ...


class EncodingCounts:
    """What the encoder reported over all documents."""

    def __init__(self) -> None:
        self.tokens = self.documents_cut = self.tokens_cut = self.unknown_tokens = 0
        self.knows_unknown = True

    def add(self, embeddings: RaggedEmbeddings) -> None:
        self.tokens += len(embeddings.values)
        if embeddings.tokens_cut is not None:
            self.documents_cut += int(np.count_nonzero(embeddings.tokens_cut))
            self.tokens_cut += int(embeddings.tokens_cut.sum())
        if embeddings.unknown_tokens is None:
            self.knows_unknown = False
        else:
            self.unknown_tokens += int(embeddings.unknown_tokens.sum())

    @property
    def unknown_share(self) -> float | None:
        return self.unknown_tokens / self.tokens if self.knows_unknown and self.tokens else None


class EncodedTexts:
    """Texts that were spooled into the document store, encoded when asked for. Each text is encoded once."""

    def __init__(self, store: DocumentWriter, encoder: Encoder) -> None:
        self._store, self._encoder = store, encoder
        self.counts = EncodingCounts()

    @property
    def documents(self) -> int:
        return len(self._store)

    @property
    def dim(self) -> int:
        return self._encoder.dim

    @property
    def tokens(self) -> int | None:
        return None

    @property
    def largest_norm(self) -> float | None:
        return None

    def vectors_of(self, rows: Int64Array) -> Iterator[Float32Array]:
        for window in windows(self._documents_of(rows), _characters):
            yield from self._encode(window)

    def _documents_of(self, rows: Int64Array) -> Iterator[Document]:
        for start in range(0, len(rows), _TEXTS_READ_AT_ONCE):
            yield from self._store.get([int(row) for row in rows[start : start + _TEXTS_READ_AT_ONCE]])

    def chunks(self, sample_rows: Int64Array, sample: SampleFile) -> Iterator[RaggedEmbeddings]:
        place_in_sample = np.full(self.documents, -1, dtype=np.int64)
        place_in_sample[sample_rows] = np.arange(len(sample_rows))
        vectors, offsets = sample.map(), sample.offsets
        first_row = 0
        documents = chain.from_iterable(self._store.iterate(batch_size=_TEXTS_READ_AT_ONCE))
        for batch in windows(documents, _characters):
            places = place_in_sample[first_row : first_row + len(batch)]
            fresh = iter(self._encode([text for text, place in zip(batch, places, strict=True) if place < 0]))
            parts = [next(fresh) if place < 0 else vectors[offsets[place] : offsets[place + 1]] for place in places]
            yield _laid_end_to_end(parts, self.dim)
            first_row += len(batch)

    def _encode(self, documents: list[Document]) -> RaggedEmbeddings:
        embeddings = self._encoder.encode_document([document.full_text for document in documents])
        self.counts.add(embeddings)
        return embeddings


class SpooledVectors:
    """Vectors of the caller's own."""

    def __init__(self, spool: VectorSpool) -> None:
        self._spool = spool

    @property
    def documents(self) -> int:
        return len(self._spool.lengths)

    @property
    def dim(self) -> int:
        return self._spool.dim

    @property
    def tokens(self) -> int | None:
        return int(self._spool.lengths.sum())

    @property
    def largest_norm(self) -> float | None:
        return self._spool.largest_norm

    def vectors_of(self, rows: Int64Array) -> Iterator[Float32Array]:
        return self._spool.vectors_of(rows)

    def chunks(self, sample_rows: Int64Array, sample: SampleFile) -> Iterator[RaggedEmbeddings]:
        return self._spool.chunks()


def _characters(document: Document) -> int:
    return len(document.title) + len(document.text)


def _laid_end_to_end(parts: list[Float32Array], dim: int) -> RaggedEmbeddings:
    offsets = np.cumsum([0, *map(len, parts)], dtype=np.int64)
    values = np.concatenate(parts) if parts else np.zeros((0, dim), np.float32)
    return RaggedEmbeddings(np.asarray(values, dtype=np.float32), offsets)
