"""Vectors that a GPU holds, to train centroids on. Imported by triton_gpu.py alone.

Prediction (no GPU was there; python -m benchmarks.gpu.model), 1 M vectors of 128 dimensions and 16,384 centroids on an
H100. Comparing is at least 7 ms a pass (triton_building.py), so 70 ms in 8 iterations and in the 3 passes over .25, .5
and .75 of the centroids that draw them, or 140 at half of that bound. Sums are 134 M additions of whole numbers in the
L2 cache and 2.6 GB of memory traffic an iteration, 21 ms in all; distances 2 ms. Drawing is the host's: 1 M random
numbers and a partition, 25 ms three times. The vectors go up once, 21 ms at 25 GB/s. Together .26 s. Where they have no
room they go up in each of the 11 passes and in the one that finds the largest value: 260 ms, with most of the programs
beside them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

import numpy as np
import torch

from jcb_engine.errors import InputError
from jcb_engine.kernels.checks import check_array
from jcb_engine.kernels.device_transfers import Downloads, current, parts_of, queues_of, uploaded
from jcb_engine.kernels.placement import KEPT_FREE
from jcb_engine.kernels.triton_building import ROWS_AT_ONCE, DeviceCentroids
from jcb_engine.types import Float32Array, Uint32Array

_Parts: TypeAlias = Iterator[tuple[slice, torch.Tensor]]
_SIGNED_BITS = 62  # of a sum: half of what int64 has


class DeviceVectors:
    """Vectors [S, D] about unit length, on a device as a whole or, without room there, sent in parts in every pass."""

    def __init__(self, vectors: Float32Array, device: torch.device, most_on_device: int | None = None) -> None:
        """most_on_device: bytes that they may take there; None for what is free. InputError on another dtype or shape,
        on no vectors, and on NaN or infinity.
        """
        check_array("vectors", vectors, np.float32, (None, None))
        if not vectors.size:
            raise InputError(f"vectors is {list(vectors.shape)}; there is nothing to hold in it")
        self._vectors, self._device = vectors, device
        self._there: torch.Tensor | None = None
        with current(device):
            if vectors.nbytes <= (_free_on(device) if most_on_device is None else most_on_device):
                there = torch.empty(vectors.shape, dtype=torch.float32, device=device)
                for part, rows in self._parts():
                    there[part] = rows
                self._there = there
            self._per_value = 1 / self._unit()

    @property
    def lies_on_device(self) -> bool:
        return self._there is not None

    def means(self, centroids: Float32Array) -> tuple[Float32Array, Uint32Array]:
        """`HeldVectors.means`. Sums are of whole numbers, which no order of additions changes: of values in units of
        2^-62, times the number of vectors and the largest value (1 M unit vectors: 2^-42).
        """
        with current(self._device):
            there = self._sent(centroids)
            compared = DeviceCentroids(there)
            sums = torch.zeros(there.shape, dtype=torch.int64, device=self._device)
            sizes = torch.zeros(len(there), dtype=torch.int64, device=self._device)
            ids = np.empty(len(self._vectors), dtype=np.uint32)
            downloads = Downloads(queues_of(self._device))
            for part, rows in self._parts():
                nearest = compared.nearest(rows)
                sums.index_add_(0, nearest, (rows.double() * self._per_value).round().long())
                sizes.index_add_(0, nearest, torch.ones_like(nearest, dtype=torch.int64))
                downloads.put([nearest], [ids[part]])
            downloads.finish()
            means = sums.double() / self._per_value / sizes.clamp(min=1)[:, None]
            return np.asarray(means.float().cpu().numpy()), ids

    def squared_distances(self, centroids: Float32Array) -> Float32Array:
        """`HeldVectors.squared_distances`."""
        with current(self._device):
            there = self._sent(centroids)
            compared = DeviceCentroids(there)
            distances = np.empty(len(self._vectors), dtype=np.float32)
            downloads = Downloads(queues_of(self._device))
            for part, rows in self._parts():
                downloads.put([(rows - there[compared.nearest(rows)]).square().sum(dim=1)], [distances[part]])
            downloads.finish()
            return distances

    def _sent(self, centroids: Float32Array) -> torch.Tensor:
        check_array("centroids", centroids, np.float32, (None, self._vectors.shape[1]))
        return torch.from_numpy(centroids).to(self._device)

    def _parts(self) -> _Parts:
        if self._there is None:
            return uploaded(self._vectors, queues_of(self._device), ROWS_AT_ONCE)
        there = self._there
        return ((part, there[part]) for part in parts_of(len(there), ROWS_AT_ONCE))

    def _unit(self) -> float:
        """A power of two, of which no sum of the vectors is 2^62 or more."""
        largest = float(torch.stack([rows.abs().amax() for _, rows in self._parts()]).amax())
        if not np.isfinite(largest):
            raise InputError("vectors has NaN or infinity; only finite values can be trained on")
        most = len(self._vectors) * max(largest, float(np.finfo(np.float32).tiny))
        return float(2.0 ** (np.ceil(np.log2(most)) - _SIGNED_BITS))


def _free_on(device: torch.device) -> int:
    """Bytes that may be taken without those that the programs need."""
    return 2**63 - 1 if device.type == "cpu" else max(0, torch.cuda.mem_get_info(device)[0] - KEPT_FREE)
