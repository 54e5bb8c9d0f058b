"""The second stage loses no hit: whatever the fast scores say within their bound, the best by fp32 are found."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from jcb_engine.kernels import Candidates, Lists, Ranges
from jcb_engine.search.ranking import rank


class ExactTable:
    """Stands in for a table of centroid scores that the kernels above do not look at."""

    is_exact = True


class ScoresFromTables:
    """Stands in for the kernels: exact scores [queries, N], and fast ones as far off as a bound per query allows."""

    def __init__(self, exact: np.ndarray, fast: np.ndarray, bounds: np.ndarray) -> None:
        self.exact, self.fast, self.bounds = exact, fast, bounds
        self.scored_exactly = 0

    def maxsim_quantized(
        self, store: object, queries: object, offsets: object, candidates: Candidates, precision: str, table: object
    ) -> np.ndarray:
        scores = self.fast if precision == "fast" else self.exact
        if isinstance(candidates, Ranges):
            return scores.copy()
        self.scored_exactly += len(candidates.documents) if precision == "exact" else 0
        owner = np.repeat(np.arange(len(scores)), np.diff(candidates.list_offsets))
        return scores[owner, candidates.documents]

    def score_error_bound(self, store: object, queries: object, offsets: object) -> np.ndarray:
        return self.bounds


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_the_best_by_fp32_are_among_the_ranked_however_wrong_the_fast_scores_may_be(data: st.DataObject) -> None:
    queries, documents = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 90))
    k, groups_count = data.draw(st.integers(1, 12)), data.draw(st.integers(0, 10))
    random = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    # Multiples of 1/8: sums are exact in fp32, many scores tie, and many fast scores lie at the very bound.
    exact = random.integers(-40, 40, (queries, documents)).astype(np.float32) / 8
    bounds = random.integers(0, 12, queries).astype(np.float32) / 8
    fast = exact + random.choice([-1, 0, 1], exact.shape).astype(np.float32) * bounds[:, None]
    empty = random.random(documents) < 0.1
    exact[:, empty] = fast[:, empty] = -np.inf
    backend = ScoresFromTables(exact, fast, bounds)
    offsets = np.arange(queries + 1, dtype=np.int64)
    groups = random.integers(0, groups_count, documents).astype(np.uint32) if groups_count else None
    everything: Candidates = Ranges(np.array([0], np.int64), np.array([documents], np.int64))
    if data.draw(st.booleans()):
        everything = Lists(np.tile(np.arange(documents, dtype=np.uint32), queries), offsets * documents)
    for number, ranking in enumerate(rank(backend, None, None, offsets, ExactTable(), everything, k, groups)):  # type: ignore[arg-type]
        assert len(np.unique(ranking.documents)) == len(ranking.documents), "no document twice"
        np.testing.assert_array_equal(ranking.scores, exact[number, ranking.documents])
        members = np.arange(documents) if groups is None else groups
        best = {group: exact[number, members == group].max() for group in np.unique(members[~empty])}
        wanted = sorted(best.values(), reverse=True)[:k]
        found: dict[int, float] = {}
        for document, score in zip(ranking.documents.tolist(), ranking.scores.tolist(), strict=True):
            found[int(members[document])] = max(score, found.get(int(members[document]), -np.inf))
        assert sorted(found.values(), reverse=True)[:k] == wanted
        if len(wanted) == k:  # all that tie with the last take part, so that ids can decide
            assert {group for group, score in best.items() if score >= wanted[-1]} <= set(found)


def test_few_candidates_are_scored_once_and_exactly() -> None:
    exact = np.arange(200, dtype=np.float32)[None]
    backend = ScoresFromTables(exact, np.full_like(exact, np.nan), np.array([0.0], np.float32))
    few = Lists(np.arange(0, 200, 5, dtype=np.uint32), np.array([0, 40]))
    (ranking,) = rank(backend, None, None, np.array([0, 1]), ExactTable(), few, 10)  # type: ignore[arg-type]
    assert backend.scored_exactly == 40
    np.testing.assert_array_equal(ranking.scores, np.arange(0, 200, 5))


def test_only_documents_near_the_best_are_scored_again() -> None:
    exact = np.arange(1_000, dtype=np.float32)[None]
    backend = ScoresFromTables(exact, exact, np.array([8.0], np.float32))
    (ranking,) = rank(backend, None, None, np.array([0, 1]), ExactTable(), _all_of(1_000), 10)  # type: ignore[arg-type]
    assert sorted(ranking.documents.tolist()) == list(range(982, 1_000))  # the ten best, and eight within the bound
    assert backend.scored_exactly == 18


def test_without_proof_the_errors_of_the_first_documents_say_which_others_are_scored() -> None:
    exact = np.arange(1_000, dtype=np.float32)[None]
    fast = exact.copy()
    fast[0, 995] -= 3  # still among the first 16, which then are those from 984 on; four times 3 below 990 is 978
    backend = ScoresFromTables(exact, fast, np.array([500.0], np.float32))
    (ranking,) = rank(backend, None, None, np.array([0, 1]), None, _all_of(1_000), 10, proven=False)  # type: ignore[arg-type]
    assert sorted(ranking.documents.tolist()) == list(range(978, 1_000))
    assert backend.scored_exactly == 22


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), k=st.integers(1, 40), documents=st.integers(1, 2_000))
def test_without_proof_errors_like_those_of_rounding_lose_no_hit(seed: int, k: int, documents: int) -> None:
    random = np.random.default_rng(seed)
    exact = random.normal(size=(1, documents)).astype(np.float32)
    fast = exact + random.normal(scale=0.05, size=exact.shape).astype(np.float32)
    backend = ScoresFromTables(exact, fast, np.array([np.inf], np.float32))
    (ranking,) = rank(backend, None, None, np.array([0, 1]), None, _all_of(documents), k, proven=False)  # type: ignore[arg-type]
    assert set(np.argsort(-exact[0])[:k].tolist()) <= set(ranking.documents.tolist())


def _all_of(documents: int) -> Ranges:
    return Ranges(np.array([0], np.int64), np.array([documents], np.int64))
