"""Quantising in plain torch, for the reference: what `Backend.quantize` says."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from jcb_engine.kernels.interface import LEAST_GAIN, SIGMA_FACTORS, SIGN_ROUNDS


@dataclass(frozen=True, slots=True)
class Table:
    """cutoffs [2**nbits - 1] and levels [2**nbits] float32 of a codec, on the device of the vectors."""

    cutoffs: torch.Tensor
    levels: torch.Tensor
    nbits: int


def quantize(
    vectors: torch.Tensor, centroids: torch.Tensor, table: Table
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Codes [T, D] uint8, sigmas [T] and norms [T] float32 of vectors [T, D] with their centroids [T, D].

    See `Backend.quantize`; norms are in units of 1. Sigmas are rounded to fp16 already: norms are made for them.
    """
    lengths = vectors.norm(dim=1)
    units = vectors / lengths.clamp_min(torch.finfo(torch.float32).tiny)[:, None]
    residuals = units - centroids
    own = _to_half_and_back(residuals.norm(dim=1) / vectors.shape[1] ** 0.5)
    if table.nbits == 1:
        codes, sigmas = _projected_codes(units, centroids, own, table)
    elif table.nbits == 2:
        codes, sigmas = _codes(residuals, own, table), own
    else:
        codes, sigmas = _fitted_codes(residuals, own, table)
    codes[own == 0] = 0
    sigmas = _to_half_and_back(torch.where(own > 0, sigmas, 0.0))
    decoded = (centroids + sigmas[:, None] * table.levels[codes]).norm(dim=1)
    norms = torch.where(decoded > 0, lengths / decoded, 0.0)
    return codes.to(torch.uint8), sigmas, norms


def _fitted_codes(residuals: torch.Tensor, own: torch.Tensor, table: Table) -> tuple[torch.Tensor, torch.Tensor]:
    """Codes [T, D] and sigmas [T] with the least |r - sigma * levels[code]| of those that are tried."""
    best_codes, sigmas = torch.zeros(residuals.shape, dtype=torch.int64, device=residuals.device), own.clone()
    best_gains = torch.full(own.shape, -1.0, dtype=torch.float64, device=own.device)
    for factor in SIGMA_FACTORS[table.nbits]:
        codes = _codes(residuals, factor * own, table)
        overlaps, squares = _fit(residuals, codes, table)
        gains = torch.where(overlaps > 0, overlaps.square() / squares, 0.0)
        better = gains > (1 + LEAST_GAIN) * best_gains
        best_codes = torch.where(better[:, None], codes, best_codes)
        sigmas = torch.where(better & (overlaps > 0), (overlaps / squares).float(), sigmas)
        best_gains = torch.where(better, gains, best_gains)
    return best_codes, sigmas


def _projected_codes(
    units: torch.Tensor, centroids: torch.Tensor, own: torch.Tensor, table: Table
) -> tuple[torch.Tensor, torch.Tensor]:
    """Codes [T, D] of 1 bit, chosen for the angle between a vector and its decoded form, and sigmas [T]."""
    residuals, sigmas = units - centroids, own
    codes = _codes(residuals, own, table)
    for round_number in range(SIGN_ROUNDS + 1):
        overlaps, _ = _fit(residuals, codes, table)
        sigmas = torch.where(overlaps > 0, (residuals.double().square().sum(dim=1) / overlaps).float(), sigmas)
        if round_number == SIGN_ROUNDS:
            break
        decoded = centroids + sigmas[:, None] * table.levels[codes]
        products = (units * decoded).sum(dim=1)
        scales = decoded.square().sum(dim=1) / products
        again = (overlaps > 0) & (products > 0)
        codes = torch.where(again[:, None], _codes(units * scales[:, None] - centroids, own, table), codes)
    return codes, sigmas


def _codes(residuals: torch.Tensor, sigmas: torch.Tensor, table: Table) -> torch.Tensor:
    scaled = torch.where(sigmas[:, None] > 0, residuals / sigmas[:, None], 0.0)
    return torch.bucketize(scaled, table.cutoffs)


def _fit(residuals: torch.Tensor, codes: torch.Tensor, table: Table) -> tuple[torch.Tensor, torch.Tensor]:
    """<r, w> and <w, w> [T] of w = levels[codes], in float64: at 8 bits fits differ in the sixth digit."""
    directions = table.levels[codes].double()
    return (residuals * directions).sum(dim=1), directions.square().sum(dim=1)


def _to_half_and_back(values: torch.Tensor) -> torch.Tensor:
    return values.to(torch.float16).to(torch.float32)
