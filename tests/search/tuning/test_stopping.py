"""The adaptive stop passes over documents by the rule it states, and over no others."""

from __future__ import annotations

import numpy as np

from jcb_engine.kernels import Lists
from jcb_engine.search.ranking import rank
from jcb_engine.search.stopping import Stop, first_places, worth_scoring
from tests.search.test_ranking import ScoresFromTables


class CountingScores(ScoresFromTables):
    """Also knows which documents were scored fast."""

    def __init__(self, exact: np.ndarray) -> None:
        super().__init__(exact, exact, np.zeros(len(exact), np.float32))
        self.scored: list[int] = []

    def maxsim_quantized(self, store, queries, offsets, candidates, precision, table):  # type: ignore[no-untyped-def]
        if precision == "fast":
            self.scored += candidates.documents.tolist()
        return super().maxsim_quantized(store, queries, offsets, candidates, precision, table)


def test_what_is_worth_scoring_is_computed_by_hand() -> None:
    centroid_scores = np.array([9, 8, 7, 6, 5, 4], np.float32)
    first = np.array([0, 1, 2])
    # scores 10, 8.5 and 7.5: the second best is 8.5; with a margin of 2.5 a centroid-only 6 can reach it, 5 cannot
    worth = worth_scoring(centroid_scores, first, np.array([10, 8.5, 7.5], np.float32), 2, 2.5)
    assert worth.tolist() == [False, False, False, True, False, False]
    assert (
        worth_scoring(centroid_scores, first, np.array([1, 2, 3], np.float32), 4, 0).tolist()
        == [False] * 3 + [True] * 3
    )


def test_ranking_with_a_stop_scores_what_the_rule_says_and_finds_the_best_of_it() -> None:
    random = np.random.default_rng(5)
    queries, documents, k = 4, 300, 7
    exact = random.normal(0, 3, (queries, documents)).astype(np.float32)
    rough = (exact - random.gamma(2, 0.5, exact.shape)).astype(np.float32)
    lists = Lists(np.tile(np.arange(documents, dtype=np.uint32), queries), np.arange(queries + 1) * documents)
    margins = np.array([0, 0.5, 1, 50], np.float32)
    backend = CountingScores(exact)
    rankings = rank(backend, None, None, None, None, lists, k, None, Stop(rough.ravel(), margins), proven=False)  # type: ignore[arg-type]
    expected_scored = 0
    for row, ranking in enumerate(rankings):
        first = np.argsort(-rough[row], kind="stable")[:48]
        floor = np.sort(exact[row, first])[-k]
        taken = np.union1d(first, np.flatnonzero(rough[row] + margins[row] >= floor))
        expected_scored += len(taken)
        best = taken[np.argsort(-exact[row, taken])[:k]]
        assert set(best.tolist()) <= set(ranking.documents.tolist())
        np.testing.assert_array_equal(ranking.scores, exact[row, ranking.documents])
    assert len(backend.scored) == expected_scored
    assert expected_scored < queries * documents


def test_more_hits_are_wanted_than_come_first_by_default() -> None:
    assert len(first_places(np.arange(1_000, dtype=np.float32), 10)) == 48
    assert len(first_places(np.arange(1_000, dtype=np.float32), 100)) == 300
    assert len(first_places(np.arange(20, dtype=np.float32), 10)) == 20
