"""Scores and numbers as one integer each, of which the larger is the better: torch's topk says nothing of ties.

Imported by the Triton backend's modules alone: needs torch.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

KEYS_AT_ONCE = 2**23  # in one array of them: 64 MiB, of which a few are in use while they are made
_HIGH = 2**32
_NUMBERS = _HIGH - 1  # the low half, which falls as the number rises


def keys_of(scores: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
    """int64 keys of fp32 scores and numbers below 2^32: larger for the higher score, then for the lower number.

    NaN counts as -inf, -0.0 as 0.0.
    """
    known = torch.where(scores.isnan(), -torch.inf, scores + 0.0).contiguous()
    return _rising(known.view(torch.int32).to(torch.int64)) * _HIGH + (_NUMBERS - numbers)


def keys_of_sums(sums: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
    """The same of int32 sums."""
    return sums.to(torch.int64) * _HIGH + (_NUMBERS - numbers)


def numbers_of(keys: torch.Tensor) -> torch.Tensor:
    """int64 numbers that keys were made of."""
    return _NUMBERS - (keys & _NUMBERS)


def scores_of(keys: torch.Tensor) -> torch.Tensor:
    """fp32 scores that keys were made of."""
    return _rising(keys >> 32).to(torch.int32).view(torch.float32)


def sums_of(keys: torch.Tensor) -> torch.Tensor:
    """int64 sums that keys were made of."""
    return keys >> 32


def best_keys(keys: torch.Tensor, count: int) -> torch.Tensor:
    """The `count` best of each row, best first; all where there are fewer."""
    return torch.topk(keys, min(count, keys.shape[1]), dim=1).values


def best_of_rows(
    rows: torch.Tensor, count: int, keys: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] = keys_of
) -> torch.Tensor:
    """The `count` best keys of each row of scores [R, C], best first, by score and column; some rows at a time."""
    columns = torch.arange(rows.shape[1], device=rows.device)
    at_once = max(1, KEYS_AT_ONCE // rows.shape[1])
    starts = range(0, max(1, len(rows)), at_once)  # of no rows, no keys
    return torch.cat([best_keys(keys(rows[start : start + at_once], columns), count) for start in starts])


def _rising(bits: torch.Tensor) -> torch.Tensor:
    """The bits of floats as integers that rise with them, and back: it is its own inverse."""
    return torch.where(bits < 0, -(2**31) - 1 - bits, bits)
