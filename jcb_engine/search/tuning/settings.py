"""The settings that a survey looks at."""

from __future__ import annotations

_PROBES = (1, 2, 4, 6, 8, 12, 16, 24, 32, 64)
_STEP = 1.25  # from one number of documents to the next: a fifth of the cost, about
_WIDEST, _WIDEST_PER_HIT = 2_048, 64


def probes_to_try(centroids: int) -> list[int]:
    """Numbers of probed centroids per query token, ascending."""
    return [probes for probes in _PROBES if probes <= centroids] or [1]


def documents_to_try(k: int, documents: int) -> list[int]:
    """Numbers of documents to score, ascending: more than k, fewer than there are."""
    widest = min(documents - 1, max(_WIDEST, _WIDEST_PER_HIT * k))
    found, number = [], float(k + 1)
    while number <= widest:
        found.append(int(number))
        number = max(number * _STEP, number + 1)
    return found
