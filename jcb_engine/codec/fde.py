"""MUVERA's fixed-dimensional encodings (arXiv 2405.19504): one vector per text whose inner product estimates MaxSim.

Space is cut into 2^bits cells by the signs of `simhash_bits` products with random vectors (SimHash), anew in each
repetition. In a query's encoding a cell holds the sum of its token vectors, in a document's their mean; so the inner
product adds to every query token its similarity with the mean of the document's tokens nearby. A cell without a token
of the document takes the token whose cell differs in the fewest bits (the first of several). Vectors inside cells are
projected to `projection_dim` dimensions, and all of it, where asked for, to `final_dim` by a count sketch.

Both sides are encoded from vectors in the rotated basis of the codec: documents from their original vectors, as they
are when the index is built, not from decoded ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property

import numpy as np

from jcb_engine.errors import InputError
from jcb_engine.kernels.interface import Backend
from jcb_engine.types import Float32Array, Int64Array, JsonValue, RaggedEmbeddings

MOST_SIMHASH_BITS = 10
MOST_VALUES = 2**17  # of one encoding, before the final projection: half a megabyte
_VALUES_AT_ONCE = 2**22  # of what is held in memory at a time, such as products or encodings: 16 MB in float32
_COINS = 64  # tossed for one value of a random vector


@dataclass(frozen=True)
class FixedDimensionalEncoding:
    """How texts of token vectors [T, dim] become vectors [F]; a value object, the same on every machine for a seed.

    projection_dim: dimensions inside a cell, at most dim; dim itself keeps the vectors as they are.
    final_dim: F, or None for repetitions * 2^simhash_bits * projection_dim. Raises InputError on what cannot be.
    """

    dim: int
    repetitions: int
    simhash_bits: int
    projection_dim: int
    final_dim: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        _check("dim", self.dim, 1, 2**16)
        _check("repetitions", self.repetitions, 1, MOST_VALUES)
        _check("simhash_bits", self.simhash_bits, 0, MOST_SIMHASH_BITS)
        _check("projection_dim", self.projection_dim, 1, self.dim)
        _check("seed", self.seed, 0, 2**63 - 1)
        if self._values > MOST_VALUES:
            raise InputError(
                f"{self.repetitions} repetitions of 2^{self.simhash_bits} cells of {self.projection_dim} dimensions "
                f"are {self._values:,} values per document; at most {MOST_VALUES:,}: lower one of them"
            )
        if self.final_dim is not None:
            _check("final_dim", self.final_dim, 1, self._values)

    @property
    def output_dim(self) -> int:
        """F."""
        return self._values if self.final_dim is None else self.final_dim

    @property
    def cells(self) -> int:
        """In one repetition."""
        return 1 << self.simhash_bits

    @property
    def _values(self) -> int:
        """Before the final projection."""
        return self.repetitions * self.cells * self.projection_dim

    def encode_queries(self, queries: RaggedEmbeddings, backend: Backend) -> Float32Array:
        """[queries, F]: sums per cell, empty cells zero."""
        return self._encode(queries, backend, is_query=True)

    def encode_documents(self, documents: RaggedEmbeddings, backend: Backend) -> Float32Array:
        """[N, F]: means per cell, empty cells filled; zero for a document without vectors."""
        return self._encode(documents, backend, is_query=False)

    def _encode(self, texts: RaggedEmbeddings, backend: Backend, *, is_query: bool) -> Float32Array:
        encoded = np.empty((len(texts), self.output_dim), dtype=np.float32)
        for first, last in self._blocks(texts.offsets):
            offsets = texts.offsets[first : last + 1]
            values = np.ascontiguousarray(texts.values[offsets[0] : offsets[-1]])
            cells = self._cells_of(values, offsets - offsets[0], backend, is_query)
            encoded[first:last] = self._projected(cells)
        return encoded

    def _blocks(self, offsets: Int64Array) -> Iterator[tuple[int, int]]:
        """Ranges of texts whose encodings and products of one repetition fit into memory; a long text is alone."""
        most_texts = max(1, _VALUES_AT_ONCE // self._values)
        most_tokens = _VALUES_AT_ONCE // self._rows_per_repetition
        first, texts = 0, len(offsets) - 1
        while first < texts:
            last = int(np.searchsorted(offsets, offsets[first] + most_tokens, side="right")) - 1
            last = min(max(last, first + 1), first + most_texts, texts)
            yield first, last
            first = last

    def _cells_of(self, values: Float32Array, offsets: Int64Array, backend: Backend, is_query: bool) -> Float32Array:
        """[N, R * cells * projection_dim] of a block, as many repetitions at a time as fit into memory."""
        texts, tokens = len(offsets) - 1, len(values)
        out = np.zeros((texts, self.repetitions, self.cells * self.projection_dim), dtype=np.float32)
        if tokens == 0:
            return out.reshape(texts, -1)
        text_of_token = np.repeat(np.arange(texts), np.diff(offsets))
        at_once = max(1, _VALUES_AT_ONCE // (tokens * self._rows_per_repetition))
        for start in range(0, self.repetitions, at_once):
            rows = self._rows[start : start + at_once]
            products = backend.inner_products(values, rows.reshape(-1, self.dim))
            products = products.reshape(tokens, len(rows), self._rows_per_repetition)
            filled = self._aggregated(products, text_of_token, texts, is_query)
            out[:, start : start + at_once] = filled.reshape(texts, len(rows), -1)
        return out.reshape(texts, -1)

    def _aggregated(
        self, products: Float32Array, text_of_token: Int64Array, texts: int, is_query: bool
    ) -> Float32Array:
        """Products [T, r, bits + P] of r repetitions -> [N * r * cells, P]."""
        repetitions = products.shape[1]
        bits = products[..., : self.simhash_bits] > 0
        projected = np.ascontiguousarray(products[..., self.simhash_bits :]).reshape(-1, self.projection_dim)
        cell = bits @ (1 << np.arange(self.simhash_bits))  # [T, r]
        place = (text_of_token[:, None] * repetitions + np.arange(repetitions)) * self.cells + cell
        # Stable: tokens of a cell stay in their order, so sums are the same every time, and the first is the first.
        order = np.argsort(place, axis=None, kind="stable")
        sorted_places = place.ravel()[order]
        starts = np.flatnonzero(np.diff(sorted_places, prepend=-1))
        occupied = sorted_places[starts]
        sums = np.add.reduceat(projected[order], starts, axis=0)
        out = np.zeros((texts * repetitions * self.cells, self.projection_dim), dtype=np.float32)
        if is_query:
            out[occupied] = sums
            return out
        nearest = self._nearest(occupied, order[starts], texts * repetitions, len(projected))
        out = np.where(nearest[:, None] >= 0, projected[nearest], np.float32(0))
        out[occupied] = sums / np.diff(starts, append=len(order)).astype(np.float32)[:, None]
        return out

    def _nearest(self, occupied: Int64Array, first_rows: Int64Array, groups: int, rows: int) -> Int64Array:
        """For every cell of every group, [groups * cells]: the row that is nearest by Hamming distance, the first of
        several; -1 in a group without rows.

        Distance and row make one number, distance first. Bits add up independently, so one pass over each of them,
        which takes the neighbour across that bit if it is better, reaches the nearest of all cells.
        """
        step = rows  # one bit more is worse than any row
        nowhere = (self.simhash_bits + 1) * step
        best = np.full(groups * self.cells, nowhere, dtype=np.int64)
        best[occupied] = first_rows
        for bit in range(self.simhash_bits):
            halves = best.reshape(-1, 2, 1 << bit)
            best = np.minimum(halves, halves[:, ::-1] + step).ravel()
        return np.where(best < nowhere, best % step, -1)

    def _projected(self, cells: Float32Array) -> Float32Array:
        """[N, values] -> [N, F] by a count sketch: every value is added to one place, with a random sign."""
        if self.final_dim is None:
            return cells
        order, starts, used, signs = self._sketch
        out = np.zeros((len(cells), self.final_dim), dtype=np.float32)
        out[:, used] = np.add.reduceat((cells * signs)[:, order], starts, axis=1)
        return out

    @property
    def _rows_per_repetition(self) -> int:
        return self.simhash_bits + self.projection_dim

    @cached_property
    def _rows(self) -> Float32Array:
        """[R, bits + P, D]: per repetition the vectors whose signs make the cells, then the projection.

        Made of raw random bits, which numpy promises never to change, and of whole numbers: 64 tosses of a coin stand
        for a Gaussian value.
        """
        bits = np.random.PCG64([self.seed, self.dim, 1])
        rows = np.empty((self.repetitions, self._rows_per_repetition, self.dim), dtype=np.float32)
        for repetition in rows:
            tosses = np.unpackbits(bits.random_raw(self.simhash_bits * self.dim).view(np.uint8))
            heads = tosses.reshape(self.simhash_bits, self.dim, _COINS).sum(axis=2, dtype=np.float32)
            repetition[: self.simhash_bits] = heads - _COINS // 2
            repetition[self.simhash_bits :] = self._projection(bits)
        return rows

    def _projection(self, bits: np.random.PCG64) -> Float32Array:
        if self.projection_dim == self.dim:
            return np.eye(self.dim, dtype=np.float32)
        signs = bits.random_raw(self.projection_dim * self.dim).reshape(-1, self.dim) >> np.uint64(63)
        return np.asarray((2 * signs.astype(np.float32) - 1) / np.sqrt(self.projection_dim), dtype=np.float32)

    @cached_property
    def _sketch(self) -> tuple[Int64Array, Int64Array, Int64Array, Float32Array]:
        """Values in the order of their places, where each place begins, the places that are used, and the signs."""
        assert self.final_dim is not None, "asked for where there is a final projection"
        words = np.random.PCG64([self.seed, self.dim, 2]).random_raw(self._values)
        places = ((words >> np.uint64(1)) % np.uint64(self.final_dim)).astype(np.int64)
        signs = 2 * (words & np.uint64(1)).astype(np.float32) - 1
        order = np.argsort(places, kind="stable")
        starts = np.flatnonzero(np.diff(places[order], prepend=-1))
        return order, starts, places[order][starts], signs

    def to_json(self) -> dict[str, JsonValue]:
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, JsonValue]) -> FixedDimensionalEncoding:
        """The inverse of to_json. Raises InputError on values that make no encoding."""
        names = ("dim", "repetitions", "simhash_bits", "projection_dim", "final_dim", "seed")
        return cls(*(values.get(name) for name in names))  # type: ignore[arg-type] # __post_init__ checks them


def _check(name: str, value: object, lowest: int, highest: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not lowest <= value <= highest:
        raise InputError(
            f"{name} of the encodings is {value!r}; it must be a whole number from {lowest} to {highest:,}"
        )
