"""Where the codes of a store lie that is searched on a GPU: there, or in pinned host memory that it reads by itself.

Of codes in host memory only those of documents that are scored cross the bus. Room is kept for postings as well, which
are copied when a search needs them. The CUDA kernels decide by the same rule on their own (csrc/cuda/tile_memory.h).
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from jcb_engine.errors import BackendUnavailableError

_logger = logging.getLogger(__name__)
# What is left free of the GPU's memory: 1 GiB for what is made of queries (scores of 65,536 centroids for 64 queries
# are 256 MiB), and a score a document for each of 64 queries, as a search of everything has them.
KEPT_FREE = 2**30
SCORES_A_DOCUMENT = 64 * 4
# And of the host's: pinned memory cannot be given to anyone else, and where there is too little Linux ends a process.
KEPT_FREE_OF_HOST = 2 * 2**30
BUS_BYTES_PER_SECOND = 50e9  # of PCIe 5, about; half as many of PCIe 4
_GIBIBYTE = 2**30


@dataclass(frozen=True, slots=True)
class Room:
    """Bytes that codes may take."""

    device: int
    host: int


def room_for_codes(free_on_device: int, free_on_host: int, documents: int) -> Room:
    """Of what is free when all else of the store is on the device."""
    kept = KEPT_FREE + documents * SCORES_A_DOCUMENT
    return Room(max(0, free_on_device - kept), max(0, free_on_host - KEPT_FREE_OF_HOST))


def must_lie_on_host(code_bytes: int, room: Room) -> bool:
    """Where the device has no room. BackendUnavailableError where the host has none either."""
    if code_bytes <= room.device:
        return False
    if code_bytes <= room.host:
        return True
    raise BackendUnavailableError(
        f"the codes of this index take {code_bytes >> 20} MiB; this GPU has room for {room.device >> 20} MiB of them, "
        f"and the host's memory for {room.host >> 20} MiB: part them among several GPUs, store fewer bits, or search "
        "on the processor, which maps files"
    )


def has_room_for_postings(posting_bytes: int, free_on_device: int) -> bool:
    """Whether they may be copied there. Of what was kept free for queries, some may be in use just now."""
    return posting_bytes <= free_on_device - KEPT_FREE // 2


def free_host_memory(meminfo: Path = Path("/proc/meminfo"), granted: Path = Path("/sys/fs/cgroup/memory.max")) -> int:
    """What Linux calls available, and no more than a container is granted. Without either file there is no limit."""
    limits = [2**63 - 1]
    if meminfo.exists():
        fields = (line.split() for line in meminfo.read_text().splitlines())
        limits += [int(field[1]) * 1024 for field in fields if field[0] == "MemAvailable:"]
    if granted.exists():
        limits += [int(limit) for limit in granted.read_text().split() if limit.isdecimal()]
    return min(limits)


def warn_of_codes_on_host(backend: str, code_bytes: int, documents: int) -> None:
    """Say that they lie there, and what that is expected to cost."""
    everything = code_bytes / BUS_BYTES_PER_SECOND
    _logger.warning(
        "%s has no room for the codes of %d documents (%.1f GiB): they stay in host memory, and those of documents "
        "that are scored cross the bus. That should take %.2g ms for a thousand documents, and %.2g s where a search "
        "scores all of them (predicted for PCIe 5; twice that for PCIe 4)",
        backend,
        documents,
        code_bytes / _GIBIBYTE,
        1e6 * everything / max(documents, 1),
        everything,
    )


def warn_of_postings_on_host(device: str, posting_bytes: int) -> None:
    """Say that a search finds its candidates in another way than it should."""
    _logger.warning(
        "%s has no room left for postings (%.2f GiB): searches of this index find their candidates on the processor, "
        "and score them on the GPU. Something else took the memory since the index was opened",
        device,
        posting_bytes / _GIBIBYTE,
    )
