"""The native extension, or an error that says what to do where it was not built."""

from __future__ import annotations

from jcb_engine.errors import BackendUnavailableError

try:
    from jcb_engine.kernels import _cpu
except ImportError as error:
    raise BackendUnavailableError(
        f"the native kernels are not built for this Python ({error}); install jcb-engine with pip, "
        "or run `python setup.py build_ext --inplace` in a source tree"
    ) from error

__all__ = ["_cpu"]
