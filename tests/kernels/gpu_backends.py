"""The GPU backends as they run without a GPU, for the tests."""

from __future__ import annotations

import os
from functools import cache
from importlib.util import find_spec

import pytest

from jcb_engine.kernels import Backend
from jcb_engine.kernels.cpu import CpuBackend
from tests.kernels.test_native import BUILD, built

GPU_BACKENDS = [pytest.param("triton", marks=pytest.mark.triton), pytest.param("cuda", marks=pytest.mark.emulated)]


def gpu_backend(name: str) -> Backend:
    """Skips the test where what it needs is missing."""
    return triton_interpreted() if name == "triton" else cuda_emulated()


@cache
def triton_interpreted() -> Backend:
    if find_spec("triton") is None:
        pytest.skip("triton is not installed: pip install '.[dev]'")
    if os.environ.get("TRITON_INTERPRET") != "1":
        pytest.skip("TRITON_INTERPRET is not 1: Triton's interpreter was not chosen")
    from jcb_engine.kernels.triton_gpu import TritonBackend

    return TritonBackend(CpuBackend(threads=2), "cpu")


@cache
def cuda_emulated() -> Backend:
    from jcb_engine.kernels.cuda_gpu import CudaBackend

    library = built(BUILD) / "libjcb_cuda_emulated.so"
    if not library.exists():
        pytest.skip("this compiler has no _Float16, which the emulation of CUDA needs")
    return CudaBackend(CpuBackend(threads=2), library=library)
