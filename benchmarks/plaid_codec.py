"""PLAID's residual codec (Santhanam et al. 2022), re-typed for comparison: quantile buckets, no rotation, no sigma.

Cutoffs are quantiles of all residual values of a sample, weights the quantiles in the middle of each bucket; a decoded
vector is normalised. Everything else (centroids, assignment) is given, so that only the codecs differ.
"""

from __future__ import annotations

import numpy as np


def plaid_decoded(
    vectors: np.ndarray, centroids: np.ndarray, ids: np.ndarray, nbits: int, seed: int, block: int = 100_000
) -> np.ndarray:
    """Vectors [T, D] after PLAID's compression with `nbits`, [T, D] float32."""
    buckets = 2**nbits
    sampled = np.random.default_rng(seed).choice(len(vectors), min(50_000, len(vectors)), replace=False)
    residuals = (vectors[sampled] - centroids[ids[sampled]]).ravel()
    cutoffs = np.quantile(residuals, np.arange(1, buckets) / buckets).astype(np.float32)
    weights = np.quantile(residuals, (np.arange(buckets) + 0.5) / buckets).astype(np.float32)
    decoded = np.empty_like(vectors)
    for start in range(0, len(vectors), block):
        rows = slice(start, start + block)
        base = centroids[ids[rows]]
        approximate = base + weights[np.searchsorted(cutoffs, vectors[rows] - base)]
        decoded[rows] = approximate / np.linalg.norm(approximate, axis=1, keepdims=True)
    return decoded
