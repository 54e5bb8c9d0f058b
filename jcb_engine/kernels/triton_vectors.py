"""MaxSim of torch tensors on a GPU: launches the programs of triton_vector_kernels.py, for differentiable.py.

Needs triton. Importing this module raises BackendUnavailableError where it is missing. Tensors on the processor are
for Triton's interpreter (TRITON_INTERPRET=1), which runs the same programs slowly.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch

from jcb_engine.errors import BackendUnavailableError
from jcb_engine.types import Int64Array

try:
    import triton

    from jcb_engine.kernels import triton_vector_kernels as programs
except ImportError as error:
    raise BackendUnavailableError(
        f"MaxSim of tensors on a GPU needs triton ({error}): pip install 'jcb-engine[gpu]'; "
        "or move the tensors to the processor"
    ) from error

# Query tokens, document tokens and dimensions of a product, and the warps that make it: as large as fits the 48 KiB of
# shared memory that every GPU has, and registers without a spill (fp32 takes no matrix unit, but registers for sums).
EXACT_BLOCK = {"columns": 64, "step": 64, "chunk": 16, "num_warps": 4}
HALF_BLOCK = {"columns": 128, "step": 64, "chunk": 32, "num_warps": 8}
SUM_BLOCK = {"block": 32, "step": 32}
GRADIENT_STEP = (
    8  # vectors that a program gathers at once; a token of a document wins some seven times in a batch of 64
)
MOST_DIMENSIONS = 128  # of a gradient, in one program
WARPS = 4


def scores(
    queries: torch.Tensor,
    query_offsets: Int64Array,
    documents: torch.Tensor,
    doc_offsets: Int64Array,
    with_winners: bool,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """As VectorKernels.scores."""
    device, tokens, count = queries.device, len(queries), len(doc_offsets) - 1
    ends = _place(doc_offsets, device)
    maxima = torch.empty((count, tokens), dtype=torch.float32, device=device)
    winner_dtype = torch.int32 if len(documents) < 2**31 else torch.int64
    winners = torch.empty((count, tokens) if with_winners else (0, 0), dtype=winner_dtype, device=device)
    found = torch.empty((len(query_offsets) - 1, count), dtype=torch.float32, device=device)
    exact = _is_exact(queries, documents)
    block = EXACT_BLOCK if exact else HALF_BLOCK
    with _in_use(device):
        if maxima.numel():
            programs.best_tokens[(count * triton.cdiv(tokens, block["columns"]),)](
                queries.detach().contiguous(), documents.detach().contiguous(), ends, maxima, winners, tokens,
                dim=queries.shape[1], **block, is_exact=exact, with_winners=with_winners,
            )  # fmt: skip
        if found.numel():
            programs.sums_of_maxima[(len(found) * triton.cdiv(count, SUM_BLOCK["block"]),)](
                maxima, _place(query_offsets, device), ends, found, count, tokens, **SUM_BLOCK, num_warps=WARPS
            )
    return found, winners if with_winners else None


def gradients(
    grad: torch.Tensor,
    queries: torch.Tensor,
    query_offsets: Int64Array,
    documents: torch.Tensor,
    doc_offsets: Int64Array,
    winners: torch.Tensor,
    for_queries: bool,
    for_documents: bool,
) -> tuple[torch.Tensor | None, torch.Tensor | None]:
    """As VectorKernels.gradients."""
    lengths = torch.diff(_place(query_offsets, grad.device))
    query_of = torch.repeat_interleave(lengths, output_size=len(queries))  # [Q]
    weights = grad.float().T[:, query_of].contiguous()  # [N, Q]
    with _in_use(grad.device):
        return (
            _of_queries(weights, winners, queries, documents) if for_queries else None,
            _of_documents(weights, winners, queries, documents) if for_documents else None,
        )


def _is_exact(queries: torch.Tensor, documents: torch.Tensor) -> bool:
    """Whether products are of fp32: where a side is, or the halves are of two kinds."""
    # Triton's interpreter multiplies the bits of bf16 as if they were integers.
    is_misread = queries.dtype == torch.bfloat16 and queries.device.type == "cpu"
    return queries.dtype == torch.float32 or queries.dtype != documents.dtype or is_misread


def _of_queries(
    weights: torch.Tensor, winners: torch.Tensor, queries: torch.Tensor, documents: torch.Tensor
) -> torch.Tensor:
    gradients = torch.empty(queries.shape, dtype=queries.dtype, device=queries.device)
    width, parts = gradient_parts(queries.shape[1])
    if gradients.numel():
        programs.gradients_of_queries[(len(queries) * parts,)](
            weights, winners, documents.detach().contiguous(), gradients, len(weights), len(queries),
            dim=queries.shape[1], width=width, step=GRADIENT_STEP, num_warps=WARPS,
        )  # fmt: skip
    return gradients


def _of_documents(
    weights: torch.Tensor, winners: torch.Tensor, queries: torch.Tensor, documents: torch.Tensor
) -> torch.Tensor:
    gradients = torch.empty(documents.shape, dtype=documents.dtype, device=documents.device)
    width, parts = gradient_parts(documents.shape[1])
    # Stable, for one order of the sums. Empty documents, -1, come first, before the part of row 0.
    won, order = torch.sort(winners.flatten(), stable=True)
    rows = torch.arange(len(documents) + 1, dtype=won.dtype, device=won.device)
    row_offsets = torch.searchsorted(won, rows)
    if gradients.numel():
        programs.gradients_of_documents[(len(documents) * parts,)](
            weights, order, row_offsets, queries.detach().contiguous(), gradients, max(len(queries), 1),
            dim=documents.shape[1], width=width, step=GRADIENT_STEP, num_warps=WARPS,
        )  # fmt: skip
    return gradients


def gradient_parts(dim: int) -> tuple[int, int]:
    """Dimensions of a program, and how many programs a vector's gradient takes."""
    width = min(MOST_DIMENSIONS, max(16, triton.next_power_of_2(dim)))
    return width, -(-dim // width)


def _place(offsets: Int64Array, device: torch.device) -> torch.Tensor:
    return torch.from_numpy(offsets).to(device)


def _in_use(device: torch.device) -> AbstractContextManager[object]:
    """Triton launches on the current GPU of the thread."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()
