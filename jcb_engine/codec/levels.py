"""Lloyd-Max levels of a unit Gaussian: the one table that serves every token.

Residuals are rotated, so their components are close to Gaussian, and each token stores its own sigma; the table that
minimises the squared error of a unit Gaussian (Max 1960, Lloyd 1982) then fits all of them.
"""

from __future__ import annotations

import math
from functools import cache
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from jcb_engine.types import Float32Array

_Float64Array = npt.NDArray[np.float64]
_ROUNDS = 50  # an upper limit; Newton's method settles in fewer than ten
_SETTLED = 1e-12


@cache
def gaussian_levels(nbits: int) -> tuple[Float32Array, Float32Array]:
    """Cutoffs [2**nbits - 1] and levels [2**nbits], both float32, ascending and symmetric about 0."""
    count = 2**nbits
    # The optimal density of levels is the cube root of the Gaussian's own, which is a Gaussian of variance 3.
    levels = math.sqrt(3) * _gaussian_quantiles((np.arange(count) + 0.5) / count)
    for _ in range(_ROUNDS):
        step = _newton_step(levels)
        levels = levels + (step - step[::-1]) / 2
        if float(np.abs(step).max()) < _SETTLED:
            break
    cutoffs = (levels[:-1] + levels[1:]) / 2
    return cutoffs.astype(np.float32), levels.astype(np.float32)


def _newton_step(levels: _Float64Array) -> _Float64Array:
    """Towards levels that are the means of their cells; Lloyd's own iteration needs thousands of rounds at 8 bits."""
    cutoffs = (levels[:-1] + levels[1:]) / 2
    density = np.exp(-(cutoffs**2) / 2) / math.sqrt(2 * math.pi)
    mass = _cell_masses(cutoffs)
    edges = np.concatenate([[0.0], density, [0.0]])
    means = (edges[:-1] - edges[1:]) / mass
    # How a cell's mean moves with its lower and upper cutoff, each the midpoint of two levels.
    lower = density * (means[1:] - cutoffs) / mass[1:] / 2
    upper = density * (cutoffs - means[:-1]) / mass[:-1] / 2
    diagonal = np.concatenate([[0.0], lower]) + np.concatenate([upper, [0.0]]) - 1
    jacobian = np.diag(diagonal) + np.diag(lower, -1) + np.diag(upper, 1)
    return np.linalg.solve(jacobian, levels - means)


def _cell_masses(cutoffs: _Float64Array) -> _Float64Array:
    """Probability of each cell between cutoffs, for a unit Gaussian."""
    # Each tail is taken where it is small, so that differences of probabilities keep their digits.
    tail = np.array([math.erfc(abs(x) / math.sqrt(2)) / 2 for x in cutoffs])
    below = np.concatenate([[0.0], np.where(cutoffs < 0, tail, 1 - tail), [1.0]])
    above = np.concatenate([[1.0], np.where(cutoffs < 0, 1 - tail, tail), [0.0]])
    masses: _Float64Array = np.where(below[1:] <= 0.5, below[1:] - below[:-1], above[:-1] - above[1:])
    return masses


def _gaussian_quantiles(probabilities: _Float64Array) -> _Float64Array:
    inverse = NormalDist().inv_cdf
    return np.array([inverse(float(p)) for p in probabilities])
