"""Batches of texts of like length, by a budget of tokens."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from jcb_engine.types import Int64Array


def token_batches(lengths: Sequence[int], token_budget: int) -> list[Int64Array]:
    """Positions of texts, longest first, in batches of at most token_budget tokens or of one text.

    lengths: tokens of each text; texts without any are in no batch. Longest first, so that what does not fit into
    memory shows at once, and equal lengths stand side by side. The order of equal lengths is that of the texts.
    """
    token_counts = np.asarray(lengths, dtype=np.int64)
    order = np.argsort(-token_counts, kind="stable")[: np.count_nonzero(token_counts)].astype(np.int64)
    batches: list[Int64Array] = []
    start, tokens = 0, 0
    for position, text in enumerate(order):
        if position > start and tokens + lengths[text] > token_budget:
            batches.append(order[start:position])
            start, tokens = position, 0
        tokens += lengths[text]
    if start < len(order):
        batches.append(order[start:])
    return batches


def runs_of_equal_length(lengths: Sequence[int]) -> list[tuple[int, int]]:
    """(count, length) of every run of equal numbers, in order."""
    runs: list[tuple[int, int]] = []
    for length in lengths:
        count = runs.pop()[0] if runs and runs[-1][1] == length else 0
        runs.append((count + 1, length))
    return runs
