"""The native tests: every instruction set against a double-precision reference, the lacking ones over SIMDe."""

import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BUILD = ROOT / "build" / "native-tests"
SIMDE = (Path("/usr/include/simde"), Path("/usr/local/include/simde"))


@pytest.fixture(scope="module")
def native_tests() -> Path:
    """The folder of the built native tests; built again only where a source has changed."""
    cmake = pytest.importorskip("cmake", reason="cmake is not installed: pip install '.[dev]'")
    pytest.importorskip("nanobind", reason="nanobind is not installed: pip install '.[dev]'")
    if shutil.which("c++") is None:
        pytest.skip("there is no C++ compiler here")
    program = str(Path(cmake.CMAKE_BIN_DIR) / "cmake")
    ninja = Path(sys.executable).with_name("ninja")
    configure = [program, "-S", str(ROOT), "-B", str(BUILD), "-G", "Ninja", "-DJCB_BUILD_TESTS=ON", "-DJCB_CUDA=off"]
    configure += [f"-DPython_EXECUTABLE={sys.executable}"]
    configure += [f"-DCMAKE_MAKE_PROGRAM={ninja}"] if ninja.exists() else []
    for command in (configure, [program, "--build", str(BUILD), "--target", "native_tests", "--parallel", "2"]):
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stdout[-4000:] + result.stderr[-4000:]
    return BUILD / "csrc" / "tests"


@cache
def run(program: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([program], capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    "name",
    [
        "test_maxsim_quantized",
        "test_maxsim_error_bound",
        "test_maxsim_bad_input",
        "test_read_ahead",
        "test_vector_kernels",
    ],
)
def test_native_kernels_keep_their_promises(native_tests: Path, name: str) -> None:
    result = run(native_tests / name)
    assert result.returncode == 0, result.stdout[-4000:] + result.stderr[-4000:]


def test_instruction_sets_this_processor_lacks_are_tested_too(native_tests: Path) -> None:
    if not any(folder.is_dir() for folder in SIMDE):
        pytest.skip("SIMDe headers not found (Debian: libsimde-dev): AVX2 and AVX-512 run only where they are native")
    # The programs name the sets that they leave out.
    assert "over SIMDe skipped" not in run(native_tests / "test_maxsim_quantized").stdout
    assert "avx512 over SIMDe" in run(native_tests / "test_maxsim_error_bound").stdout
