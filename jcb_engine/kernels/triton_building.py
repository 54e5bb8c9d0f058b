"""Compressing on a GPU: nearest centroids by a Triton program, codes by torch. Imported by triton_gpu.py alone.

Prediction (no GPU was there): 16,384 centroids of 128 dimensions are 4.2 MFLOP a token, and their products never leave
the multiprocessor: 95 Mtoken/s at half of an H100's 790 TFLOP/s in fp16. Codes of 2 bits pass over a token's 512 bytes
some fifteen times, 200 Mtoken/s at 3 TB/s; those of 4 bits, tried for eight sizes with sums in float64, 40 KB, 75.
"""

from __future__ import annotations

import numpy as np
import torch

from jcb_engine.kernels import triton_kernels
from jcb_engine.kernels.checks import check_array
from jcb_engine.kernels.interface import CodecArrays
from jcb_engine.kernels.torch_quantize import Table, pack, quantize
from jcb_engine.types import Float16Array, Float32Array, Uint8Array, Uint32Array

ROWS_AT_ONCE = 65_536  # of 128 dimensions at 4 bits: intermediate results of 64 MB, a few at a time
STEP, BLOCK, CHUNK = 128, 64, 64  # vectors of a program, centroids of a step, dimensions of a product
_WARPS = 8


class DeviceCentroids:
    """Centroids [K, D] on a device, to find the nearest of."""

    def __init__(self, centroids: torch.Tensor) -> None:
        self._columns = _padded(centroids)
        # Of what is compared, not of what was given: then rounding favours no centroid.
        self._offsets = -0.5 * self._columns.double().square().sum(dim=1).float()

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


def nearest(vectors: Float32Array, centroids: Float32Array, device: torch.device) -> Uint32Array:
    """Ids [T] of the centroids [K, D] at the least L2 distance of vectors [T, D], both about unit length.

    Products are of fp16 operands, summed in fp32: a centroid that is farther by 2^-10 of a length at most may win.
    """
    check_array("centroids", centroids, np.float32, (None, None))
    check_array("vectors", vectors, np.float32, (None, centroids.shape[1]))
    compared = DeviceCentroids(torch.from_numpy(centroids).to(device))
    ids = np.empty(len(vectors), dtype=np.uint32)
    for start in range(0, len(vectors), ROWS_AT_ONCE):
        rows = torch.from_numpy(vectors[start : start + ROWS_AT_ONCE]).to(device)
        ids[start : start + len(rows)] = compared.nearest(rows).cpu().numpy()
    return ids


def quantized(
    vectors: Float32Array, centroid_ids: Uint32Array, codec: CodecArrays, device: torch.device
) -> tuple[Uint8Array, Float16Array, Float16Array]:
    """`Backend.quantize` on a device."""
    check_array("vectors", vectors, np.float32, (None, codec.dim))
    check_array("centroid_ids", centroid_ids, np.uint32, (len(vectors),))
    table = Table(torch.from_numpy(codec.cutoffs).to(device), torch.from_numpy(codec.levels).to(device), codec.nbits)
    centroids = torch.from_numpy(codec.centroids).to(device)
    codes = np.empty((len(vectors), codec.code_bytes), dtype=np.uint8)
    sigmas, norms = (np.empty(len(vectors), dtype=np.float16) for _ in range(2))
    for start in range(0, len(vectors), ROWS_AT_ONCE):
        part = slice(start, start + ROWS_AT_ONCE)
        rows = torch.from_numpy(vectors[part]).to(device)
        ids = torch.from_numpy(centroid_ids[part].astype(np.int64)).to(device)
        own_codes, own_sigmas, own_norms = quantize(rows, centroids[ids], table)
        codes[part] = pack(own_codes, codec.nbits).cpu().numpy()
        sigmas[part] = own_sigmas.half().cpu().numpy()
        norms[part] = (own_norms / codec.norm_scale).half().cpu().numpy()
    return codes, sigmas, norms


def _padded(rows: torch.Tensor) -> torch.Tensor:
    """Rows [T, D] in fp16, zeros up to a number of dimensions that programs take: 16, 32, or a multiple of 64."""
    dim = rows.shape[1]
    width = -(-dim // CHUNK) * CHUNK if dim > CHUNK // 2 else max(16, 1 << (dim - 1).bit_length())
    return torch.nn.functional.pad(rows, (0, width - dim)).half()
