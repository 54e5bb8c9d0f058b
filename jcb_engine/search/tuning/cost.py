"""What a search costs, counted and not timed, so that a choice is the same on every machine and on a busy one.

The unit is one document token in MaxSim over codes. Times are measured too, for people, and decide nothing: on a shared
machine they differ by more than neighbouring settings do. What every search pays alike (the table of centroid scores,
fetching hits) is left out.
"""

from __future__ import annotations

# Measured on one core with 23 query tokens, 128 dimensions, 8,192 centroids: .16 at 2 bits, .10 at 4.
NARROWED_TOKEN = 0.13
# An entry of a postings list, one access to memory: .27 at 2 bits, .16 at 4.
POSTING = 0.2
# What an adaptive stop takes to score in two rounds, .15 to .4 ms: without it stops are chosen that save no time.
SECOND_ROUND = 5_000


def search_cost(tokens_scored: float, tokens_narrowed: float, postings: float) -> float:
    """Of a query: tokens of documents that are scored by codes, of the pool before that, and postings read."""
    return tokens_scored + NARROWED_TOKEN * tokens_narrowed + POSTING * postings
