"""Compressing on a GPU: nearest centroids and codes by Triton programs. Imported by triton_gpu.py alone.

Prediction (no GPU was there; python -m benchmarks.gpu.model counts the machine code), for 16,384 centroids of 128
dimensions on an H100. Assignment: 4.2 MFLOP a token, whose products never leave the multiprocessor: at most 143
Mtoken/s by the matrix units. Codes of 4 bits read a token's 512 bytes and as many of its centroid, from the L2 cache,
and write 68: memory allows 5,100 Mtoken/s. Their eight trials are 2,000 instructions of a warp a token: at most 473
Mtoken/s; of 2 bits, 400 and 2,300. Together at most 110 at 4 bits and 134 at 2; at half of that, 55 and 67.

From host memory 512 bytes a token go up and, at 4 bits, 72 come down: at 25 GB/s each way 49 and 350 Mtoken/s. One
after the other, with the programs at half of their bound, 24 Mtoken/s. While one part is encoded the next goes up and
the one before comes down: 49 of a long array. A build gives windows of 65,536 tokens, in two parts 32. (In four they
would be 39, but 128 programs leave each multiprocessor with one where it has room for two to hide latencies behind
each other: so two.) Vectors go up in fp32, whatever they were made of: those of an encoder are rotated on the way,
and in fp16 they would get other codes.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from threading import Lock
from typing import Generic, TypeVar

import numpy as np
import torch

from jcb_engine.kernels import triton_code_kernels, triton_kernels
from jcb_engine.kernels.checks import check_array
from jcb_engine.kernels.device_transfers import Downloads, queues_of, uploaded
from jcb_engine.kernels.interface import SIGMA_FACTORS, CodecArrays
from jcb_engine.types import AnyArray, Float16Array, Float32Array, Uint8Array, Uint32Array

_Given = TypeVar("_Given")
_Made = TypeVar("_Made")
# Of 128 dimensions 16 MB: programs for 256 times 128 vectors, of which the 132 multiprocessors of an H100 take 264.
ROWS_AT_ONCE = 32_768
STEP, BLOCK, CHUNK = 128, 64, 64  # vectors of a program, centroids of a step, dimensions of a product
_WARPS = 8
CODE_VALUES, CODE_WARPS = 1024, 4  # of vectors, in the registers of a program: 8 a thread
_SMALLEST_WIDTH = 16


class DeviceCentroids:
    """Centroids [K, D] on a device, to find the nearest of."""

    def __init__(self, centroids: torch.Tensor) -> None:
        self._columns = _padded(centroids)
        # Of what is compared, not of what was given: then rounding favours no centroid.
        self._offsets = -0.5 * self._columns.double().square().sum(dim=1).float()

    @classmethod
    def copied(cls, centroids: Float32Array, device: torch.device) -> DeviceCentroids:
        return cls(torch.from_numpy(centroids).to(device))

    def nearest(self, vectors: torch.Tensor) -> torch.Tensor:
        """Ids [T] int32 of the nearest to vectors [T, D] on the same device."""
        rows = _padded(vectors)
        found = torch.empty(len(rows), dtype=torch.int32, device=rows.device)
        width = rows.shape[1]
        triton_kernels.nearest_centroids[(-(-len(rows) // STEP),)](
            rows, self._columns, self._offsets, found, len(rows), len(self._columns),
            width=width, chunk=min(width, CHUNK), step=STEP, block=BLOCK, num_warps=_WARPS,
        )  # fmt: skip
        return found


class DeviceCodec:
    """A codec of 1, 2, 4 or 8 bits on a device, to make codes by."""

    def __init__(self, codec: CodecArrays, device: torch.device) -> None:
        self.centroids = torch.from_numpy(codec.centroids).to(device)
        self._cutoffs, self._levels = (torch.from_numpy(table).to(device) for table in (codec.cutoffs, codec.levels))
        # One of 1 where none is tried: a program takes no empty table.
        self._factors = torch.tensor(SIGMA_FACTORS.get(codec.nbits, (1.0,)), dtype=torch.float32, device=device)
        self.compared = DeviceCentroids(self.centroids)
        self._dim, self._nbits, self._code_bytes = codec.dim, codec.nbits, codec.code_bytes
        self._per_norm = 1 / codec.norm_scale  # a power of two: nothing is rounded

    def quantize(self, vectors: torch.Tensor, ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Codes [T, code_bytes] uint8, sigmas and norms [T] fp16 of vectors [T, D] fp32, with ids [T] int32."""
        tokens, where = len(vectors), vectors.device
        codes = torch.empty((tokens, self._code_bytes), dtype=torch.uint8, device=where)
        sigmas, norms = (torch.empty(tokens, dtype=torch.float16, device=where) for _ in range(2))
        shape = code_shape(self._dim, self._nbits)
        if tokens:
            triton_code_kernels.quantize[(-(-tokens // shape["step"]),)](
                vectors, ids, self.centroids, self._cutoffs, self._levels, self._factors, codes, sigmas, norms,
                tokens, self._per_norm, **shape, trials=len(self._factors), num_warps=CODE_WARPS,
            )  # fmt: skip
        return codes, sigmas, norms


class KeptOnDevice(Generic[_Given, _Made]):
    """What was made on a device of the object given last, until that is gone or another one is given.

    A build gives one codec again and again: 12 MB of 16,384 centroids, beside 32 MB of a window's tokens.
    """

    def __init__(self, make: Callable[[_Given, torch.device], _Made], device: torch.device) -> None:
        self.device = device
        self._make, self._lock = make, Lock()
        self._kept: tuple[weakref.ref[_Given], _Made] | None = None

    def of(self, given: _Given) -> _Made:
        """What is made of it. Known by identity: its arrays must not be changed in place."""
        with self._lock:
            kept = self._kept
            if kept is not None and kept[0]() is given:
                return kept[1]
            self._kept = kept = None  # before the next one takes memory
            made = self._make(given, self.device)
            self._kept = weakref.ref(given, self._forget), made
            return made

    def _forget(self, gone: weakref.ref[_Given]) -> None:
        kept = self._kept  # no lock: an object may go while its own thread holds it
        if kept is not None and kept[0] is gone:
            self._kept = None


def code_shape(dim: int, nbits: int) -> dict[str, int]:
    """Constants of the program that makes codes."""
    width = max(_SMALLEST_WIDTH, 1 << (dim - 1).bit_length())
    step = max(1, CODE_VALUES // width)
    return {"dim": dim, "width": width, "code_bytes": -(-dim * nbits // 8), "nbits": nbits, "step": step}


def nearest(
    vectors: Float32Array, centroids: Float32Array, made: KeptOnDevice[Float32Array, DeviceCentroids]
) -> Uint32Array:
    """Ids [T] of the centroids [K, D] at the least L2 distance of vectors [T, D], both about unit length.

    Products are of fp16 operands, summed in fp32: a centroid that is farther by 2^-10 of a length at most may win.
    """
    check_array("centroids", centroids, np.float32, (None, None))
    check_array("vectors", vectors, np.float32, (None, centroids.shape[1]))
    compared, queues = made.of(centroids), queues_of(made.device)
    ids = np.empty(len(vectors), dtype=np.uint32)
    downloads = Downloads(queues)
    for part, rows in uploaded(vectors, queues, ROWS_AT_ONCE):
        downloads.put([compared.nearest(rows)], [ids[part]])
    downloads.finish()
    return ids


def quantized(
    vectors: Float32Array, centroid_ids: Uint32Array, codec: CodecArrays, made: KeptOnDevice[CodecArrays, DeviceCodec]
) -> tuple[Uint8Array, Float16Array, Float16Array]:
    """`Backend.quantize` on a device."""
    check_array("vectors", vectors, np.float32, (None, codec.dim))
    check_array("centroid_ids", centroid_ids, np.uint32, (len(vectors),))
    there, out, queues = made.of(codec), _Encoded(len(vectors), codec), queues_of(made.device)
    ids = torch.from_numpy(centroid_ids.astype(np.int32)).to(made.device)
    downloads = Downloads(queues)
    for part, rows in uploaded(vectors, queues, ROWS_AT_ONCE):
        downloads.put(there.quantize(rows, ids[part]), out.of(part)[1:])
    downloads.finish()
    return out.codes, out.sigmas, out.norms


def encoded(
    vectors: Float32Array, codec: CodecArrays, made: KeptOnDevice[CodecArrays, DeviceCodec]
) -> tuple[Uint32Array, Uint8Array, Float16Array, Float16Array]:
    """`AssigningBackend.encode` on a device: vectors go there once."""
    check_array("vectors", vectors, np.float32, (None, codec.dim))
    there, out, queues = made.of(codec), _Encoded(len(vectors), codec), queues_of(made.device)
    downloads = Downloads(queues)
    for part, rows in uploaded(vectors, queues, ROWS_AT_ONCE):
        ids = there.compared.nearest(torch.nn.functional.normalize(rows, eps=torch.finfo(torch.float32).tiny))
        downloads.put((ids, *there.quantize(rows, ids)), out.of(part))
    downloads.finish()
    return out.ids, out.codes, out.sigmas, out.norms


class _Encoded:
    """What is encoded of so many tokens, in host memory."""

    def __init__(self, tokens: int, codec: CodecArrays) -> None:
        self.ids = np.empty(tokens, dtype=np.uint32)
        self.codes = np.empty((tokens, codec.code_bytes), dtype=np.uint8)
        self.sigmas, self.norms = (np.empty(tokens, dtype=np.float16) for _ in range(2))

    def of(self, part: slice) -> Sequence[AnyArray]:
        return self.ids[part], self.codes[part], self.sigmas[part], self.norms[part]


def _padded(rows: torch.Tensor) -> torch.Tensor:
    """Rows [T, D] in fp16, zeros up to a number of dimensions that programs take: 16, 32, or a multiple of 64."""
    dim = rows.shape[1]
    width = -(-dim // CHUNK) * CHUNK if dim > CHUNK // 2 else max(16, 1 << (dim - 1).bit_length())
    return torch.nn.functional.pad(rows, (0, width - dim)).half()
