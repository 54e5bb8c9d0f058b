"""What a search costs, counted and not timed, so that a choice is the same on every machine and on a busy one.

The unit is one document token in MaxSim over codes. Times are measured too, for people, and decide nothing: on a shared
machine they differ by more than neighbouring settings do. What every search pays alike (the table of centroid scores,
fetching hits) is left out.
"""

from __future__ import annotations

NARROWED_TOKEN = 0.1  # a token in centroid-only MaxSim: 900 against 35 to 60 Mtoken/s a core, and reading its id
POSTING = 0.1  # an entry of a postings list: one random access, where a token takes some 20 ns


def search_cost(tokens_scored: float, tokens_narrowed: float, postings: float) -> float:
    """Of a query: tokens of documents that are scored by codes, of the pool before that, and postings read."""
    return tokens_scored + NARROWED_TOKEN * tokens_narrowed + POSTING * postings
