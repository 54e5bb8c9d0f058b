"""A query, given as text or as vectors, turned into vectors that fit the index."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import TypeAlias

import numpy as np

from jcb_engine.encoder import Encoder
from jcb_engine.errors import InputError
from jcb_engine.types import AnyArray, Float32Array, Int64Array

Query: TypeAlias = str | AnyArray
MOST_QUERY_TOKENS = 1_024  # what the kernels are made for
TOKENS_AT_ONCE = 1_024  # query tokens of a batch that are scored in one call: bounds the table of centroid scores
_LARGEST_VALUE = 1e15  # sums of products with vectors of any sensible size stay far below the end of fp32


class QueryVectors:
    """Several queries laid end to end.

    vectors: [Q, D] float32; offsets: [queries + 1] int64; tokens_cut: per query, what the encoder could not take.
    """

    def __init__(self, parts: Sequence[Float32Array], tokens_cut: Sequence[int]) -> None:
        vectors = parts[0] if len(parts) == 1 else np.concatenate(parts)
        self.vectors: Float32Array = np.ascontiguousarray(vectors, dtype=np.float32)
        self.offsets: Int64Array = np.array(list(itertools.accumulate(map(len, parts), initial=0)), np.int64)
        self.tokens_cut = tuple(tokens_cut)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def alone(self, number: int) -> QueryVectors:
        """One of the queries."""
        own = self.vectors[self.offsets[number] : self.offsets[number + 1]]
        return QueryVectors([own], [self.tokens_cut[number]])


def check_query(query: object, dim: int) -> None:
    """Raise InputError unless `query` is a text with something in it, or finite vectors [tokens, dim]."""
    if isinstance(query, str):
        if not query.strip():
            raise InputError("the query is empty: it needs at least one character that is not blank")
        return
    if not isinstance(query, np.ndarray):
        raise InputError(f"a query is a string or a numpy array [tokens, {dim}]; got {type(query).__name__}")
    _check_vectors(query, dim)


def _check_vectors(query: AnyArray, dim: int) -> None:
    if query.ndim != 2 or query.shape[1] != dim:
        raise InputError(f"query vectors have shape {list(query.shape)}; this index takes [tokens, {dim}]")
    if not np.issubdtype(query.dtype, np.floating):
        raise InputError(f"query vectors are {query.dtype}; expected floating point")
    if not 1 <= len(query) <= MOST_QUERY_TOKENS:
        raise InputError(f"the query has {len(query)} token vectors; 1 to {MOST_QUERY_TOKENS:,} are allowed")
    if not np.isfinite(query).all():
        raise InputError("the query vectors hold NaN or infinity; only finite values can be compared")
    if (largest := float(np.abs(query).max())) > _LARGEST_VALUE:
        raise InputError(f"the query vectors hold {largest:.3g}; at most {_LARGEST_VALUE:g} is allowed: normalise them")


def encode_queries(queries: Sequence[Query], encoder: Encoder | None, dim: int) -> QueryVectors:
    """Vectors of queries that `check_query` has passed. `encoder` is needed where one of them is a text."""
    texts = [query for query in queries if isinstance(query, str)]
    parts: list[Float32Array] = []
    cut: list[int] = []
    encoded = None
    if texts:
        assert encoder is not None, "a text query without an encoder is refused earlier"
        encoded = encoder.encode_query(texts)
    number = 0
    for query in queries:
        if isinstance(query, str):
            assert encoded is not None
            _check_vectors(encoded[number], dim)
            parts.append(encoded[number])
            cut.append(0 if encoded.tokens_cut is None else int(encoded.tokens_cut[number]))
            number += 1
        else:
            parts.append(np.asarray(query, dtype=np.float32))
            cut.append(0)
    return QueryVectors(parts, cut)


def blocks_of_tokens(offsets: Int64Array, most_queries: int) -> Iterator[tuple[int, int]]:
    """Ranges of at most `most_queries` queries, of at most TOKENS_AT_ONCE tokens together; a longer query is alone."""
    first, queries = 0, len(offsets) - 1
    while first < queries:
        last = int(np.searchsorted(offsets, offsets[first] + TOKENS_AT_ONCE, side="right")) - 1
        last = min(max(last, first + 1), first + most_queries, queries)
        yield first, last
        first = last
