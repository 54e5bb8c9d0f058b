"""What the rounds mean: a row per setting, and how much faster ours is at a peer's own recall. Pure functions."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.harness import Times


@dataclass(frozen=True)
class Setting:
    """One search over one index: shares of the exact best per query, seconds per query (all times it was asked)."""

    engine: str
    nbits: int
    search: str
    recalls: dict[int, float]
    seconds: dict[int, list[float]]

    def recall(self, queries: Iterable[int]) -> float:
        return statistics.fmean(self.recalls[query] for query in queries)

    def times(self, queries: Iterable[int]) -> Times:
        return Times.of([seconds for query in queries for seconds in self.seconds[query]])


def recall_of(found: Sequence[int], wanted: Sequence[int]) -> float:
    """Share of `wanted` in `found`; a peer that returns a document twice, or fewer than wanted, gains nothing."""
    return len(set(found) & set(wanted)) / len(wanted)


def cheapest_at(recall: float, own: Sequence[Setting], queries: Sequence[int]) -> Setting | None:
    """The setting of the lowest median latency among those that reach `recall` on `queries`; None where none does."""
    reaching = [setting for setting in own if setting.recall(queries) >= recall]
    return min(reaching, key=lambda setting: setting.times(queries).median, default=None)


def against(peer: Setting, own: Sequence[Setting]) -> dict[str, Any]:
    """Ours at the peer's recall, on the queries that the peer answered: at its own bits, and at any."""
    queries = sorted(peer.recalls)
    recall, median = peer.recall(queries), peer.times(queries).median
    compared: dict[str, Any] = {"peer": f"{peer.engine} {peer.nbits} bits, {peer.search}", "queries": len(queries)}
    compared |= {"recall_at_10": recall, "median_seconds": median}
    same_bits = [setting for setting in own if setting.nbits == peer.nbits]
    for name, settings in (("ours_at_equal_bits", same_bits), ("ours_at_any_bits", own)):
        ours = cheapest_at(recall, settings, queries)
        compared[name] = ours and _compared(ours, queries, median)
    return compared


def _compared(ours: Setting, queries: Sequence[int], peer_median: float) -> dict[str, Any]:
    median = ours.times(queries).median
    return {
        "nbits": ours.nbits,
        "search": ours.search,
        "recall_at_10": ours.recall(queries),
        "median_seconds": median,
        "times_faster": peer_median / median,
    }


def row(setting: Setting, ndcg_at_10: float | None) -> dict[str, Any]:
    """A setting as the result file has it."""
    queries = sorted(setting.recalls)
    return {
        "engine": setting.engine,
        "nbits": setting.nbits,
        "search": setting.search,
        "queries": len(queries),
        "recall_at_10": setting.recall(queries),
        "ndcg_at_10": ndcg_at_10,
        "seconds": asdict(setting.times(queries)),
    }


def pareto(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Of (cost, recall): those that no other beats, by rising cost."""
    front: list[tuple[float, float]] = []
    for cost, recall in sorted(points, key=lambda point: (point[0], -point[1])):
        if not front or recall > front[-1][1]:
            front.append((cost, recall))
    return front
