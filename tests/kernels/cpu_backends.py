"""The native backends that this machine can run, one per instruction set, and what the tests ask of them."""

from __future__ import annotations

import numpy as np
import pytest

from jcb_engine.errors import BackendUnavailableError
from jcb_engine.kernels import Ranges
from jcb_engine.kernels.cpu import CpuBackend

INSTRUCTION_SETS = ("scalar", "avx2", "avx512", "amx", "neon")


def _parameter(instruction_set: str) -> object:
    try:
        return pytest.param(CpuBackend(instruction_set, threads=2), id=instruction_set)
    except BackendUnavailableError as error:
        return pytest.param(None, id=instruction_set, marks=pytest.mark.skip(reason=str(error)))


every_backend = pytest.mark.parametrize("backend", [_parameter(name) for name in INSTRUCTION_SETS])
DIMENSIONS = (16, 48, 64, 96, 100, 128, 384)
QUERY_LENGTHS = (1, 20, 32, 33, 64, 300)


def queries_of(lengths: tuple[int, ...], dim: int, seed: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """Unit query vectors laid end to end, and their offsets."""
    offsets = np.cumsum([0, *lengths], dtype=np.int64)
    rows = np.random.default_rng(seed).standard_normal((offsets[-1], dim)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True), offsets


def whole(documents: int) -> Ranges:
    return Ranges(np.array([0], np.int64), np.array([documents], np.int64))
