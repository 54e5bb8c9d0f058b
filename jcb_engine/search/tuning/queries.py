"""The queries that settings are measured with: the user's own, or passages of the index that stand in for them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from jcb_engine.errors import InputError
from jcb_engine.search.query import QueryVectors
from jcb_engine.types import Float32Array, Int64Array

DEFAULT_SAMPLE = 300
# Tokens that follow each other in a passage. Recall of such windows is within .01 of that of real queries (scifact, 300
# of them, 23 tokens on the average; see ARCHITECTURE.md), where the beginnings of passages miss half as much as these
# and tokens picked at random half as much again.
WINDOW = 20


@dataclass(frozen=True, slots=True)
class TuningQueries:
    """Queries as vectors.

    source: what they are, for the record. own_documents: [queries] the document that a query was made of, which is
    left out of what it should find and of what it does find; None for queries of the user's.
    """

    vectors: QueryVectors
    source: str
    own_documents: Int64Array | None = None

    def depth(self, k: int) -> int:
        """Hits to ask for, so that k remain."""
        return k if self.own_documents is None else k + 1

    def others(self, number: int, documents: Int64Array, k: int) -> Int64Array:
        """The first k documents of an answer to query `number` that it was not made of."""
        if self.own_documents is not None:
            documents = documents[documents != self.own_documents[number]]
        return documents[:k]


def passages_as_queries(
    decode: Callable[[int], Float32Array], token_counts: Int64Array, allowed: Int64Array, sample: int, seed: int
) -> TuningQueries:
    """A window of tokens from each of `sample` documents with tokens, or from all; the same for the same seed.

    decode: the stored vectors [T, D] of a document, in the basis of queries. Raises InputError where no document has
    any.
    """
    filled = allowed[token_counts[allowed] > 0]
    if len(filled) == 0:
        raise InputError("this index has no document that a search could find: there is nothing to tune")
    random = np.random.default_rng(seed)
    documents = np.sort(random.choice(filled, min(sample, len(filled)), replace=False))
    first = [int(random.integers(0, max(1, token_counts[document] - WINDOW + 1))) for document in documents]
    parts = [
        decode(document)[start : start + WINDOW] for document, start in zip(documents.tolist(), first, strict=True)
    ]
    source = f"{len(parts):,} passages of the index as queries ({WINDOW} tokens each), seed {seed}"
    return TuningQueries(QueryVectors(parts, [0] * len(parts)), source, documents)
