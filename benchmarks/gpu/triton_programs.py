"""The Triton programs compiled ahead of time, for a GPU that need not be there:

    python -m benchmarks.gpu.triton_programs [--capability 90]      prints registers, spills and shared memory as JSON

Run it without TRITON_INTERPRET: the interpreter compiles nothing.
"""

from __future__ import annotations

import argparse
import json
import re
import struct
import sys
from dataclasses import asdict, dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.gpu.compiler import parse_disassembly, run_nvdisasm
from benchmarks.gpu.counting import spills_of_main_loop

LEVELS = np.array([-1.5104, -0.4528, 0.4528, 1.5104], dtype=np.float32)
_TYPES = {
    "codes": "*u8",
    "ids": "*i32",
    "norms": "*fp16",
    "sigmas": "*fp16",
    "first_tokens": "*i64",
    "token_counts": "*i32",
    "pieces": "*i64",
    "table": "*fp16",
    "centroid_vectors": "*fp32",
    "queries": "*fp16",
    "lengths": "*fp32",
    "levels": "*fp16",
    "partial": "*fp32",
    "columns": "i32",
    "rows": "i32",
    "centroids": "*fp32",
    "products": "*fp32",
    "vectors": "*fp16",
    "offsets": "*fp32",
}
_EXACT = {"queries": "*fp32", "levels": "*fp32", "table": "*fp32"}


@dataclass(frozen=True)
class Program:
    """One program as the backend's modules launch it: its constants, and how many warps run it."""

    name: str
    function: str
    constants: dict[str, Any]
    types: dict[str, str] = field(default_factory=dict)  # of arguments, where they are not those of _TYPES
    warps: int = 4
    module: str = "triton_kernels"


@dataclass(frozen=True)
class Compiled:
    """What a program takes: registers a thread, spills in its main loop, bytes of shared memory a block."""

    registers: int
    spills: int
    shared_bytes: int


def programs() -> list[Program]:
    """For 128 dimensions, at each width of codes; what is wider or has rows that are no power of two; centroids."""
    from jcb_engine.kernels.lookup_assembly import lookup_assembly
    from jcb_engine.kernels.triton_building import BLOCK, CHUNK, STEP
    from jcb_engine.kernels.triton_scoring import CENTROID_STEP, RAW_CHUNK, RAW_STEPS, SMALL_STEPS

    lookup = lookup_assembly(LEVELS)
    found = []
    for nbits in (1, 2, 4, 8):
        row = {"code_bytes": 16 * nbits, "width": 16 * nbits}
        chunk = min(16 * nbits, 32)
        any_width = {**row, "chunk": chunk, "step": SMALL_STEPS[nbits], "nbits": nbits}
        name = f"fast, {nbits} bits, 128 dims"
        if nbits == 2:
            found.append(Program(name, "maxsim_2bits", {**row, "step": 128, "lookup": lookup}))
        else:
            found.append(Program(name, "maxsim_any", any_width))
        exact = {"dim": 128, **row, "chunk": chunk, "step": 16, "nbits": nbits}
        found.append(Program(f"exact, {nbits} bits, 128 dims", "maxsim_exact", exact, _EXACT))
    odd = {"code_bytes": 24, "width": 32, "step": 128, "lookup": lookup}
    found.append(Program("fast, 2 bits, 96 dims", "maxsim_2bits", odd))
    for dim, width in ((256, 64), (768, 256)):
        wide = {"code_bytes": dim // 4, "width": width, "chunk": 32, "step": SMALL_STEPS[2], "nbits": 2}
        found.append(Program(f"fast, 2 bits, {dim} dims", "maxsim_any", wide))
    for is_exact in (False, True):
        own = {"dim": 128, "width": 128, "chunk": RAW_CHUNK, "step": RAW_STEPS[is_exact], "is_exact": is_exact}
        name = f"{'exact' if is_exact else 'fast'}, raw, 128 dims"
        found.append(Program(name, "maxsim_raw", own, _EXACT if is_exact else {}))
    found.append(Program("products with centroids", "centroid_products", {"dim": 128, "chunk": 32, "step": 64}, _EXACT))
    for width in (128, 768):
        block = {"width": width, "chunk": CHUNK, "step": STEP, "block": BLOCK}
        halves = {"centroids": "*fp16"}
        found.append(Program(f"nearest centroids, {width} dims", "nearest_centroids", block, halves, warps=8))
    found.append(Program("centroids alone", "maxsim_centroids", {"step": CENTROID_STEP}, _EXACT))
    return found + code_programs() + posting_programs() + vector_programs()


def code_programs() -> list[Program]:
    """Codes of vectors at each width, and of wide vectors whose dimensions are no power of two."""
    from jcb_engine.kernels.interface import SIGMA_FACTORS
    from jcb_engine.kernels.triton_building import CODE_WARPS, code_shape

    types = {
        **dict.fromkeys(("vectors", "cutoffs", "levels", "factors"), "*fp32"),
        "per_norm": "fp32",
    }
    found = []
    for dim, nbits in ((128, 1), (128, 2), (128, 4), (128, 8), (768, 4)):
        constants = {**code_shape(dim, nbits), "trials": len(SIGMA_FACTORS.get(nbits, (1.0,)))}
        name = f"codes, {nbits} bits, {dim} dims"
        found.append(Program(name, "quantize", constants, types, CODE_WARPS, "triton_code_kernels"))
    return found


def posting_programs() -> list[Program]:
    """Gains by postings, of all documents and of those that a bitmap allows."""
    from jcb_engine.kernels.triton_postings import STEP, WARPS

    types = {
        **dict.fromkeys(("documents", "gains", "best", "sums"), "*i32"),
        **dict.fromkeys(("posting_offsets", "centroids", "query_of_token"), "*i64"),
        **dict.fromkeys(("first_token", "probes", "document_count", "parts"), "i32"),
        "allowed": "*u8",
    }
    found = []
    for is_masked in (False, True):
        name = f"gains by postings{', masked' if is_masked else ''}"
        constants = {"step": STEP, "is_masked": is_masked}
        found.append(Program(name, "gain_by_postings", constants, types, WARPS, "triton_posting_kernels"))
    return found


def vector_programs() -> list[Program]:
    """MaxSim of plain vectors and its gradient, in fp32 and bf16, for Jina-ColBERT-v2's narrowest and widest head."""
    from jcb_engine.kernels.triton_vectors import (
        EXACT_BLOCK,
        GRADIENT_STEP,
        HALF_BLOCK,
        SUM_BLOCK,
        WARPS,
        gradient_parts,
    )

    found = []
    for dim in (64, 768):
        for dtype in ("fp32", "bf16"):
            block = dict(EXACT_BLOCK if dtype == "fp32" else HALF_BLOCK)
            score_warps = block.pop("num_warps")
            scored = {"dim": dim, **block, "is_exact": dtype == "fp32", "with_winners": True}
            gathered = {"dim": dim, "width": gradient_parts(dim)[0], "step": GRADIENT_STEP}
            of_vectors = dict.fromkeys(("queries", "vectors", "gradients"), f"*{dtype}")
            for function, constants, warps in (
                ("best_tokens", scored, score_warps),
                ("gradients_of_queries", gathered, WARPS),
                ("gradients_of_documents", gathered, WARPS),
            ):
                name = f"{function}, {dtype}, {dim} dims"
                found.append(_of_vectors(name, function, constants, of_vectors, warps))
    found.append(_of_vectors("sums_of_maxima", "sums_of_maxima", dict(SUM_BLOCK), {}, WARPS))
    return found


def _of_vectors(name: str, function: str, constants: dict[str, Any], types: dict[str, str], warps: int) -> Program:
    all_types = {
        **dict.fromkeys(("doc_offsets", "query_offsets", "order", "row_offsets"), "*i64"),
        **dict.fromkeys(("maxima", "weights", "scores"), "*fp32"),
        **dict.fromkeys(("documents", "query_tokens"), "i32"),
        "winners": "*i32",
        **types,
    }
    return Program(name, function, constants, all_types, warps, "triton_vector_kernels")


def compile_program(program: Program, capability: int) -> tuple[bytes, int]:
    """The cubin for a compute capability such as 90, and the bytes of shared memory a block takes."""
    import triton
    from triton.backends.compiler import GPUTarget

    function = getattr(import_module(f"jcb_engine.kernels.{program.module}"), program.function)
    types = _TYPES | program.types
    signature = {name: "constexpr" if name in program.constants else types[name] for name in function.arg_names}
    aligned = {  # as the launcher finds at run time
        (place,): [["tt.divisibility", 16]]
        for place, kind in enumerate(signature.values())
        if kind != "constexpr" and not function.params[place].do_not_specialize
    }
    source = triton.compiler.ASTSource(
        fn=function, signature=signature, constexprs=dict(program.constants), attrs=aligned
    )
    options = {"num_warps": program.warps, "enable_fp_fusion": True}
    compiled = triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)
    return compiled.asm["cubin"], int(compiled.metadata.shared)


def machine_code(cubin: bytes, folder: Path) -> list[str]:
    """Lines of the one kernel in a cubin."""
    path = folder / "program.cubin"
    path.write_bytes(cubin)
    (lines,) = parse_disassembly(run_nvdisasm(path)).values()
    return lines


def registers_of(cubin: bytes) -> int:
    """Registers a thread, of the one kernel in a cubin: ptxas writes them into the section .nv.info, as an attribute of
    number 0x2f whose value (format 4, 8 bytes) is the kernel's symbol and the count."""
    table, size, count, names = struct.unpack_from("<Q", cubin, 40)[0], *struct.unpack_from("<3H", cubin, 58)
    sections = [struct.unpack_from("<2I4Q", cubin, table + number * size) for number in range(count)]
    strings = sections[names][4]
    for name, _, _, _, offset, length in sections:
        if cubin[strings + name :].startswith(b".nv.info\0"):
            found = re.search(rb"\x04\x2f\x08\0.{4}(.{4})", cubin[offset : offset + length], re.DOTALL)
            if found:
                return int.from_bytes(found[1], "little")
    raise ValueError("the cubin does not say how many registers a thread has")


def resources(program: Program, capability: int, folder: Path) -> Compiled:
    """Compile a program and count what it takes."""
    cubin, shared = compile_program(program, capability)
    return Compiled(registers_of(cubin), spills_of_main_loop(machine_code(cubin, folder)), shared)


def main() -> None:
    import tempfile

    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu.triton_programs", description=__doc__)
    parser.add_argument("--capability", type=int, default=90, help="compute capability: 80, 86, 89, 90 or 100")
    arguments = parser.parse_args()
    try:
        with tempfile.TemporaryDirectory() as folder:
            found = {p.name: asdict(resources(p, arguments.capability, Path(folder))) for p in programs()}
    except RuntimeError as error:
        sys.exit(str(error))
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
