"""The native tests: every instruction set against a double-precision reference, the lacking ones over SIMDe."""

import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BUILD = ROOT / "build" / "native-tests"
PROGRAMS = (
    "test_maxsim_quantized",
    "test_maxsim_error_bound",
    "test_maxsim_bad_input",
    "test_read_ahead",
    "test_thread_pool",
    "test_tile_unit",
    "test_vector_kernels",
    "test_word_table",
    "test_cuda_machine",
    "test_cuda_maxsim",
    "test_cuda_scan",
    "test_cuda_probe",
    "test_cuda_tiles",
)
# A std::call_once that an exception leaves stays locked for ever in this sanitizer, and this program is of one thread.
NOT_UNDER = {"thread": {"test_maxsim_bad_input"}}
SIMDE = (Path("/usr/include/simde"), Path("/usr/local/include/simde"))


def built(folder: Path, *options: str) -> Path:
    """The folder of the native tests, built with these CMake options; built again only where a source has changed."""
    cmake = pytest.importorskip("cmake", reason="cmake is not installed: pip install '.[dev]'")
    pytest.importorskip("nanobind", reason="nanobind is not installed: pip install '.[dev]'")
    if shutil.which("c++") is None:
        pytest.skip("there is no C++ compiler here")
    program = str(Path(cmake.CMAKE_BIN_DIR) / "cmake")
    ninja = Path(sys.executable).with_name("ninja")
    configure = [program, "-S", str(ROOT), "-B", str(folder), "-G", "Ninja", "-DJCB_BUILD_TESTS=ON", "-DJCB_CUDA=off"]
    configure += [f"-DPython_EXECUTABLE={sys.executable}", *options]
    configure += [f"-DCMAKE_MAKE_PROGRAM={ninja}"] if ninja.exists() else []
    for command in (configure, [program, "--build", str(folder), "--target", "native_tests", "--parallel", "2"]):
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stdout[-4000:] + result.stderr[-4000:]
    return folder / "csrc" / "tests"


@pytest.fixture(scope="module")
def native_tests() -> Path:
    return built(BUILD)


@cache
def run(program: Path) -> "subprocess.CompletedProcess[str]":
    if "cuda" in program.name and not program.exists():
        pytest.skip("this compiler has no _Float16, which the emulation of CUDA needs")
    return subprocess.run([program], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("name", PROGRAMS)
def test_native_kernels_keep_their_promises(native_tests: Path, name: str) -> None:
    result = run(native_tests / name)
    assert result.returncode == 0, result.stdout[-4000:] + result.stderr[-4000:]


def test_instruction_sets_this_processor_lacks_are_tested_too(native_tests: Path) -> None:
    if not any(folder.is_dir() for folder in SIMDE):
        pytest.skip(
            "SIMDe headers not found (Debian: libsimde-dev): instruction sets are tested only where they are native"
        )
    # The programs name the sets that they leave out.
    assert "over SIMDe skipped" not in run(native_tests / "test_maxsim_quantized").stdout
    output = run(native_tests / "test_maxsim_error_bound").stdout
    for name in ("avx2", "avx512", "amx", "neon"):
        assert f"{name} over SIMDe" in output


@pytest.mark.slow
@pytest.mark.parametrize("sanitizers", ["address,undefined", "thread"])
def test_sanitizers_find_nothing_in_the_native_tests(sanitizers: str) -> None:
    programs = built(ROOT / "build" / f"native-{sanitizers.split(',')[0]}", f"-DJCB_SANITIZE={sanitizers}")
    for name in PROGRAMS:
        if name in NOT_UNDER.get(sanitizers, ()):
            continue
        result = run(programs / name)
        assert result.returncode == 0, result.stdout[-4000:] + result.stderr[-4000:]


@pytest.mark.slow
def test_native_kernels_keep_their_promises_on_arm() -> None:
    for program in ("aarch64-linux-gnu-g++", "qemu-aarch64"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed (Debian: g++-aarch64-linux-gnu, qemu-user)")
    cmake = pytest.importorskip("cmake", reason="cmake is not installed: pip install '.[dev]'")
    environment = {**os.environ, "PATH": f"{cmake.CMAKE_BIN_DIR}:{os.environ['PATH']}"}
    command = ["bash", str(ROOT / "scripts" / "aarch64.sh")]
    result = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert result.returncode == 0, result.stdout[-4000:] + result.stderr[-4000:]
    assert "neon" in result.stdout
