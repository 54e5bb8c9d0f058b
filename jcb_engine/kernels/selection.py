"""Which backend computes: chosen once, by name or by what this machine has."""

from __future__ import annotations

import logging
import os
import re
from functools import cache
from importlib import import_module

from jcb_engine.errors import BackendUnavailableError, InputError
from jcb_engine.kernels.interface import Backend

BACKEND_NAMES = ("cpu", "cuda", "triton", "reference")
_GPU_BACKENDS = ("cuda", "triton")
_DEVICES = re.compile(r"cpu|cuda(:[0-9]{1,3})?(,cuda:[0-9]{1,3})*")
BACKEND_VARIABLE = "JCB_BACKEND"

_logger = logging.getLogger(__name__)


def select(name: str | None = None, threads: int | None = None, device: str | None = None) -> Backend:
    """The backend of that name, or the best one for a device.

    name: "cpu" (native kernels), "triton" or "cuda" (a GPU; "cuda" needs kernels built by nvcc, "triton" none) or
    "reference" (torch). None takes "triton" where the device is a GPU, and else reads JCB_BACKEND, then
    takes "cpu", then "reference".
    threads: size of the native thread pool; None means one per usable processor.
    device: "cpu", "cuda", "cuda:N", or several GPUs, "cuda:0,cuda:1", which share the documents; None is the one that
    the backend runs on, the first GPU where it is one.
    Raises InputError on an unknown name or device, and on a backend that does not run on that device;
    BackendUnavailableError when a backend or device asked for by name cannot be used: it is never replaced. The
    automatic choice logs once when it has to take the slow one.
    """
    if device is not None and not _DEVICES.fullmatch(device):
        raise InputError(
            f"device {device!r} is unknown; there are cpu, cuda, cuda:0 and so on, and cuda:0,cuda:1 for several"
        )
    on_gpu = device is not None and device != "cpu"
    wanted = name or ("triton" if on_gpu else os.environ.get(BACKEND_VARIABLE)) or None
    if wanted is None:
        return _automatic(threads)
    if wanted not in BACKEND_NAMES:
        raise InputError(f"backend {wanted!r} is unknown; there are {', '.join(BACKEND_NAMES)}")
    if wanted in _GPU_BACKENDS:
        if device == "cpu":
            raise InputError(f"backend {wanted!r} runs on a GPU; the device cpu has the backends cpu and reference")
        made = [(_triton if wanted == "triton" else _cuda)(threads, one) for one in (device or "cuda").split(",")]
        return made[0] if len(made) == 1 else _several(threads, tuple(made))
    if on_gpu:
        raise InputError(f"backend {wanted!r} runs on the processor, not on {device}; there, cuda and triton do")
    return _cpu(threads) if wanted == "cpu" else _reference()


def _automatic(threads: int | None) -> Backend:
    try:
        _load_extension()
    except BackendUnavailableError as error:
        _log_fallback(str(error))
        return _reference()
    return _cpu(threads)  # an instruction set asked for by JCB_SIMD that is not here stays an error


def _load_extension() -> None:
    import_module("jcb_engine.kernels.extension")


@cache
def _log_fallback(reason: str) -> None:
    _logger.warning("native kernels cannot run (%s); using the reference kernels, which are far slower", reason)


@cache
def _cpu(threads: int | None) -> Backend:
    from jcb_engine.kernels.cpu import CpuBackend

    return CpuBackend(threads=threads)


@cache
def _triton(threads: int | None, device: str) -> Backend:
    from jcb_engine.kernels.triton_gpu import TritonBackend

    return TritonBackend(_automatic(threads), device)


@cache
def _cuda(threads: int | None, device: str) -> Backend:
    from jcb_engine.kernels.cuda_gpu import CudaBackend

    return CudaBackend(_automatic(threads), int(device.partition(":")[2] or 0))


@cache
def _several(threads: int | None, backends: tuple[Backend, ...]) -> Backend:
    from jcb_engine.kernels.several_gpus import SeveralGpus

    if len(set(backends)) < len(backends):
        raise InputError("a GPU was named twice; name each once, such as cuda:0,cuda:1")
    return SeveralGpus(_automatic(threads), backends)


@cache
def _reference() -> Backend:
    try:
        from jcb_engine.kernels.reference import ReferenceBackend
    except ImportError as error:
        raise BackendUnavailableError(
            "the reference kernels need torch, which is not installed: pip install torch"
        ) from error
    return ReferenceBackend()
