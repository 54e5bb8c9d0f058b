"""A search among candidates on a GPU: centroids, postings, narrowing, scores. Imported by triton_gpu.py alone.

Every stage leaves what it finds on the device, in lists with so much room for each query: nothing waits for the host
between them. The best of a stage are found by keys that no two documents share (triton_keys.py), so that a list never
has to hold more than its room.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from jcb_engine.kernels.interface import ERROR_FACTOR, ERROR_SAMPLE, RAW_BITS, Precision, Probing
from jcb_engine.kernels.triton_keys import (
    best_keys,
    best_of_rows,
    keys_of,
    keys_of_sums,
    numbers_of,
    scores_of,
    sums_of,
)
from jcb_engine.kernels.triton_postings import DevicePostings
from jcb_engine.kernels.triton_scoring import centroid_maxsim, maxsim
from jcb_engine.kernels.triton_store import TritonStore, TritonTable
from jcb_engine.kernels.triton_work import QueryLayout
from jcb_engine.types import Float32Array, Uint32Array

# As csrc/cuda: probe.h, kernels/postings.h, found.h.
MOST_PROBES, MOST_SCORED, MOST_WANTED = 256, 2**17, 4_096
_MOST_DOCUMENTS = 2**30  # their numbers are int32, and a step beyond the last must be one as well
_FULL_GAIN = 2**30  # of all tokens of a query together, but that each gains 1 at least


@dataclass(frozen=True, slots=True)
class Rooms:
    """Documents of a query: found by postings, scored fast, and scored exactly to see how wrong fast scores are."""

    pool: int
    scored: int
    first: int

    @classmethod
    def of(cls, documents: int, k: int, probing: Probing) -> Rooms:
        scored = min(probing.documents, documents)
        return cls(min(max(probing.pool, scored), documents), scored, min(max(k, ERROR_SAMPLE), scored))


def can_probe(store: TritonStore, k: int, probing: Probing) -> bool:
    """Whether candidates can be found as asked; else it is done in another way."""
    return (
        store.codec.nbits != RAW_BITS
        and 1 <= k <= MOST_WANTED
        and 1 <= probing.documents <= MOST_SCORED
        and 1 <= probing.probes <= MOST_PROBES
        and probing.probes < len(store.codec.centroids)
        and store.documents < _MOST_DOCUMENTS
    )


@dataclass(frozen=True, slots=True)
class Probe:
    """One search. table, layout: of its queries, the layout with the rooms."""

    store: TritonStore
    table: TritonTable
    postings: DevicePostings
    layout: QueryLayout
    rooms: Rooms

    def best(self, probes: int, k: int, allowed: torch.Tensor | None) -> torch.Tensor:
        """Keys [queries, scored] of exact scores and documents: those that could be among the k best; others' are -inf.

        allowed: bitmap of documents; None for all.
        """
        best = best_of_rows(self.table.scores.T, probes + 1)
        gains = gains_of(scores_of(best), self.layout)
        sums = self.postings.gained(
            numbers_of(best[:, :-1]).contiguous(), gains, self.layout.query_of_token, len(self.layout.lengths), allowed
        )
        return self._ranked(self._narrowed(self._pool(sums)), k)

    def _pool(self, sums: torch.Tensor) -> torch.Tensor:
        """Keys [queries, pool] of the documents that gained most."""
        return best_of_rows(sums, self.rooms.pool, keys_of_sums)

    def _narrowed(self, pool: torch.Tensor) -> torch.Tensor:
        """Keys [queries, scored] of those with the best MaxSim of centroids."""
        documents = numbers_of(pool)
        work = self.layout.work(self.store, documents, sums_of(pool) > 0)
        scores = self.layout.added(centroid_maxsim(self.store, self.table, work), self.rooms.pool)
        return best_keys(keys_of(scores, documents), self.rooms.scored)

    def _ranked(self, narrowed: torch.Tensor, k: int) -> torch.Tensor:
        """As `rank` of jcb_engine/search/ranking.py without proof: fast scores, exact ones of the best, and then of all
        that the errors of these leave within reach.
        """
        documents = numbers_of(narrowed)
        fast = self._scores("fast", documents, scores_of(narrowed) > -torch.inf)
        first = best_keys(keys_of(fast, documents), self.rooms.first)
        judged = scores_of(first)
        counts = judged > -torch.inf
        exact = self._scores("exact", numbers_of(first), counts)
        reaching = fast >= floor_of(exact, torch.where(counts, judged, exact), k)
        reaching &= fast > -torch.inf
        return keys_of(self._scores("exact", documents, reaching), documents)

    def _scores(self, precision: Precision, documents: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
        """[queries, room] of documents [queries, room], -inf where one does not count or has no token."""
        work = self.layout.work(self.store, documents, counts)
        return self.layout.added(maxsim(self.store, self.table, work, precision), documents.shape[1])


def gains_of(scores: torch.Tensor, layout: QueryLayout) -> torch.Tensor:
    """Gains [Q, probes] int32 of the best centroids over the next one, the frontier.

    scores [Q, probes + 1], best first. Gains of a query have one unit: the largest ones of its tokens add up to
    _FULL_GAIN at most. A probe that ties with the frontier gains 1, so that what it finds counts as found.
    """
    over = scores[:, :-1] - scores[:, -1:]
    full = layout.largest(over[:, 0]) * layout.lengths
    shares = torch.nan_to_num(over / full[layout.query_of_token][:, None], nan=0.0, posinf=0.0, neginf=0.0)
    most = (_FULL_GAIN // layout.lengths.clamp(min=1))[layout.query_of_token][:, None]
    return torch.minimum((shares * _FULL_GAIN).round().to(torch.int64), most).clamp(min=1).to(torch.int32)


def floor_of(exact: torch.Tensor, fast: torch.Tensor, k: int) -> torch.Tensor:
    """[queries, 1]: what a fast score must reach, by exact and fast scores [queries, first] of the best."""
    if k > exact.shape[1]:
        return torch.full_like(exact[:, :1], -torch.inf)
    kth = torch.topk(exact, k, dim=1).values[:, -1:]
    errors = torch.where(exact > -torch.inf, (exact - fast).abs(), 0.0)
    # What the subtraction may round is taken off as well.
    return kth - (ERROR_FACTOR * errors.amax(dim=1, keepdim=True) + kth.abs() * 2.0**-22)


def answers_of(keys: torch.Tensor) -> list[tuple[Uint32Array, Float32Array]]:
    """Keys [queries, scored] of `Probe.best` as documents, ascending, and scores of each query: the one transfer."""
    found = keys.cpu()
    answers = []
    for documents, scores in zip(numbers_of(found).numpy(), scores_of(found).numpy(), strict=True):
        places = np.flatnonzero(scores > -np.inf)
        places = places[np.argsort(documents[places])]
        answers.append((documents[places].astype(np.uint32), np.asarray(scores[places], np.float32)))
    return answers
