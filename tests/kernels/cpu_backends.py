"""The native backends that this machine can run, one per instruction set, for the tests to be run over."""

from __future__ import annotations

import pytest

from jcb_engine.errors import BackendUnavailableError
from jcb_engine.kernels.cpu import CpuBackend

INSTRUCTION_SETS = ("scalar", "avx2", "avx512")


def _parameter(instruction_set: str) -> object:
    try:
        return pytest.param(CpuBackend(instruction_set, threads=2), id=instruction_set)
    except BackendUnavailableError as error:
        return pytest.param(None, id=instruction_set, marks=pytest.mark.skip(reason=str(error)))


every_backend = pytest.mark.parametrize("backend", [_parameter(name) for name in INSTRUCTION_SETS])
DIMENSIONS = (16, 48, 64, 96, 100, 128, 384)
QUERY_LENGTHS = (1, 20, 32, 33, 64, 300)
