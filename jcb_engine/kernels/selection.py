"""Which backend computes: chosen once, by name or by what this machine has."""

from __future__ import annotations

import logging
import os
from functools import cache
from importlib import import_module

from jcb_engine.errors import BackendUnavailableError, InputError
from jcb_engine.kernels.interface import Backend

BACKEND_NAMES = ("cpu", "reference")
BACKEND_VARIABLE = "JCB_BACKEND"

_logger = logging.getLogger(__name__)


def select(name: str | None = None, threads: int | None = None) -> Backend:
    """The backend of that name, or the best one here when no name is given.

    name: "cpu" (native kernels) or "reference" (torch); None reads JCB_BACKEND, then takes "cpu", then "reference".
    threads: size of the native thread pool; None means one per usable processor.
    Raises InputError on an unknown name and BackendUnavailableError when a backend asked for by name cannot run: that
    one is never replaced. The automatic choice logs once when it has to take the slow one.
    """
    wanted = name or os.environ.get(BACKEND_VARIABLE) or None
    if wanted is None:
        return _automatic(threads)
    if wanted not in BACKEND_NAMES:
        raise InputError(f"backend {wanted!r} is unknown; there are {', '.join(BACKEND_NAMES)}")
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
def _reference() -> Backend:
    try:
        from jcb_engine.kernels.reference import ReferenceBackend
    except ImportError as error:
        raise BackendUnavailableError(
            "the reference kernels need torch, which is not installed: pip install torch"
        ) from error
    return ReferenceBackend()
