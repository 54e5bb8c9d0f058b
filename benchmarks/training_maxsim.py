"""Differentiable MaxSim beside torch's einsum: forward and backward of a batch for training, time, memory and error.

    python -m benchmarks.training_maxsim                            on the processor: results/training-maxsim-cpu.json
    python -m benchmarks.training_maxsim --device cuda --out OUT    on a GPU: OUT/training-maxsim-cuda.json

64 queries of 32 tokens, 64 documents of 300 tokens, all pairs, at the six head dimensions of Jina-ColBERT-v2: six score
matrices forward, then six backward, with a gradient at every score (zeros would spare work). einsum is
`einsum("qid,njd->qnij").max(-1).values.sum(-1)`, without a mask: all texts are of one length, its best case. Both take
turns. Memory: the highest resident size of processes that do one step each, less that of a process that only holds the
vectors and one gradient of each ("floor"), which every method needs; on a GPU what torch's allocator counts. Errors are
those to einsum in float64 at the narrowest and the widest head: the largest of a score, and of gradients the relative
one (Frobenius norm), in which a token that wins by rounding alone shows.

Prediction (Xeon with AVX-512, 2 cores, fp32): the products of all pairs are 143 GFLOP forward, .5 s at 80 % of 2 x 166
GFLOP/s. einsum makes them three times, since its backward multiplies a gradient that is nearly all zeros: 1.4 s; and
it passes over 157 MB of similarities a head some five times, 4.7 GB, .5 to .9 s. Ours instead compares 24 registers a
tile (36 cycles beside 12 x dim) and adds 131,072 winners a head to each side, 1.9 GB out of the caches, .1 s: .65 s
against 2.3, 3.5 times. Memory: two arrays of 157 MB against panels of the queries, at most 6 MB, and 3 MB of winners:
30 times.

Looking back: 4.4 to 4.9 times faster in three runs (the one kept is the slowest: the machine was shared, and both
took a third longer than at best). einsum takes 2.8 s at best, its backward alone 1.5 or more, in which the system
also has to find two new arrays of 157 MB for every head. Ours takes .58 s at best, .68 to .94 in the median, most of
it products (a core by itself makes 136 to 149 GFLOP/s with winners at every dimension). The wider the head, the more
of einsum's time is products as well: 9 to 13 times at 64 dimensions, 3.3 to 4.1 at 768. Beyond the floor ours takes 1
or 2 MB against 393: at the end of the backward pass, where gradients exist, panels and most winners are gone. Of the
whole process, which holds vectors, gradients and torch itself, einsum takes 1.7 times as much. Halves are widened to
fp32, 16 MB of documents at a time: 2.2 to 2.6 times faster in bf16, whose products einsum makes in the tile unit
(AMX; its scores are off by .06, ours by 5e-6), 4.3 in fp16, and three times less memory, not ten.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.harness import RESULTS, Times, memory_of, write_result
from jcb_engine.kernels.differentiable import maxsim

DIMENSIONS = (64, 96, 128, 256, 512, 768)
QUERIES, QUERY_TOKENS, DOCUMENTS, DOCUMENT_TOKENS = 64, 32, 64, 300
HALF_RUNS = 3
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass
class Head:
    """queries [Q, D] and documents [T, D], unit vectors that ask for a gradient; grad [queries, documents]."""

    queries: torch.Tensor
    documents: torch.Tensor
    grad: torch.Tensor


def by_maxsim(head: Head) -> torch.Tensor:
    query_offsets = np.arange(0, len(head.queries) + 1, QUERY_TOKENS)
    return maxsim(head.queries, query_offsets, head.documents, np.arange(0, len(head.documents) + 1, DOCUMENT_TOKENS))


def by_einsum(head: Head) -> torch.Tensor:
    queries = head.queries.unflatten(0, (-1, QUERY_TOKENS))
    documents = head.documents.unflatten(0, (-1, DOCUMENT_TOKENS))
    return torch.einsum("qid,njd->qnij", queries, documents).max(dim=-1).values.sum(dim=-1)


METHODS: dict[str, Callable[[Head], torch.Tensor]] = {"maxsim": by_maxsim, "einsum": by_einsum}


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.training_maxsim",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the result")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--dtype", default="fp32", choices=DTYPES, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        _measured_process(arguments)
        return
    if arguments.device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("no GPU: torch.cuda.is_available() is False")
    figures = {}
    for name in DTYPES:
        figures[name] = _figures(arguments, name)
        print(name, json.dumps(figures[name], indent=2, default=vars), flush=True)
    heads = _heads(arguments.seed, torch.float32, arguments.device)
    figures["fp32"]["by_dimension"] = _by_dimension(heads, arguments.device)
    settings = {
        "queries": [QUERIES, QUERY_TOKENS],
        "documents": [DOCUMENTS, DOCUMENT_TOKENS],
        "dimensions": DIMENSIONS,
        "seed": arguments.seed,
        "threads": torch.get_num_threads(),
    }
    if arguments.device == "cuda":
        settings["gpu"] = torch.cuda.get_device_name()
    write_result(f"training-maxsim-{arguments.device}", settings, figures, arguments.out)


def _figures(arguments: argparse.Namespace, dtype: str) -> dict[str, Any]:
    heads = _heads(arguments.seed, DTYPES[dtype], arguments.device)
    seconds = _seconds(heads, arguments.runs if dtype == "fp32" else HALF_RUNS, arguments.device)
    memory = _memory_on_gpu(heads) if arguments.device == "cuda" else _memory_of_processes(arguments, dtype)
    medians = {name: statistics.median(steps.sum(axis=1)) for name, steps in seconds.items()}
    return {
        "seconds": {name: Times.of(steps.sum(axis=1).tolist()) for name, steps in seconds.items()},
        "forward_seconds": {name: statistics.median(steps[:, 0]) for name, steps in seconds.items()},
        "times_faster": medians["einsum"] / medians["maxsim"],
        **memory,
        "errors": _errors(heads),
    }


def _heads(seed: int, dtype: torch.dtype, device: str) -> list[Head]:
    """Query i is made of tokens of document i, half of it noise: like a batch of training, its own document wins."""
    generator = torch.Generator().manual_seed(seed)
    heads = []
    for dim in DIMENSIONS:
        documents = torch.randn(DOCUMENTS, DOCUMENT_TOKENS, dim, generator=generator)
        chosen = torch.randint(DOCUMENT_TOKENS, (QUERIES, QUERY_TOKENS), generator=generator)
        queries = documents.gather(1, chosen[:, :, None].expand(-1, -1, dim))
        queries += torch.randn(queries.shape, generator=generator)
        sides = (
            torch.nn.functional.normalize(side.flatten(0, 1), dim=1).to(device, dtype).requires_grad_()
            for side in (queries, documents)
        )
        heads.append(Head(*sides, torch.randn(QUERIES, DOCUMENTS, generator=generator).to(device)))
    return heads


def _forward(name: str, heads: list[Head]) -> list[torch.Tensor]:
    for head in heads:
        head.queries.grad = head.documents.grad = None
    return [METHODS[name](head) for head in heads]


def _backward(scores: list[torch.Tensor], heads: list[Head]) -> None:
    torch.autograd.backward(scores, [head.grad.to(own.dtype) for head, own in zip(heads, scores, strict=True)])


# ------------------------------------------------------------------------------------------------------------- seconds
def _seconds(heads: list[Head], runs: int, device: str) -> dict[str, np.ndarray]:
    """Seconds [runs, 2] forward and backward of each method, in turns; one round before is not counted."""
    rounds: dict[str, list[tuple[float, float]]] = {name: [] for name in METHODS}
    for number in range(runs + 1):
        for name in METHODS:
            step = _step_on_gpu(name, heads) if device == "cuda" else _step(name, heads)
            if number:
                rounds[name].append(step)
    return {name: np.array(steps) for name, steps in rounds.items()}


def _step(name: str, heads: list[Head]) -> tuple[float, float]:
    began = time.perf_counter()
    scores = _forward(name, heads)
    half = time.perf_counter()
    _backward(scores, heads)
    return half - began, time.perf_counter() - half


def _step_on_gpu(name: str, heads: list[Head]) -> tuple[float, float]:
    begin, half, end = (torch.cuda.Event(enable_timing=True) for _ in range(3))
    begin.record()
    scores = _forward(name, heads)
    half.record()
    _backward(scores, heads)
    end.record()
    end.synchronize()
    return begin.elapsed_time(half) / 1000, half.elapsed_time(end) / 1000


def _by_dimension(heads: list[Head], device: str) -> list[dict[str, float]]:
    rows = []
    for head in heads:
        seconds = _seconds([head], 2, device)
        medians = {name: statistics.median(steps.sum(axis=1)) for name, steps in seconds.items()}
        rows.append({"dim": head.queries.shape[1], **medians, "times_faster": medians["einsum"] / medians["maxsim"]})
    return rows


# -------------------------------------------------------------------------------------------------------------- memory
def _memory_of_processes(arguments: argparse.Namespace, dtype: str) -> dict[str, Any]:
    peaks = {}
    for name in ("floor", *METHODS):
        options = ["--child", name, "--dtype", dtype, "--seed", str(arguments.seed)]
        command = [sys.executable, "-m", "benchmarks.training_maxsim", *options]
        peaks[name] = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return _compared({name: peaks[name] for name in METHODS}, peaks["floor"])


def _measured_process(arguments: argparse.Namespace) -> None:
    """Prints the highest resident size of this process after one step."""
    heads = _heads(arguments.seed, DTYPES[arguments.dtype], "cpu")
    small = [
        Head(head.queries[:QUERY_TOKENS], head.documents[:DOCUMENT_TOKENS], head.grad[:1, :1]) for head in heads[:1]
    ]
    for name in METHODS:  # libraries, threads and their buffers, of both, are no part of a step
        _backward(_forward(name, small), small)
    if arguments.child == "floor":
        for head in heads:
            head.queries.grad, head.documents.grad = torch.ones_like(head.queries), torch.ones_like(head.documents)
    else:
        _backward(_forward(arguments.child, heads), heads)
    print(memory_of(os.getpid())[1])


def _memory_on_gpu(heads: list[Head]) -> dict[str, Any]:
    peaks = {}
    for head in heads:
        head.queries.grad = head.documents.grad = None
    held = torch.cuda.memory_allocated()
    gradients = sum(side.numel() * side.element_size() for head in heads for side in (head.queries, head.documents))
    for name in METHODS:
        torch.cuda.reset_peak_memory_stats()
        _backward(_forward(name, heads), heads)
        peaks[name] = torch.cuda.max_memory_allocated()
    return _compared(peaks, held + gradients)


def _compared(peaks: dict[str, int], floor: int) -> dict[str, Any]:
    beyond = {name: peak - floor for name, peak in peaks.items()}
    return {
        "peak_bytes": {"floor": floor, **peaks},
        "bytes_beyond_floor": beyond,
        "times_less_memory": beyond["einsum"] / max(beyond["maxsim"], 1),
        "times_less_with_floor": peaks["einsum"] / peaks["maxsim"],
    }


# -------------------------------------------------------------------------------------------------------------- errors
def _errors(heads: list[Head]) -> dict[str, dict[str, float]]:
    """To float64 einsum of the same vectors, the larger of two heads."""
    worst: dict[str, dict[str, float]] = {name: {"score": 0.0, "gradient": 0.0} for name in METHODS}
    for head in (heads[0], heads[-1]):
        sides = (side.detach().cpu().double().requires_grad_() for side in (head.queries, head.documents))
        exact = Head(*sides, head.grad.cpu().double())
        wanted = _forward("einsum", [exact])
        _backward(wanted, [exact])
        for name, own in worst.items():
            scores = _forward(name, [head])
            _backward(scores, [head])
            own["score"] = max(own["score"], float((scores[0].detach().cpu() - wanted[0].detach()).abs().max()))
            own["gradient"] = max(own["gradient"], _relative(head.queries, exact.queries))
            own["gradient"] = max(own["gradient"], _relative(head.documents, exact.documents))
    return worst


def _relative(own: torch.Tensor, exact: torch.Tensor) -> float:
    assert own.grad is not None
    assert exact.grad is not None
    return float((own.grad.cpu().double() - exact.grad).norm() / exact.grad.norm())


if __name__ == "__main__":
    main()
