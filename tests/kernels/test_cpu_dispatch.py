"""Instruction sets: the widest there is unless one is named, and never another than the one named."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from jcb_engine.errors import BackendUnavailableError, InputError
from jcb_engine.kernels.cpu import CpuBackend
from jcb_engine.kernels.extension import _cpu
from jcb_engine.kernels.interface import Backend
from tests.kernels.cpu_backends import INSTRUCTION_SETS

AVX2_FLAGS = {"avx2", "fma", "f16c", "bmi1", "bmi2"}
AVX512_FLAGS = AVX2_FLAGS | {"avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512_vnni"}
NEEDED_FLAGS = {
    "scalar": set(),
    "avx2": AVX2_FLAGS,
    "avx512": AVX512_FLAGS,
    "amx": AVX512_FLAGS | {"avx512vbmi", "amx_tile", "amx_int8"},
    "neon": {"asimddp", "asimdrdm", "atomics"},
}


def processor_flags() -> set[str]:
    """What the kernel of the system reports, independently of our own cpuid."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = ("flags", "Features")  # on x86, on ARM
    return set(next((line.split(":", 1)[1] for line in lines if line.startswith(names)), "").split())


def built_with_amx() -> bool:
    """Whether the compiler knew AMX: the extension then has a tilerelease, which nothing else does."""
    return b"\xc4\xe2\x78\x49\xc0" in Path(_cpu.__file__).read_bytes()


def sets_here() -> list[str]:
    flags = processor_flags()
    names = [name for name in INSTRUCTION_SETS if NEEDED_FLAGS[name] <= flags]
    return [name for name in names if name != "amx" or built_with_amx()]


@pytest.fixture(autouse=True)
def no_choice_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JCB_SIMD", raising=False)


def test_the_widest_set_of_the_processor_is_taken() -> None:
    assert CpuBackend().name == f"cpu/{sets_here()[-1]}"


@pytest.mark.parametrize("name", INSTRUCTION_SETS)
def test_a_set_asked_for_is_used_or_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JCB_SIMD", name)
    if name in sets_here():
        assert CpuBackend().name == CpuBackend(name).name == f"cpu/{name}"
        return
    message = f"this processor lacks the instruction set {name}.*; it runs {sets_here()[-1]}"
    for choose in (CpuBackend, lambda: CpuBackend(name)):
        with pytest.raises(BackendUnavailableError, match=message):
            choose()


def test_the_argument_outranks_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JCB_SIMD", "sse9")
    assert CpuBackend("scalar").name == "cpu/scalar"


@pytest.mark.parametrize("name", ["sse9", "AVX2", " "])
def test_an_unknown_set_names_those_there_are(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JCB_SIMD", name)
    message = f'instruction set "{name}" is unknown; allowed are scalar, avx2, avx512, amx and neon'
    with pytest.raises(InputError, match=message):
        CpuBackend()
    with pytest.raises(InputError, match=message):
        CpuBackend(name)


def test_the_backend_has_every_operation_of_the_interface() -> None:
    operations = [name for name in vars(Backend) if not name.startswith("_")]
    assert operations
    assert all(hasattr(CpuBackend, name) for name in operations)


def test_the_import_brings_neither_torch_nor_faiss() -> None:
    program = "import sys, jcb_engine.kernels.cpu as cpu; cpu.CpuBackend();"
    program += "sys.exit(bool({'torch', 'faiss', 'transformers'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_without_the_extension_the_error_says_how_to_get_it() -> None:
    program = """
import sys
sys.modules["jcb_engine.kernels._cpu"] = None
from jcb_engine.errors import BackendUnavailableError
try:
    import jcb_engine.kernels.cpu
except BackendUnavailableError as error:
    print(error)
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "the native kernels are not built for this Python" in run.stdout
    assert "python setup.py build_ext --inplace" in run.stdout
