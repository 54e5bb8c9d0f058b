"""Vectors of one's own, kept in the staging folder until the codec is trained."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from jcb_engine.codec import largest_norm
from jcb_engine.errors import InputError
from jcb_engine.indexing.scratch import ScratchFile, map_scratch
from jcb_engine.types import (
    AnyArray,
    Document,
    Float16Array,
    Float32Array,
    Int32Array,
    Int64Array,
    RaggedEmbeddings,
    check_ragged,
)

WINDOW_TOKENS = 65_536
_LARGEST_POWER = 120  # 2 ** 120 and 2 ** -120 are ordinary numbers of fp32


class VectorSpool:
    """Token vectors [T, dim] on disk as fp16; float32 rows are scaled by a power of two, so that any norm survives.

    fp16 input comes back bit for bit; float32 input to 2**-11 of each value, or 2**-24 of the row's largest.
    """

    def __init__(self, folder: Path, dim: int) -> None:
        self.dim = dim
        self._values = ScratchFile(folder / "spool-values")
        self._exponents = ScratchFile(folder / "spool-exponents")
        self.largest_norm = 0.0
        self._lengths: list[Int64Array] = []
        self._offsets: Int64Array | None = None

    def append(self, values: AnyArray, offsets: Int64Array) -> None:
        """Add what `check_vectors` has passed."""
        for start in range(0, len(values), WINDOW_TOKENS):
            self._append_rows(values[start : start + WINDOW_TOKENS], start)
        self._lengths.append(np.diff(offsets))

    def _append_rows(self, rows: AnyArray, first_row: int) -> None:
        norm, largest = check_rows(rows, first_row)
        values = np.asarray(rows, dtype=np.float32)
        exponents = np.frexp(largest)[1].astype(np.int16)
        if rows.dtype == np.float16:
            exponents[:] = 0
        self._values.append(_scaled(values, -exponents.astype(np.int32)).astype(np.float16))
        self.largest_norm = max(self.largest_norm, norm)
        self._exponents.append(exponents)

    def finish(self) -> None:
        """No more vectors: make the spool readable."""
        self._values.close()
        self._exponents.close()
        self._offsets = np.concatenate([[0], np.cumsum(np.concatenate([np.zeros(0, np.int64), *self._lengths]))])

    def abandon(self) -> None:
        """Let go of the files; what they hold is no longer needed."""
        self._values.abandon()
        self._exponents.abandon()

    @property
    def lengths(self) -> Int64Array:
        """Tokens per document: [N] int64."""
        return np.diff(self._finished_offsets)

    @property
    def _finished_offsets(self) -> Int64Array:
        assert self._offsets is not None, "finish() comes first"
        return self._offsets

    def vectors_of(self, rows: Int64Array) -> Iterator[Float32Array]:
        """The vectors [tokens, dim] float32 of each of these documents."""
        values, exponents = self._maps()
        for row in rows:
            tokens = slice(self._finished_offsets[row], self._finished_offsets[row + 1])
            yield _restored(values[tokens], exponents[tokens])

    def chunks(self) -> Iterator[RaggedEmbeddings]:
        """All documents in order, about 65k tokens at a time."""
        values, exponents = self._maps()
        offsets = self._finished_offsets
        for first, last in document_windows(offsets):
            tokens = slice(offsets[first], offsets[last])
            yield RaggedEmbeddings(
                _restored(values[tokens], exponents[tokens]), offsets[first : last + 1] - offsets[first]
            )

    def _maps(self) -> tuple[Float16Array, AnyArray]:
        tokens = int(self._finished_offsets[-1])
        values = map_scratch(self._values.path, np.float16, (tokens, self.dim))
        return np.asarray(values, dtype=np.float16), map_scratch(self._exponents.path, np.int16, (tokens,))


def _restored(values: Float16Array, exponents: AnyArray) -> Float32Array:
    return _scaled(np.asarray(values, dtype=np.float32), np.asarray(exponents, dtype=np.int32))


def _scaled(values: Float32Array, exponents: Int32Array) -> Float32Array:
    """Row i times 2 ** exponents[i], exactly. A product is a tenth of the time of ldexp, where fp32 has the power."""
    if np.abs(exponents).max(initial=0) > _LARGEST_POWER:
        return np.ldexp(values, exponents[:, None])
    return values * np.ldexp(np.float32(1), exponents)[:, None]


def check_vectors(
    ids: Sequence[str | Document], values: AnyArray, offsets: AnyArray, dim: int | None
) -> tuple[AnyArray, Int64Array]:
    """Values [tokens, dim] float32 or float16, and offsets [len(ids) + 1] int64, of a caller's own.

    dim: None allows any. Raises InputError on anything else; `check_rows` looks at the values.
    """
    values, offsets = np.asarray(values), np.asarray(offsets)
    if not np.issubdtype(offsets.dtype, np.integer):
        raise InputError(f"offsets are {offsets.dtype}; expected whole numbers, one more than there are ids")
    if isinstance(ids, str):
        raise InputError(f"ids is the text {ids!r}; expected a list of ids, such as [{ids!r}]")
    if offsets.ndim != 1 or len(offsets) != len(ids) + 1:
        raise InputError(f"{len(ids)} ids came with offsets of shape {list(offsets.shape)}; expected [{len(ids) + 1}]")
    if values.ndim != 2 or values.shape[1] < 1:
        raise InputError(f"vectors have shape {list(values.shape)}; expected [tokens, dim]")
    whole_offsets: Int64Array = offsets.astype(np.int64)
    check_ragged(values, whole_offsets)
    if values.dtype not in (np.float32, np.float16):
        raise InputError(f"vectors are {values.dtype}; expected float32 or float16")
    if dim is not None and values.shape[1] != dim:
        raise InputError(f"vectors have {values.shape[1]} dimensions; this index was created with dim={dim}")
    return values, whole_offsets


def check_rows(rows: AnyArray, first_row: int) -> tuple[float, Float32Array]:
    """The norm of the longest row, and the largest absolute value [tokens] of each. Raises InputError on NaN, infinity.

    first_row: the number of the first of them, for the message.
    """
    values = np.asarray(rows, dtype=np.float32)
    largest: Float32Array = np.maximum(values.max(axis=1), -values.min(axis=1))
    if not np.isfinite(largest).all():
        bad = first_row + int(np.flatnonzero(~np.isfinite(largest))[0])
        raise InputError(f"token vector {bad} of these holds NaN or infinity; only finite values can be indexed")
    return largest_norm(values), largest


def document_windows(offsets: Int64Array) -> Iterator[tuple[int, int]]:
    """First and last (exclusive) of the documents that lie in one window of WINDOW_TOKENS, or of one that is longer."""
    first = 0
    while first < len(offsets) - 1:
        last = int(np.searchsorted(offsets, offsets[first] + WINDOW_TOKENS, side="right")) - 1
        last = max(last, first + 1)
        yield first, last
        first = last
