"""ALiBi: attention with linear biases (Press et al. 2022, arXiv:2108.12409), in its form for both directions."""

from __future__ import annotations

import math

import torch
from torch import Tensor


class AlibiBias:
    """-slope * distance for every head and every pair of tokens."""

    def __init__(self, heads: int, device: torch.device) -> None:
        self._slopes = torch.tensor(slopes(heads), device=device)[:, None, None]

    def __call__(self, length: int, rows: range) -> Tensor:
        """[1, heads, rows, length] float32: what is added to the products of these rows with all tokens."""
        device = self._slopes.device
        places = torch.arange(rows.start, rows.stop, device=device)[:, None]
        distances = (places - torch.arange(length, device=device)).abs()
        return (-self._slopes * distances)[None]


def slopes(heads: int) -> list[float]:
    """The slope of each head: a geometric series from 2^(-8/heads).

    For a number of heads that is no power of two: the series of the power below, then every other slope of the series
    of the power above, as the paper's authors do it.
    """
    power = 2 ** math.floor(math.log2(heads))
    series = [2 ** (-8 / power * (head + 1)) for head in range(power)]
    if power == heads:
        return series
    return series + slopes(2 * power)[0::2][: heads - power]
