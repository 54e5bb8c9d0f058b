"""The cheapest setting that can be trusted to reach a recall, on curves whose right choice is computed by hand."""

from __future__ import annotations

import numpy as np
import pytest

from jcb_engine.search.tuning.choice import CONFIDENCE, cheapest, standard_error
from jcb_engine.search.tuning.settings import documents_to_try, probes_to_try
from jcb_engine.storage import TunedPoint


def point(documents: int | None, recall: float, error: float, cost: float) -> TunedPoint:
    return TunedPoint(None if documents is None else 4, documents, None, recall, error, cost, 1.0)


CURVE = (
    point(10, 0.80, 0.01, 100),  # at least .78355
    point(20, 0.95, 0.01, 200),  # at least .93355
    point(30, 0.94, 0.0, 300),  # .94
    point(40, 0.999, 0.02, 400),  # .9661
    point(None, 1.0, 0.0, 1_000),
)


@pytest.mark.parametrize(
    ("wanted", "documents"),
    [(0.5, 10), (0.78, 10), (0.79, 20), (0.93, 20), (0.935, 30), (0.94, 30), (0.95, 40), (0.97, None), (0.999, None)],
)
def test_the_cheapest_point_whose_assured_recall_reaches_is_taken(wanted: float, documents: int | None) -> None:
    assert cheapest(CURVE, wanted).documents == documents


def test_a_few_queries_that_find_everything_prove_little() -> None:
    """By hand: values 1, 1, 1 and the imagined 1/2 have a standard deviation of 1/4, so an error of 1/8."""
    assert standard_error(np.ones(3)) == pytest.approx(0.125)
    assert 1 - CONFIDENCE * standard_error(np.ones(50)) < 0.99
    assert 1 - CONFIDENCE * standard_error(np.ones(300)) > 0.99


def test_the_error_is_that_of_the_mean() -> None:
    recalls = np.random.default_rng(0).binomial(10, 0.9, 100_000) / 10
    assert standard_error(recalls) == pytest.approx(np.sqrt(0.9 * 0.1 / 10 / 100_000), rel=0.02)


def test_no_setting_scores_as_few_as_k_or_as_many_as_there_are() -> None:
    for k, documents in [(10, 5_000), (1, 3), (10, 12), (100, 150), (10, 10), (3, 1)]:
        tried = documents_to_try(k, documents)
        assert tried == sorted(set(tried))
        assert all(k < count < documents for count in tried)
    assert documents_to_try(10, 12) == [11]
    assert documents_to_try(10, 1_000_000)[-1] > 1_500
    assert probes_to_try(5) == [1, 2, 4]
