"""Builds the native kernels: checks the compiler, then runs CMake. Everything else is in pyproject.toml.

Environment: CXX names the compiler, JCB_CUDA=auto|on|off decides about the CUDA kernels (csrc/cuda.cmake).
`python setup.py build_ext --inplace` builds into the source tree, and builds again only what changed.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
CUDA_CHOICES = ("auto", "on", "off")
# What the kernels use of C++20, in the words of the two compilers that are supported.
CXX20_PROBE = """
#include <bit>
#include <concepts>
#include <span>
template <std::integral Count> constexpr int width(Count count) { return std::bit_width(static_cast<unsigned>(count)); }
typedef float Lanes __attribute__((vector_size(16)));
int main() { int values[2] = {1, 2}; Lanes lanes = {}; return std::span(values).size() + width(1) + int(lanes[0]) - 3; }
"""


def compiler() -> list[str]:
    """The C++20 compiler's command, checked by compiling a small program; SystemExit says what is missing."""
    named = os.environ.get("CXX")
    candidates = [shlex.split(named)] if named else [["c++"], ["g++"], ["clang++"]]
    complaints = []
    for command in candidates:
        complaint = _compiler_complaint(command)
        if complaint is None:
            return command
        complaints.append(complaint)
    raise SystemExit(
        "error: jcb-engine needs a C++20 compiler, GCC 11 or newer or Clang 14 or newer: "
        + "; ".join(complaints)
        + ". Install one (Debian, Ubuntu: apt-get install g++; Fedora: dnf install gcc-c++), "
        "or name it by the environment variable CXX."
    )


def _compiler_complaint(command: list[str]) -> str | None:
    if not command or shutil.which(command[0]) is None:
        return f"{shlex.join(command)} was not found"
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "probe.cpp")
        source.write_text(CXX20_PROBE)
        probe = [*command, "-std=c++20", "-c", str(source), "-o", str(Path(folder, "probe.o"))]
        result = subprocess.run(probe, capture_output=True, text=True, check=False)
    if result.returncode == 0:
        return None
    first_line = next(iter(result.stderr.strip().splitlines()), f"exit status {result.returncode}")
    return f"{shlex.join(command)} cannot compile C++20 ({first_line})"


def cuda_choice() -> str:
    """JCB_CUDA from the environment; SystemExit when it is none of the three words."""
    choice = os.environ.get("JCB_CUDA") or "auto"
    if choice not in CUDA_CHOICES:
        raise SystemExit(f"error: JCB_CUDA is {choice!r}; allowed are {', '.join(CUDA_CHOICES)}")
    return choice


def build_tool(name: str, folder_attribute: str) -> str:
    """Path of cmake or ninja: from the package of that name (a build requirement), else from PATH."""
    if find_spec(name) is not None:
        folder = getattr(__import__(name), folder_attribute, None)
        path = shutil.which(name, path=folder) if folder else None
        if path is not None:
            return path
    path = shutil.which(name)
    if path is None:
        raise SystemExit(f"error: building jcb-engine needs {name}: pip install {name}")
    return path


class FreshModules(build_py):
    """Copies the Python modules into an empty folder, so that one deleted since the last build is not installed."""

    def run(self) -> None:
        if not self.editable_mode:
            shutil.rmtree(Path(self.build_lib, "jcb_engine"), ignore_errors=True)
        super().run()


class CMakeBuild(build_ext):
    """Builds the one extension, jcb_engine.kernels._cpu, with CMake and Ninja."""

    def build_extension(self, ext: Extension) -> None:
        command = compiler()
        cmake = build_tool("cmake", "CMAKE_BIN_DIR")
        build_folder = Path(self.build_temp).resolve() / "cmake"
        build_folder.mkdir(parents=True, exist_ok=True)
        settings = self._settings(ext, command)
        # Build requirements live in a new temporary folder at every isolated build: a cache that names an old one
        # must not be used again.
        record = build_folder / "jcb_settings.json"
        fresh = ["--fresh"] if not record.exists() or json.loads(record.read_text()) != settings else []
        configure = [cmake, "-S", str(ROOT), "-B", str(build_folder), "-G", "Ninja", *fresh]
        self._run([*configure, *(f"-D{name}={value}" for name, value in settings.items())])
        record.write_text(json.dumps(settings))
        self._run([cmake, "--build", str(build_folder), "--target", "_cpu", *self._jobs()])
        self._build_cuda(cmake, build_folder)

    def _settings(self, ext: Extension, command: list[str]) -> dict[str, str]:
        if find_spec("nanobind") is None:
            raise SystemExit("error: building jcb-engine needs nanobind: pip install nanobind")
        import nanobind

        settings = {
            "CMAKE_BUILD_TYPE": "Release",
            "CMAKE_CXX_COMPILER": str(shutil.which(command[0])),
            "CMAKE_MAKE_PROGRAM": build_tool("ninja", "BIN_DIR"),
            "CMAKE_LIBRARY_OUTPUT_DIRECTORY": str(Path(self.get_ext_fullpath(ext.name)).resolve().parent),
            "Python_EXECUTABLE": sys.executable,
            "nanobind_DIR": nanobind.cmake_dir(),
            "JCB_CUDA": cuda_choice(),
        }
        if command[1:]:
            settings["CMAKE_CXX_FLAGS"] = shlex.join(command[1:])
        return settings

    def _jobs(self) -> list[str]:
        jobs = self.parallel or len(os.sched_getaffinity(0))
        return ["--parallel", str(jobs)]

    def _build_cuda(self, cmake: str, build_folder: Path) -> None:
        """Build the CUDA kernels where CMake decided so; a failure leaves a package that works without them."""
        if not (build_folder / "jcb_cuda_wanted").exists():
            return
        try:
            self._run([cmake, "--build", str(build_folder), "--target", "_cuda", *self._jobs()])
        except SystemExit:
            self.warn("the CUDA kernels failed to build (see above); jcb-engine will work without them")

    def _run(self, command: list[str]) -> None:
        self.announce(shlex.join(command), level=2)
        if subprocess.run(command, check=False).returncode != 0:
            raise SystemExit(f"error: {shlex.join(command[:3])} ... failed; its output is above")


if __name__ == "__main__":
    cuda_choice()
    setup(
        ext_modules=[Extension("jcb_engine.kernels._cpu", sources=[])],
        cmdclass={"build_ext": CMakeBuild, "build_py": FreshModules},
    )
