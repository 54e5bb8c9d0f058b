"""An orthonormal rotation that keeps the dimension: 96 dimensions stay 96."""

from __future__ import annotations

import numpy as np

from jcb_engine.types import Float32Array


def random_rotation(dim: int, seed: int) -> Float32Array:
    """A seeded orthonormal matrix [dim, dim] float32; rows are rotated by `vectors @ rotation`.

    QR of a Gaussian matrix with the signs of R's diagonal moved into Q is uniform over rotations (Mezzadri 2007).
    The matrix itself is stored with the codec, so other linear-algebra libraries need not agree on it.
    """
    gaussian = np.random.default_rng([seed, dim]).standard_normal((dim, dim))
    orthonormal, upper = np.linalg.qr(gaussian)
    return (orthonormal * np.sign(np.diag(upper))).astype(np.float32)
