"""What every way of finding candidates takes and gives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from jcb_engine.kernels import CentroidTable, Lists
from jcb_engine.types import Float32Array, Int64Array, Uint8Array


@dataclass(frozen=True, slots=True)
class CandidateSettings:
    """How wide to look: centroids probed per query token, and documents scored per query.

    margin: the adaptive stop (stopping.py), in units of score per query token; None scores all the documents.
    """

    probes: int
    documents: int
    margin: float | None = None

    @property
    def pool(self) -> int:
        """Documents that a stage returns, of which the best by centroid-only MaxSim are kept (narrowing.py).

        Measured on 1.24 M tokens, 128 dimensions, 8,192 centroids, 16 probes: share of the exact best k among the kept.
        k = 10, 256 kept of a pool of 320, 480, 640: .997, .997, .998; without a pool of more, .994.
        k = 100, 800 kept of a pool of 1,200, 2,000, 2,400: .989, .996, .997; without a pool of more, .975.
        """
        return 5 * self.documents // 2

    def wider(self) -> CandidateSettings:
        return CandidateSettings(4 * self.probes, 4 * self.documents)


class CandidateStage(Protocol):
    """Finds the documents that are worth a closer look, for several queries at once."""

    @property
    def name(self) -> str:
        """How it finds them, such as "centroids Flat": what was measured with one name says nothing of another."""
        ...

    def find(
        self,
        queries: Float32Array,
        query_offsets: Int64Array,
        table: CentroidTable,
        settings: CandidateSettings,
        mask: Uint8Array | None,
    ) -> Lists:
        """At most settings.pool documents per query, those that look best.

        queries [Q, D] in the rotated basis, table [K, Q] of their centroid scores.
        mask: bitmap of allowed documents, applied inside the stage: what it forbids takes no place of the pool.
        """
        ...
