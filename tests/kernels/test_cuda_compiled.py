"""What nvcc makes of the CUDA kernels: they compile for every architecture, and take no more registers than before."""

from __future__ import annotations

import re
import subprocess
from functools import cache
from pathlib import Path

import pytest

from benchmarks.gpu.compiler import ROOT, Resources, compile_cuda, disassemble, find_nvcc, find_nvdisasm
from benchmarks.gpu.counting import spills_of_main_loop

SOURCES = sorted((ROOT / "csrc" / "cuda").glob("*.cu"))
# Registers a thread, sm_90a, nvcc 13.0. More than 128 would halve the blocks that a multiprocessor holds.
REGISTERS = {
    "accumulate_postings": 48,
    "add_pieces": 40,
    "best_of_few": 66,
    "centroid_scores": 108,
    "collect_reaching": 43,
    "count_digits": 45,
    "maxsim_batch<1, 1>": 91,
    "maxsim_batch<1, 2>": 105,
    "maxsim_batch<1, 3>": 117,
    "maxsim_batch<1, 4>": 127,
    "maxsim_batch<2, 1>": 91,
    "maxsim_batch<2, 2>": 107,
    "maxsim_batch<2, 3>": 117,
    "maxsim_batch<2, 4>": 127,
    "maxsim_batch<4, 1>": 95,
    "maxsim_batch<4, 2>": 114,
    "maxsim_batch<4, 3>": 128,
    "maxsim_batch<4, 4>": 126,
    "maxsim_batch<8, 1>": 90,
    "maxsim_batch<8, 2>": 108,
    "maxsim_batch<8, 3>": 120,
    "maxsim_batch<8, 4>": 123,
    "maxsim_batch<16, 1>": 86,
    "maxsim_batch<16, 2>": 105,
    "maxsim_batch<16, 3>": 114,
    "maxsim_batch<16, 4>": 126,
    "maxsim_centroid_lists": 57,
    "maxsim_exact<4>": 110,
    "maxsim_exact<8>": 107,
    "maxsim_exact<16>": 92,
    "maxsim_exact_lists<4>": 117,
    "maxsim_exact_lists<8>": 127,
    "maxsim_exact_lists<16>": 103,
    "maxsim_fast<1, 0, 0>": 87,
    "maxsim_fast<1, 1, 0>": 72,
    "maxsim_fast<1, 2, 0>": 80,
    "maxsim_fast<1, 3, 0>": 92,
    "maxsim_fast<1, 4, 0>": 96,
    "maxsim_fast<2, 0, 0>": 87,
    "maxsim_fast<2, 1, 0>": 72,
    "maxsim_fast<2, 2, 0>": 80,
    "maxsim_fast<2, 3, 0>": 92,
    "maxsim_fast<2, 4, 0>": 100,
    "maxsim_fast<4, 0, 0>": 84,
    "maxsim_fast<4, 0, 1>": 90,
    "maxsim_fast<4, 1, 0>": 78,
    "maxsim_fast<4, 1, 1>": 82,
    "maxsim_fast<4, 2, 0>": 90,
    "maxsim_fast<4, 2, 1>": 96,
    "maxsim_fast<4, 3, 0>": 103,
    "maxsim_fast<4, 3, 1>": 110,
    "maxsim_fast<4, 4, 0>": 109,
    "maxsim_fast<4, 4, 1>": 118,
    "maxsim_fast<8, 0, 0>": 88,
    "maxsim_fast<8, 1, 0>": 72,
    "maxsim_fast<8, 2, 0>": 88,
    "maxsim_fast<8, 3, 0>": 96,
    "maxsim_fast<8, 4, 0>": 110,
    "maxsim_raw<0>": 80,
    "maxsim_raw<1>": 72,
    "maxsim_raw<2>": 96,
    "maxsim_raw<3>": 118,
    "maxsim_raw<4>": 126,
    "prepare_queries": 47,
    "reach_few": 42,
}
MEASURED_BY = "release 13.0"


def skip_without_nvcc() -> str:
    nvcc = find_nvcc()
    if nvcc is None:
        pytest.skip("nvcc was not found: whether the CUDA kernels compile is not checked")
    return nvcc


@cache
def resources(architecture: str) -> dict[str, Resources]:
    """Of every kernel, by a name such as maxsim_fast<2, 4>: bits, blocks of dimensions (0: any number)."""
    found: dict[str, Resources] = {}
    output = ROOT / "build" / "cuda-compiled"
    output.mkdir(parents=True, exist_ok=True)
    for source in SOURCES:
        found |= compile_cuda(source, output / f"{source.stem}.{architecture}.cubin", architecture)
    return {readable(name): own for name, own in found.items()}


def readable(mangled: str) -> str:
    match = re.match(r"_ZN3jcb4cuda\d+([a-z_]+?)(?:I((?:L[ib]\d+E)+)E)?E", mangled)
    assert match, mangled
    numbers = ", ".join(re.findall(r"L[ib](\d+)E", match[2] or ""))
    return f"{match[1]}<{numbers}>" if numbers else match[1]


def test_every_kernel_is_known_here() -> None:
    skip_without_nvcc()
    assert set(resources("sm_90a")) == set(REGISTERS)


@pytest.mark.parametrize("name", REGISTERS)
def test_no_kernel_spills_or_takes_more_registers_than_before(name: str) -> None:
    nvcc = skip_without_nvcc()
    version = subprocess.run([nvcc, "--version"], capture_output=True, text=True, check=True).stdout
    own = resources("sm_90a")[name]
    assert own.spilled_bytes == 0
    assert own.registers <= (REGISTERS[name] if MEASURED_BY in version else 128)


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.name)
def test_the_oldest_architecture_gets_ptx(source: Path, tmp_path: Path) -> None:
    skip_without_nvcc()
    output = tmp_path / "out.ptx"
    compile_cuda(source, output, "compute_80", "-ptx")
    assert ".target sm_80" in output.read_text()


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["sm_80", "sm_86", "sm_89", "sm_100"])
def test_no_main_loop_spills_on_any_architecture(architecture: str) -> None:
    skip_without_nvcc()
    assert max(own.registers for own in resources(architecture).values()) <= 128
    if find_nvdisasm() is None:
        pytest.skip("nvdisasm was not found: pip install '.[dev]'")
    folder = ROOT / "build" / "cuda-compiled"
    code = {n: c for s in SOURCES for n, c in disassemble(folder / f"{s.stem}.{architecture}.cubin").items()}
    assert {readable(name) for name, lines in code.items() if spills_of_main_loop(lines)} == set()
