"""The speed that a kernel's machine code allows, counted without a GPU:

    python -m benchmarks.gpu.model [--architecture sm_90a] [--show NAME]     needs nvcc, and nvdisasm from pip

Every Gtoken/s here is PREDICTED: an upper bound from counts and from what is assumed of the machine, with every latency
hidden. Nothing of it was run on a GPU. A bound that is below the target rules the kernel out; one above it promises
nothing before a GPU has been asked (benchmarks/gpu.sh).

What was expected of 8 bits and of raw vectors (128 dims) before their kernels were counted: 136 and 256 bytes of a
token are read, so memory limits both: 31 and 17 Gtoken/s on an H200, 22 and 12 on an H100. 8 bits: the 188
instructions of 2 bits without the 44 that look up, and some loads more: 160 a tile, at most 95 Gtoken/s. Raw: 32
products, 8 loads, 8 copies, 16 maxima and some 40 others: 110, and 73 Gtoken/s by the matrix units. In batches the
matrix units limit both, as at 2 bits. Looking back: 162 instructions (at most 92 Gtoken/s) and 117; memory allows
what was expected, and with whole tiles 30 and 16 Gtoken/s on an H200, 21 and 11 on an H100; batches 69. For exact
scores of 8 bits, levels that share an integer are told apart by 2 bits a dimension beside: 168 bytes of a token are
kept, of which scans read 136.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.gpu import searches
from benchmarks.gpu.compiler import ROOT, Resources, compile_cuda, disassemble
from benchmarks.gpu.counting import MATRIX_CLOCKS, SCHEDULERS, busy_clocks, main_loop, spills_in, with_longest_loop
from benchmarks.gpu.searches import DOCUMENT_TOKENS, PADDING
from benchmarks.gpu.triton_programs import Program, compile_program, machine_code, programs, registers_of
from benchmarks.harness import write_result

TILE_TOKENS = 16


@dataclass(frozen=True)
class Machine:
    """What is assumed of a GPU. l2_bytes: not measured, a figure of the field for random rows."""

    name: str
    multiprocessors: int = 132
    gigahertz: float = 1.755
    memory_bytes: float = 3.0e12
    l2_bytes: float = 5.5e12


MACHINES = (Machine("H100"), Machine("H200", memory_bytes=4.3e12))


@dataclass(frozen=True)
class Kernel:
    """A kernel that is counted, and what a token costs beside instructions.

    pattern: of its mangled name, or a Triton program's name. tile_bytes: of a token, from memory. gathered_bytes: of a
    token, from the L2 cache. sharing: pieces of 32 query tokens that read a token together; each has a warp of its own,
    so a turn of the main loop is for one piece. turns: of the main loop in one turn of the loop around it, which is a
    document or a round of the batch kernel. repeats: of another loop in there. turn_tokens: of a warp, in a turn of the
    main loop. target: Gtoken/s, times pieces, that issue 6 asks of the predicted bound.
    """

    name: str
    pattern: str
    tile_bytes: float
    gathered_bytes: float
    sharing: int = 1
    turns: float = DOCUMENT_TOKENS / TILE_TOKENS * PADDING
    repeats: int = 1
    turn_tokens: float = TILE_TOKENS
    target: float | None = None


KERNELS = (
    Kernel("fast, 2 bits, 64 dims", r"maxsim_fastILi2ELi2E", 24, 32),
    Kernel("fast, 2 bits, 96 dims", r"maxsim_fastILi2ELi3E", 32, 32),
    Kernel("fast, 2 bits, 128 dims", r"maxsim_fastILi2ELi4E", 40, 32, target=70),
    Kernel("fast, 1 bit, 128 dims", r"maxsim_fastILi1ELi4E", 24, 32, target=60),
    Kernel("fast, 4 bits, 128 dims", r"maxsim_fastILi4ELi4ELb1E", 72, 32, target=45),
    Kernel("fast, 8 bits, 128 dims", r"maxsim_fastILi8ELi4E", 136, 32),
    Kernel("raw, 128 dims", r"maxsim_rawILi4E", 256, 0),
    Kernel("batch, 2 bits, 128 dims", r"maxsim_batchILi2ELi4E", 40, 256, sharing=8, turns=8, repeats=4, target=70),
    Kernel("batch, 8 bits, 128 dims", r"maxsim_batchILi8ELi4E", 136, 256, sharing=8, turns=8, repeats=4),
    Kernel("batch, raw, 128 dims", r"maxsim_batchILi16ELi4E", 256, 0, sharing=8, turns=8),
)
ONE_QUERY, MANY_QUERIES = "fast, 2 bits, 128 dims", "batch, 2 bits, 128 dims"
# 128 tokens and 4 warps a turn. Ids and scalars lie apart from the codes, rows of centroid scores are fp16.
TRITON = Kernel(
    "Triton, 2 bits, 128 dims", "fast, 2 bits, 128 dims", 40, 64, turns=DOCUMENT_TOKENS / 128, turn_tokens=32, target=30
)

# Building, 128 dims. A warp's turn compares 16 tokens with 64 of so many centroids, which 128 tokens read together
# from the L2 cache; of codes it makes those of 2 tokens from end to end.
CENTROIDS = 16_384
NEAREST = Kernel(
    "nearest of 16,384", "nearest centroids, 128 dims", 260, 256 * CENTROIDS / 128, turns=CENTROIDS / 64,
    turn_tokens=16 * 64 / CENTROIDS,
)  # fmt: skip
CODES = {
    nbits: Kernel(f"codes, {nbits} bits", f"codes, {nbits} bits, 128 dims", 520 + 16 * nbits, 512, turn_tokens=2)
    for nbits in (1, 2, 4, 8)
}
BUILD_TARGET = 50  # Mtoken/s, at 4 bits


@dataclass(frozen=True)
class Prediction:
    """Gtoken/s, times pieces, that each limit allows: the lowest of them, and that with padding and the loop around."""

    limits: dict[str, float]
    bound: float
    limit: str
    with_rest: float


def predict(kernel: Kernel, machine: Machine, loop: list[str], around: list[str]) -> Prediction:
    """Bounds of a kernel whose main loop has these instructions a turn, and the loop around it those beside."""
    clocks, rest = busy_clocks(loop), busy_clocks(around)

    def rate(clocks_a_turn: float) -> float:
        return kernel.turn_tokens / clocks_a_turn * machine.multiprocessors * SCHEDULERS * machine.gigahertz

    memory = {
        "HBM": machine.memory_bytes / 1e9 / kernel.tile_bytes * kernel.sharing,
        "L2": machine.l2_bytes / 1e9 / (kernel.tile_bytes + kernel.gathered_bytes) * kernel.sharing,
    }
    limits = {part: rate(busy) for part, busy in clocks.items() if busy} | memory
    lowest = min(limits, key=lambda part: limits[part])
    whole = min(rate(busy + rest[part] / kernel.turns) for part, busy in clocks.items() if busy)
    return Prediction(limits, limits[lowest], lowest, min(whole, *memory.values()) / PADDING)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu.model", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--architecture", default="sm_90a")
    parser.add_argument("--show", metavar="NAME", help="print the main loop of the kernel whose mangled name has this")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        cubin = Path(folder) / "maxsim.cubin"
        try:
            resources = compile_cuda(ROOT / "csrc" / "cuda" / "maxsim.cu", cubin, arguments.architecture)
            code = disassemble(cubin)
        except RuntimeError as error:
            sys.exit(str(error))
    if arguments.show:
        _show(arguments.show, code)
        return
    figures = []
    for kernel in KERNELS:
        name = next(name for name in code if re.search(kernel.pattern, name))
        figures.append(_figures(kernel, resources[name], code[name]))
    figures.append(_triton_figures())
    settings = {
        "architecture": arguments.architecture,
        "nature": "PREDICTED from machine code; nothing was run on a GPU",
        "machines": [asdict(machine) for machine in MACHINES],
        "matrix_clocks_of_a_scheduler": MATRIX_CLOCKS,
        "document_tokens": DOCUMENT_TOKENS,
    }
    rates = {figure["kernel"]: figure["predicted"] for figure in figures}
    results = {
        "kernels": figures,
        "whole_searches": whole_searches(rates),
        "builds": builds(),
        "seconds_4096_candidates_in_host_memory": searches.candidates_in_host_memory(),
    }
    seconds = results["seconds_4096_candidates_in_host_memory"]
    print(f"PREDICTED {1e3 * seconds:.2f} ms for {searches.CANDIDATES:,} documents in host memory, over PCIe 5")
    write_result("gpu-model", settings, results)


def whole_searches(rates: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Scans and searches among candidates, by GPU; rates: predictions by kernel and GPU."""
    found = {}
    for machine in MACHINES:
        one, many = (rates[kernel][machine.name]["with_rest"] for kernel in (ONE_QUERY, MANY_QUERIES))
        own = searches.Rates(one, many, machine.memory_bytes, machine.l2_bytes)
        scan, probe = searches.scan(own), searches.probe(own)
        found[machine.name] = {"scan": scan, "candidates": probe}
        print(
            f"{machine.name}: PREDICTED {1e3 * scan['seconds_1_query']:.2f} ms for the best of 10 M tokens "
            f"(target .5), {scan['queries_per_second_64']:,.0f} queries/s in batches of 64 (target 5,000); at least "
            f"{1e6 * probe['seconds_bound']:.0f} us for one query among {searches.SCORED:,} candidates of these "
            f"(target 60), {1e6 * probe['seconds_with_waits']:.0f} us with what kernels are assumed to wait"
        )
    return found


def builds() -> dict[str, dict[str, float]]:
    """Mtoken/s of 128 dims against 16,384 centroids by limit: assignment, codes by bits, and both."""
    found: dict[str, dict[str, float]] = {}
    for machine in MACHINES:
        loop = main_loop(_triton_code(NEAREST)[1])
        nearest = predict(NEAREST, machine, loop.lines, loop.around)
        found[machine.name] = {"assigned": 1e3 * nearest.bound}
        parts = [f"assigned {1e3 * nearest.bound:.0f} by {nearest.limit}"]
        for nbits, kernel in CODES.items():
            program, lines = _triton_code(kernel)
            codes = predict(kernel, machine, with_longest_loop(lines, program.constants["trials"]), [])
            both = 1 / (1 / nearest.bound + 1 / codes.bound)
            found[machine.name] |= {f"codes_{nbits}_bits": 1e3 * codes.bound, f"both_{nbits}_bits": 1e3 * both}
            parts.append(f"codes of {nbits} bits {1e3 * codes.bound:.0f} by {codes.limit}, both {1e3 * both:.0f}")
        print(f"{machine.name}: PREDICTED Mtoken/s at most: {'; '.join(parts)} (target {BUILD_TARGET} at 4 bits)")
    return found


def _triton_code(kernel: Kernel) -> tuple[Program, list[str]]:
    program = next(program for program in programs() if program.name == kernel.pattern)
    with tempfile.TemporaryDirectory() as folder:
        return program, machine_code(compile_program(program, 90)[0], Path(folder))


def _triton_figures() -> dict[str, Any]:
    program = next(program for program in programs() if program.name == TRITON.pattern)
    with tempfile.TemporaryDirectory() as folder:
        cubin, _ = compile_program(program, 90)
        lines = machine_code(cubin, Path(folder))
    return _figures(TRITON, Resources(registers_of(cubin), 4 * spills_in(lines)), lines)


def _figures(kernel: Kernel, own: Resources, lines: list[str]) -> dict[str, Any]:
    loop = main_loop(lines, kernel.repeats)
    predictions = {machine.name: predict(kernel, machine, loop.lines, loop.around) for machine in MACHINES}
    print(f"{kernel.name}: {own.registers} registers, {own.spilled_bytes} bytes spilled")
    counts = ", ".join(f"{label} {count}" for label, count in loop.counts.most_common())
    print(f"  {kernel.turn_tokens} tokens: {len(loop.lines)} instructions ({counts}); around: {len(loop.around)}")
    for machine, prediction in predictions.items():
        limits = ", ".join(f"{part} {value:.0f}" for part, value in prediction.limits.items())
        against = f", target {kernel.target:g}" if kernel.target else ""
        print(
            f"  {machine}: PREDICTED bound {prediction.bound:.0f} Gtoken/s by {prediction.limit}{against}; "
            f"with padding and the loop around {prediction.with_rest:.0f} ({limits})"
        )
    return {
        "kernel": kernel.name,
        "target_gtokens_per_second": kernel.target,
        "registers": own.registers,
        "spilled_bytes": own.spilled_bytes,
        "tokens_of_a_turn": kernel.turn_tokens,
        "instructions_of_a_turn": dict(loop.counts),
        "instructions_around": len(loop.around),
        "predicted": {machine: asdict(prediction) for machine, prediction in predictions.items()},
    }


def _show(wanted: str, code: dict[str, list[str]]) -> None:
    for name, lines in code.items():
        if wanted in name:
            loop = main_loop(lines)
            print("\n".join([name, "-- a tile", *loop.lines, "-- a document", *loop.around]))


if __name__ == "__main__":
    main()
