"""The level tables are the Lloyd-Max quantiser of a unit Gaussian."""

import numpy as np
import pytest

from jcb_engine.codec.levels import gaussian_levels

# Mean squared errors of the optimal quantiser of a unit Gaussian: Max, "Quantizing for minimum distortion" (1960),
# table I, for 2, 4 and 16 levels; 256 levels from Panter and Dite's asymptotic sqrt(3) * pi / 2 / 256**2.
KNOWN_ERRORS = {1: 0.3634, 2: 0.1175, 4: 0.009497, 8: 4.15e-5}


def mean_squared_error(nbits: int) -> float:
    """By numerical integration over the density, independent of how the table was found."""
    cutoffs, levels = gaussian_levels(nbits)
    x = np.linspace(-9, 9, 2_000_001)
    density = np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi)
    return float(np.sum((x - levels[np.searchsorted(cutoffs, x)]) ** 2 * density) * (x[1] - x[0]))


@pytest.mark.parametrize("nbits", [1, 2, 4, 8])
def test_the_error_is_the_known_optimum(nbits: int) -> None:
    assert mean_squared_error(nbits) == pytest.approx(KNOWN_ERRORS[nbits], rel=0.015)


@pytest.mark.parametrize("nbits", [1, 2, 4, 8])
def test_tables_are_ascending_symmetric_and_of_the_right_size(nbits: int) -> None:
    cutoffs, levels = gaussian_levels(nbits)
    assert len(levels) == 2**nbits
    assert len(cutoffs) == 2**nbits - 1
    assert (np.diff(levels) > 0).all()
    assert (np.diff(cutoffs) > 0).all()
    np.testing.assert_array_equal(levels, -levels[::-1])
    assert np.all((cutoffs > levels[:-1]) & (cutoffs < levels[1:]))


def test_each_level_is_the_mean_of_its_cell() -> None:
    cutoffs, levels = gaussian_levels(4)
    x = np.random.default_rng(0).standard_normal(2_000_000)
    codes = np.searchsorted(cutoffs, x)
    means = np.bincount(codes, x) / np.bincount(codes)
    np.testing.assert_allclose(levels, means, atol=0.01)
