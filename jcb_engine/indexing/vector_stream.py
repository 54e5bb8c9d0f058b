"""Vectors that can be read again: they are indexed without a copy of all of them on disk."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np

from jcb_engine.errors import InputError
from jcb_engine.indexing.sampling import SampleFile
from jcb_engine.indexing.scratch import allocate_scratch
from jcb_engine.indexing.spool import WINDOW_TOKENS, check_rows, check_vectors, document_windows
from jcb_engine.types import AnyArray, Document, Float32Array, Int64Array, RaggedEmbeddings

# ids, values [tokens, dim] and offsets [documents + 1] of some documents
VectorBatch: TypeAlias = tuple[Sequence[str | Document], AnyArray, AnyArray]


class VectorStream:
    """Batches that are read three times: for ids and lengths, for the codec's sample, and to be compressed.

    In memory is one batch at a time, and 8 bytes per document.
    """

    def __init__(self, batches: Iterable[VectorBatch], dim: int | None, scratch: Path) -> None:
        """dim: what the vectors must have; None takes that of the first batch."""
        if isinstance(batches, Iterator):
            raise InputError(
                f"the batches are a {type(batches).__name__}, which can be read once; they are read three times: pass "
                "a list, or an object whose __iter__ begins again, or use add_vectors"
            )
        self._batches, self._dim, self._scratch = batches, dim, scratch
        self._lengths: list[Int64Array] = []
        self._largest_norm = 0.0

    def first_reading(self) -> Iterator[Sequence[str | Document]]:
        """The ids of each batch, after its vectors were checked and counted."""
        for ids, values, offsets in self._batches:
            values, offsets = check_vectors(ids, values, offsets, self._dim)
            self._dim = values.shape[1]
            for start in range(0, len(values), WINDOW_TOKENS):
                norm, _ = check_rows(values[start : start + WINDOW_TOKENS], start)
                self._largest_norm = max(self._largest_norm, norm)
            self._lengths.append(np.diff(offsets))
            yield ids
        self._lengths = [np.concatenate([np.zeros(0, np.int64), *self._lengths])]

    @property
    def _all_lengths(self) -> Int64Array:
        return self._lengths[0]

    @property
    def documents(self) -> int:
        return len(self._all_lengths)

    @property
    def dim(self) -> int:
        assert self._dim is not None, "the first reading comes first"
        return self._dim

    @property
    def tokens(self) -> int | None:
        return int(self._all_lengths.sum())

    @property
    def largest_norm(self) -> float | None:
        return self._largest_norm

    def vectors_of(self, rows: Int64Array) -> Iterator[Float32Array]:
        """One reading: the vectors are put into a scratch file at their places in the order of `rows`."""
        starts = np.concatenate([[0], np.cumsum(self._all_lengths[rows])])
        place_of_row = np.full(self.documents, -1, dtype=np.int64)
        place_of_row[rows] = np.arange(len(rows))
        path = self._scratch / "stream-sample"
        chosen = allocate_scratch(path, np.float32, (int(starts[-1]), self.dim))
        first_row = 0
        for batch in self._read_again():
            places = place_of_row[first_row : first_row + len(batch)]
            for number in np.flatnonzero(places >= 0):
                place = places[number]
                chosen[starts[place] : starts[place + 1]] = batch[int(number)]
            first_row += len(batch)
        for place in range(len(rows)):
            yield np.asarray(chosen[starts[place] : starts[place + 1]], dtype=np.float32)
        path.unlink(missing_ok=True)

    def chunks(self, sample_rows: Int64Array, sample: SampleFile) -> Iterator[RaggedEmbeddings]:
        """All documents in order, at most about 65,000 tokens at a time."""
        for batch in self._read_again():
            for first, last in document_windows(batch.offsets):
                tokens = slice(batch.offsets[first], batch.offsets[last])
                values = np.asarray(batch.values[tokens], dtype=np.float32)
                yield RaggedEmbeddings(values, batch.offsets[first : last + 1] - batch.offsets[first])

    def _read_again(self) -> Iterator[RaggedEmbeddings]:
        """All batches once more. Raises InputError where they are not those of the first reading."""
        first_row, lengths = 0, self._all_lengths
        for ids, values, offsets in self._batches:
            values, offsets = check_vectors(ids, values, offsets, self.dim)
            known = lengths[first_row : first_row + len(offsets) - 1]
            if not np.array_equal(np.diff(offsets), known):
                raise InputError(
                    f"the vectors changed between two readings: documents {first_row} to {first_row + len(ids) - 1} do "
                    "not have the numbers of tokens they had; every reading must give the same"
                )
            # Float16 of the caller's is kept as it is until a window of it is needed.
            yield RaggedEmbeddings(values, offsets)  # type: ignore[arg-type]
            first_row += len(ids)
        if first_row != len(lengths):
            raise InputError(
                f"the vectors changed between two readings: {len(lengths)} documents at first, {first_row} then; "
                "every reading must give the same"
            )
