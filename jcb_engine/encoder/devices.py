"""Where to encode, and in which precision."""

from __future__ import annotations

import logging

import torch

from jcb_engine.encoder.backbones.attention import flash_attn_kernel, is_ampere
from jcb_engine.encoder.options import EncoderOptions
from jcb_engine.errors import InputError

_log = logging.getLogger(__name__)
# What makes bfloat16 faster than float32 on a CPU, as torch names it.
_CPU_BFLOAT16 = ("avx512_bf16", "amx_bf16", "arm_bf16")


def chosen_devices(options: EncoderOptions) -> tuple[torch.device, ...]:
    """The devices of the options; without any the GPU that torch sees, else the CPU.

    Raises InputError for a device that is not there.
    """
    if not options.devices:
        return (torch.device("cuda" if torch.cuda.is_available() else "cpu"),)
    return tuple(_device(name) for name in options.devices)


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    # RuntimeError for an unknown name or a device without its driver, AssertionError from a torch without CUDA
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        gpus = torch.cuda.device_count()
        here = f"'cpu' and {gpus} CUDA device(s)" if gpus else "'cpu' alone"
        raise InputError(f"device {name!r} is not here: torch sees {here}") from error
    return device


def chosen_dtype(options: EncoderOptions, devices: tuple[torch.device, ...]) -> torch.dtype:
    """float32 on a CPU, bfloat16 on a GPU that has it (float16 before Ampere), unless the options say otherwise."""
    if options.dtype is None:
        if any(device.type != "cuda" for device in devices):
            return torch.float32
        return torch.bfloat16 if all(map(is_ampere, devices)) else torch.float16
    dtype: torch.dtype = getattr(torch, options.dtype)
    if dtype != torch.float32 and any(device.type == "cpu" for device in devices) and not cpu_has_bfloat16():
        _log.warning("this CPU has no instructions for %s: it will be slower than float32", options.dtype)
    return dtype


def cpu_has_bfloat16() -> bool:
    """Whether this CPU multiplies bfloat16 matrices faster than float32 ones."""
    capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return any(capabilities.get(name) for name in _CPU_BFLOAT16)


def uses_flash_attn(options: EncoderOptions, devices: tuple[torch.device, ...], dtype: torch.dtype) -> bool:
    """Whether flash-attn is to compute attention. Raises InputError where it cannot, MissingDependencyError."""
    if options.attention != "flash-attn":
        return False
    if any(device.type != "cuda" for device in devices) or dtype == torch.float32:
        raise InputError("attention 'flash-attn' needs CUDA and bfloat16 or float16; leave it out for torch's own")
    flash_attn_kernel()
    return True
