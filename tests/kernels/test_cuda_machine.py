"""What nvcc makes of each machine operation of csrc/cuda/machine.h. That the emulation does the same is
csrc/tests/test_cuda_machine.cpp's to show (test_native.py runs it)."""

from __future__ import annotations

import re
import subprocess
from functools import cache
from pathlib import Path

import pytest

from benchmarks.gpu.compiler import find_nvcc

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "csrc" / "tests" / "machine_operations.cu"
# The PTX that an operation has to become, after the PTX ISA's names.
INSTRUCTIONS = {
    "block_barrier": r"bar\.sync|barrier\.sync",
    "warp_barrier": r"bar\.warp\.sync",
    "shuffle": r"shfl\.sync\.idx\.b32",
    "shuffle_xor": r"shfl\.sync\.bfly\.b32",
    "ballot": r"vote\.sync\.ballot\.b32",
    "multiply_f16": r"mma\.sync\.aligned\.m16n8k16\.row\.col\.f32\.f16\.f16\.f32",
    "multiply_i8": r"mma\.sync\.aligned\.m16n8k32\.row\.col\.s32\.s8\.s8\.s32 ",
    "load_matrices": r"ldmatrix\.sync\.aligned\.m8n8\.x4\.shared\.b16",
    "copy_16": r"cp\.async\.cg\.shared\.global \[%r\d+\], \[%rd\d+\], 16;",
    "copy_16_if": r"@p cp\.async\.cg\.shared\.global",
    "close_copies": r"cp\.async\.commit_group",
    "wait_for_copies": r"cp\.async\.wait_group 2;",
    "load_once": r"ld\.global\.nc\.L1::no_allocate\.v4\.u32",
    "permute_bytes": r"prmt\.b32",
    "pair_of": r"cvt\.rn\.f16x2\.f32",
    "low_of": r"cvt\.f32\.f16",
    "high_of": r"cvt\.f32\.f16",
    "low_twice": r"mov\.b32 %r\d+, \{l, ?l\}",
    "high_twice": r"mov\.b32 %r\d+, \{h, ?h\}",
    "pair_fma": r"fma\.rn\.f16x2",
    "pair_multiply": r"mul\.rn\.f16x2",
    "pair_add": r"add\.rn\.f16x2",
    "pair_maximum": r"max\.f16x2",
    "float_of_bits": r"mov\.b32|ld\.global(\.nc)?\.(b32|u32|f32)",
    "bits_of_float": r"mov\.b32|st\.global\.(b32|u32|f32)",
    "number_of_bits": r"popc\.b32",
    "publish": r"st\.global\.\w+ .*membar\.gl|st\.global\.\w+ .*fence\.acq_rel\.gpu|fence\.sc\.gpu",
    "add_atomically": r"atom\.global\.add\.u32",
    "maximum_atomically": r"atom\.global\.max\.u64",
    "or_atomically": r"atom\.global\.or\.b32",
}


def nvcc() -> str:
    found = find_nvcc()
    if found is None:
        pytest.skip("nvcc was not found: what it makes of the machine operations is not checked")
    return found


def compiled(output: Path, *options: str) -> None:
    command = [nvcc(), "-std=c++20", "-O3", f"-I{ROOT / 'csrc'}", *options, str(SOURCE), "-o", str(output)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr[-3000:]


@cache
def entries() -> dict[str, str]:
    """Name and body of each kernel in PTX for sm_80, the oldest that is supported."""
    output = ROOT / "build" / "machine_operations.ptx"
    output.parent.mkdir(exist_ok=True)
    compiled(output, "-ptx", "-arch=compute_80")
    found = re.findall(r"\.entry (\w+)\((.*?)^}", output.read_text(), re.DOTALL | re.MULTILINE)
    return dict(found)


def declared_operations() -> set[str]:
    """The operations that machine.h explains."""
    explained = (ROOT / "csrc" / "cuda" / "machine.h").read_text().split("#pragma once")[0]
    names = set(re.findall(r"(\w+)(?:<n>)?\(", explained))
    return names - {"JCB_KERNEL", "dynamic_shared"}


def test_every_operation_is_compiled_and_looked_at() -> None:
    assert declared_operations() == set(INSTRUCTIONS)
    assert set(entries()) == set(INSTRUCTIONS)


@pytest.mark.parametrize("name", INSTRUCTIONS)
def test_an_operation_is_the_instruction_that_it_names(name: str) -> None:
    assert re.search(INSTRUCTIONS[name], entries()[name]), entries()[name]


def test_operations_compile_for_hopper(tmp_path: Path) -> None:
    compiled(tmp_path / "machine_operations.cubin", "-cubin", "-arch=sm_90a")


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["sm_80", "sm_86", "sm_89", "sm_90a", "sm_100"])
def test_operations_compile_for_every_architecture(tmp_path: Path, architecture: str) -> None:
    compiled(tmp_path / "machine_operations.cubin", "-cubin", f"-arch={architecture}")
