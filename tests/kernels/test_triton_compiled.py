"""The Triton programs, compiled for a GPU that is not there: they spill nothing, and take no more than before."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from functools import cache

import pytest

from benchmarks.gpu.compiler import ROOT, find_nvdisasm
from benchmarks.gpu.triton_programs import programs

pytestmark = pytest.mark.triton
# Registers a thread for sm_90 by triton 3.9; another version may take up to a quarter more.
REGISTERS = {
    "fast, 1 bits, 128 dims": 107,
    "exact, 1 bits, 128 dims": 48,
    "fast, 2 bits, 128 dims": 163,
    "exact, 2 bits, 128 dims": 56,
    "fast, 4 bits, 128 dims": 64,
    "exact, 4 bits, 128 dims": 56,
    "fast, 8 bits, 128 dims": 64,
    "exact, 8 bits, 128 dims": 56,
    "fast, raw, 128 dims": 103,
    "exact, raw, 128 dims": 56,
    "fast, 2 bits, 96 dims": 165,
    "fast, 2 bits, 256 dims": 122,
    "fast, 2 bits, 768 dims": 121,
    "products with centroids": 110,
    "nearest centroids, 128 dims": 100,
    "nearest centroids, 768 dims": 108,
    "centroids alone": 56,
    "codes, 1 bits, 128 dims": 108,
    "codes, 2 bits, 128 dims": 54,
    "codes, 4 bits, 128 dims": 96,
    "codes, 8 bits, 128 dims": 72,
    "codes, 4 bits, 768 dims": 78,
    "gains by postings": 28,
    "gains by postings, masked": 32,
    "best_tokens, fp32, 64 dims": 168,
    "best_tokens, bf16, 64 dims": 96,
    "best_tokens, fp32, 768 dims": 168,
    "best_tokens, bf16, 768 dims": 96,
    "gradients_of_queries, fp32, 64 dims": 32,
    "gradients_of_queries, bf16, 64 dims": 32,
    "gradients_of_queries, fp32, 768 dims": 40,
    "gradients_of_queries, bf16, 768 dims": 40,
    "gradients_of_documents, fp32, 64 dims": 32,
    "gradients_of_documents, bf16, 64 dims": 32,
    "gradients_of_documents, fp32, 768 dims": 40,
    "gradients_of_documents, bf16, 768 dims": 40,
    "sums_of_maxima": 96,
}


@cache
def compiled(capability: int) -> dict[str, dict[str, int]]:
    """In a process of its own: this one may have Triton's interpreter, which compiles nothing."""
    triton = pytest.importorskip("triton", reason="triton is not installed: pip install '.[dev]'")
    assert triton is not None
    if find_nvdisasm() is None:
        pytest.skip("nvdisasm was not found: pip install '.[dev]'")
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    command = [sys.executable, "-m", "benchmarks.gpu.triton_programs", "--capability", str(capability)]
    run = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, env=environment)
    assert run.returncode == 0, run.stderr[-4000:]
    found: dict[str, dict[str, int]] = json.loads(run.stdout)
    return found


def test_every_program_is_compiled_here() -> None:
    sources = [
        (ROOT / "jcb_engine" / "kernels" / f"{module}.py").read_text()
        for module in ("triton_kernels", "triton_code_kernels", "triton_posting_kernels", "triton_vector_kernels")
    ]
    kernels = {name for source in sources for name in re.findall(r"^def ([a-z]\w+)\(", source, re.MULTILINE)}
    assert {program.function for program in programs()} == kernels
    assert set(compiled(90)) == set(REGISTERS)


@pytest.mark.parametrize("name", REGISTERS)
def test_no_program_spills_or_takes_more_registers_than_before(name: str) -> None:
    own = compiled(90)[name]
    assert own["spills"] == 0
    assert own["registers"] <= 1.25 * REGISTERS[name]
    # What a block has on every GPU; where little else would fit beside it, what it may ask for on every one.
    assert own["shared_bytes"] <= (99 if name.startswith("nearest") else 48) * 1024


@pytest.mark.slow
@pytest.mark.parametrize("capability", [80, 86, 89, 100])
def test_no_program_spills_on_any_architecture(capability: int) -> None:
    assert {name: own for name, own in compiled(capability).items() if own["spills"]} == {}
