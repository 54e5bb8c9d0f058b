"""nvcc and nvdisasm: CUDA sources to machine code, and what the compiler says of it."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
_ENTRY = re.compile(r"Compiling entry function '(\S+)'")
_SPILLS = re.compile(r"(\d+) bytes spill stores, (\d+) bytes spill loads")
_REGISTERS = re.compile(r"Used (\d+) registers")


@dataclass(frozen=True)
class Resources:
    """What a thread of a kernel takes: registers, and bytes of registers kept in memory."""

    registers: int
    spilled_bytes: int


def find_nvcc() -> str | None:
    """nvcc of CUDA_HOME, CUDA_PATH or /usr/local/cuda, or the one on PATH."""
    for home in (os.environ.get("CUDA_HOME"), os.environ.get("CUDA_PATH"), "/usr/local/cuda"):
        if home and (Path(home) / "bin" / "nvcc").exists():
            return str(Path(home) / "bin" / "nvcc")
    return shutil.which("nvcc")


def find_nvdisasm() -> str | None:
    """nvdisasm of the toolkit, or of the package nvidia-cuda-nvdisasm."""
    nvcc = find_nvcc()
    beside = Path(nvcc).with_name("nvdisasm") if nvcc else None
    if beside is not None and beside.exists():
        return str(beside)
    spec = importlib.util.find_spec("nvidia")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        for path in sorted(Path(folder).glob("*/bin/nvdisasm")):
            return str(path)
    return shutil.which("nvdisasm")


def compile_cuda(source: Path, output: Path, architecture: str, form: str = "-cubin") -> dict[str, Resources]:
    """Compile one source; the resources of each kernel by its mangled name.

    form: -cubin, or -ptx (which says nothing of resources). RuntimeError with the compiler's words where it fails or
    warns.
    """
    nvcc = find_nvcc()
    if nvcc is None:
        raise RuntimeError("nvcc was not found: set CUDA_HOME, or put it on PATH")
    includes = [f"-I{ROOT / 'csrc'}", f"-I{ROOT / 'csrc' / 'include'}"]
    options = ["-std=c++20", "-O3", "-Werror=all-warnings", f"-arch={architecture}", form, "-Xptxas", "-v"]
    run = subprocess.run(
        [nvcc, *options, *includes, str(source), "-o", str(output)], capture_output=True, text=True, check=False
    )
    if run.returncode != 0:
        raise RuntimeError(f"nvcc failed on {source.name} for {architecture}:\n{run.stderr[-4000:]}")
    return _resources(run.stderr)


def _resources(output: str) -> dict[str, Resources]:
    found: dict[str, Resources] = {}
    name, spilled = "", 0
    for line in output.splitlines():
        if match := _ENTRY.search(line):
            name = match[1]
        elif match := _SPILLS.search(line):
            spilled = int(match[1]) + int(match[2])
        elif match := _REGISTERS.search(line):
            found[name] = Resources(int(match[1]), spilled)
    return found


def disassemble(cubin: Path) -> dict[str, list[str]]:
    """Mangled name -> lines of machine code: an instruction with its predicate, or a label with its colon."""
    return parse_disassembly(run_nvdisasm(cubin))


def run_nvdisasm(cubin: Path) -> str:
    """What `nvdisasm -c` prints of it. RuntimeError where there is no nvdisasm."""
    nvdisasm = find_nvdisasm()
    if nvdisasm is None:
        raise RuntimeError("nvdisasm was not found: pip install nvidia-cuda-nvdisasm")
    return subprocess.run([nvdisasm, "-c", str(cubin)], capture_output=True, text=True, check=True).stdout


def parse_disassembly(text: str) -> dict[str, list[str]]:
    """What nvdisasm -c prints, kernel by kernel."""
    kernels: dict[str, list[str]] = {}
    lines: list[str] | None = None
    for raw in text.splitlines():
        line = raw.strip()
        if match := re.match(r"\.text\.(\S+):", line):
            lines = kernels.setdefault(match[1], [])
        elif line.startswith(".section"):
            lines = None
        elif lines is not None and (match := re.match(r"(\.L_x_\d+):", line)):
            lines.append(match[1] + ":")
        elif lines is not None and (match := re.match(r"(?:\{\s*)?/\*[0-9a-f]+\*/\s+(.*?)\s*;", line)):
            lines.append(match[1])
    return kernels
