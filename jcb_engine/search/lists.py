"""Candidate lists taken apart by query, and put together again."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from jcb_engine.kernels import Candidates, Lists, Ranges
from jcb_engine.types import Float32Array, Int64Array, Uint32Array


def by_query(candidates: Candidates, scores: Float32Array) -> list[tuple[Uint32Array, Float32Array]]:
    """Documents [M] and their scores [M] for each query."""
    if isinstance(candidates, Ranges):
        spans = zip(candidates.starts, candidates.ends, strict=True)
        documents = np.concatenate([np.arange(start, end, dtype=np.uint32) for start, end in spans])
        return [(documents, row) for row in scores]
    offsets = candidates.list_offsets.tolist()
    return [(candidates.documents[first:last], scores[first:last]) for first, last in itertools.pairwise(offsets)]


def lists_of(documents: Sequence[Uint32Array]) -> Lists:
    """One list for each query, laid end to end."""
    ends = itertools.accumulate(map(len, documents), initial=0)
    return Lists(joined(documents), np.array(list(ends), np.int64))


def joined(documents: Sequence[Uint32Array]) -> Uint32Array:
    if len(documents) == 1:  # of a single query, in every search
        return np.ascontiguousarray(documents[0])
    return np.concatenate([np.zeros(0, np.uint32), *documents])


def best_places(scores: Float32Array, count: int) -> Int64Array:
    """Places of the `count` highest scores, in any order; of all where there are fewer."""
    total = len(scores)
    return np.argpartition(scores, total - count)[-count:] if total > count else np.arange(total)
