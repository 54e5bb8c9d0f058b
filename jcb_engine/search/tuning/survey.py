"""Recall and cost of very many settings at once, from one wide search for each number of probes.

The pool of a narrow search is the beginning of the pool of a wide one, so which of the exact best k a narrow one keeps
can be told from the wide one. Where a way of finding candidates has pools that are not nested, this is an estimate;
what is published is measured again, search by search (measuring.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from jcb_engine.kernels import RAW_BITS, Backend, CentroidTable, CodecArrays, Store
from jcb_engine.search.candidates import CandidateSettings, CandidateStage, CentroidProbing
from jcb_engine.search.lists import by_query
from jcb_engine.search.query import blocks_of_tokens
from jcb_engine.search.tuning.cost import search_cost
from jcb_engine.types import BoolArray, Float32Array, Float64Array, Int64Array, Uint8Array, Uint32Array

_STEP, _STEP_NEAR = 0.8, 0.9  # of the misses that remain


@dataclass(frozen=True, slots=True)
class Surveyed:
    """Settings with the recall [queries] of each query and the mean cost of one."""

    settings: CandidateSettings
    recalls: Float64Array
    cost: float

    @property
    def recall(self) -> float:
        return float(self.recalls.mean())


@dataclass(frozen=True, slots=True)
class Finding:
    """What finding and narrowing candidates takes.

    token_counts: [N] tokens of each document; posting_lengths: [K] documents in the list of each centroid.
    """

    backend: Backend
    store: Store
    codec: CodecArrays
    stage: CandidateStage
    mask: Uint8Array | None
    token_counts: Int64Array
    posting_lengths: Int64Array

    @property
    def has_probes(self) -> bool:
        return isinstance(self.stage, CentroidProbing)

    def postings_read(
        self, queries: Float32Array, offsets: Int64Array, table: CentroidTable, settings: CandidateSettings
    ) -> Int64Array:
        """[queries] entries of postings; 0 where the stage has none."""
        if not isinstance(self.stage, CentroidProbing):
            return np.zeros(len(offsets) - 1, np.int64)
        centroids = self.stage.probed_centroids(queries, table, settings)
        return np.add.reduceat(self.posting_lengths[centroids].sum(axis=1), offsets[:-1])


def survey(
    finding: Finding,
    vectors: Float32Array,
    offsets: Int64Array,
    wanted: Sequence[Int64Array],
    probes: int,
    documents: Sequence[int],
) -> list[Surveyed]:
    """Settings of one number of probes, for each number of documents (ascending).

    vectors [Q, D] of all queries in the rotated basis; wanted: the documents that each should find, at least one.
    """
    widest = CandidateSettings(probes, documents[-1])
    recalls = np.zeros((len(documents), len(wanted)))
    costs = np.zeros((len(documents), len(wanted)))
    for first, last in blocks_of_tokens(offsets, len(wanted)):
        own_offsets = offsets[first : last + 1] - offsets[first]
        own = np.ascontiguousarray(vectors[offsets[first] : offsets[last]])
        table = finding.backend.centroid_scores(finding.store, own, "fast")
        pools = finding.stage.find(own, own_offsets, table, widest, finding.mask)
        if finding.codec.nbits == RAW_BITS:  # nothing is narrowed there: all of the pool is scored
            narrow = None
        else:
            narrow = finding.backend.maxsim_centroids(finding.store, table, own_offsets, pools)
        postings = finding.postings_read(own, own_offsets, table, widest)
        scores = np.zeros(len(pools.documents), np.float32) if narrow is None else narrow
        for number, (pool, own_scores) in enumerate(by_query(pools, scores), start=first):
            places = _places(pool, wanted[number])
            tokens = finding.token_counts[pool]
            for row, count in enumerate(documents):
                pool_size = min(CandidateSettings(probes, count).pool, len(pool))
                kept = _kept(own_scores[:pool_size], pool_size if narrow is None else count)
                recalls[row, number] = kept[places[places < pool_size]].sum() / len(wanted[number])
                tokens_narrowed = 0.0 if narrow is None else float(tokens[:pool_size].sum())
                tokens_scored = float(tokens[:pool_size] @ kept)
                costs[row, number] = search_cost(tokens_scored, tokens_narrowed, float(postings[number - first]))
    return [
        Surveyed(CandidateSettings(probes, count), recalls[row], float(costs[row].mean()))
        for row, count in enumerate(documents)
    ]


def _places(pool: Uint32Array, documents: Int64Array) -> Int64Array:
    """Where documents stand in a pool; those that are not in it are left out."""
    return np.flatnonzero(np.isin(pool, documents))


def _kept(scores: Float32Array, count: int) -> BoolArray:
    """Which of a pool are among the `count` best; more where scores tie with the last of them."""
    if count >= len(scores):
        return np.ones(len(scores), bool)
    return np.asarray(scores >= np.partition(scores, len(scores) - count)[len(scores) - count])


def promising(surveyed: Sequence[Surveyed], asked: float) -> list[Surveyed]:
    """By rising cost, those that nothing cheaper equals in recall, thinned out to steps that matter.

    A step matters that misses a fifth less than the one before; near `asked` a tenth is enough.
    """
    best, frontier = -1.0, []
    for one in sorted(surveyed, key=lambda one: (one.cost, -one.recall)):
        if one.recall > best:
            frontier.append(one)
            best = one.recall
    kept: list[Surveyed] = []
    for one in frontier:
        step = _STEP_NEAR if abs(one.recall - asked) < (1 - asked) / 2 else _STEP
        if one is frontier[-1] or not kept or 1 - one.recall <= step * (1 - kept[-1].recall):
            kept.append(one)
    return kept
