"""Memory that Triton programs read: on the GPU, or of the host and pinned. Needs torch: triton_store.py imports it."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Iterator
from threading import Lock

import numpy as np
import torch

from jcb_engine.errors import BackendUnavailableError
from jcb_engine.kernels.placement import Room, free_host_memory, must_lie_on_host, room_for_codes
from jcb_engine.types import AnyArray, Uint8Array

CHUNK_ROWS = 2**20  # of an array that are copied at once: 32 MiB of codes of 2 bits and 128 dimensions
_MAPPED = 3  # cudaHostRegisterPortable | cudaHostRegisterMapped
# Stores for several GPUs are made at the same time: each has to see what the one before has taken of the host.
_one_at_a_time = Lock()


def new_codes(
    rows: int, code_bytes: int, documents: int, postings: int, device: torch.device, most_on_device: int | None
) -> tuple[torch.Tensor, bool]:
    """Space for codes [rows, code_bytes] uint8, the last that a store asks for, and whether it is the host's: where the
    device has no room beside so many bytes of postings, which may come later. BackendUnavailableError where neither has
    any.
    """
    with _one_at_a_time:
        room = room_for_codes(free_on_device(device) - postings, free_host_memory(), documents)
        if most_on_device is not None:
            room = Room(most_on_device, room.host)
        if not must_lie_on_host(rows * code_bytes, room):
            return torch.empty((rows, code_bytes), dtype=torch.uint8, device=device), False
        memory = np.empty((rows, code_bytes), np.uint8)
        return torch.from_numpy(memory) if device.type == "cpu" else _pinned(memory, device), True


def free_on_device(device: torch.device) -> int:
    """Bytes that may still be asked for there, those included that torch keeps and does not use."""
    if device.type == "cpu":
        return 2**63 - 1
    kept: int = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return int(torch.cuda.mem_get_info(device)[0]) + kept


def in_chunks(array: AnyArray) -> Iterator[AnyArray]:
    """Its rows, some at a time: arrays are mapped files, of which no copy as a whole need be in memory."""
    for begin in range(0, len(array), CHUNK_ROWS):
        yield array[begin : begin + CHUNK_ROWS]


def filled(target: torch.Tensor, chunks: Iterable[AnyArray]) -> torch.Tensor:
    """target, with the rows of all chunks one after the other."""
    place = 0
    for chunk in chunks:
        rows = np.require(chunk, requirements=["C", "W"])
        target[place : place + len(rows)] = torch.from_numpy(rows)
        place += len(rows)
    return target


def _pinned(memory: Uint8Array, device: torch.device) -> torch.Tensor:
    """The array, registered for as long as it lives. torch's own pinned memory would be rounded up to a power of two,
    and never be given back.
    """
    cudart, address = torch.cuda.cudart(), memory.ctypes.data  # type: ignore[no-untyped-call]
    with torch.cuda.device(device):
        result = int(cudart.cudaHostRegister(address, memory.nbytes, _MAPPED))
    if result:
        raise BackendUnavailableError(
            f"{memory.nbytes >> 20} MiB of codes have no room on the GPU, and so much host memory cannot be pinned "
            f"(CUDA error {result}); part the index among several GPUs, store fewer bits, or search on the processor"
        )
    # Not at exit, when the driver may be gone and all memory goes anyway.
    weakref.finalize(memory, cudart.cudaHostUnregister, address).atexit = False
    return torch.from_numpy(memory)
