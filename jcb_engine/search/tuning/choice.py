"""Which of the measured settings to take."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from jcb_engine.storage import TunedPoint
from jcb_engine.types import Float64Array

CONFIDENCE = 1.645  # standard errors below the mean: nineteen times of twenty the true mean is higher


def standard_error(recalls: Float64Array) -> float:
    """Of the mean of recalls [queries], as if one more query had found half of its documents.

    Without that, five queries that happen to find everything would prove a recall of 1 without any doubt.
    """
    values = np.append(recalls, 0.5)
    return float(values.std(ddof=1) / np.sqrt(len(values)))


def assured_recall(recall: float, error: float) -> float:
    """What the recall is at least, with the confidence above."""
    return recall - CONFIDENCE * error


def cheapest(points: Sequence[TunedPoint], wanted: float) -> TunedPoint:
    """The cheapest point whose assured recall is at least `wanted`: exact search, the last one, where no other is.

    points: by rising cost, the last one exact.
    """
    for point in points[:-1]:
        if assured_recall(point.recall, point.standard_error) >= wanted:
            return point
    return points[-1]
