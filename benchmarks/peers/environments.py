"""One virtual environment per peer, versions pinned.

All that link to torch pin 2.11, whose only build on PyPI for x86-64 brings CUDA (5 GB; it runs without a GPU, on the
CPU alone). It is installed once, and a .pth file shows it to the environments that need it.
"""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from benchmarks.corpora import CACHE

ENVIRONMENTS = CACHE.parent / "peers" / "environments"
_DISK_GB = 12


@dataclass(frozen=True)
class Environment:
    requirements: tuple[str, ...]
    torch: bool = True


SHARED = Environment(("torch==2.11.0", "numpy==2.3.5"), torch=False)
PEERS = {
    "fast-plaid": Environment(("fast-plaid==1.7.0.2110",)),
    "xtr-warp-rs": Environment(("xtr-warp-rs==2.1.0.2110",)),
    "pylate": Environment(("pylate==1.6.0",)),
    "colbert-ai": Environment(("colbert-ai==0.2.22", "transformers==5.24.0", "faiss-cpu==1.15.1")),
    "maxsim-cpu": Environment(("maxsim-cpu==0.1.0", "numpy==2.3.5"), torch=False),
    # tachiom has wheels for glibc 2.39 and newer only; its source needs a nightly Rust compiler.
    "tachiom": Environment(("tachiom==0.4.0", "numpy==2.3.5"), torch=False),
}


def interpreter(name: str) -> Path:
    """The Python of a peer; SystemExit where it is not installed."""
    python = ENVIRONMENTS / name / "bin" / "python"
    if not (ENVIRONMENTS / name / "installed").exists():
        raise SystemExit(f"{name} is not installed; run python -m benchmarks.peers environments")
    return python


def version_of(name: str) -> str:
    return PEERS[name].requirements[0].partition("==")[2]


def make_environments(names: list[str]) -> dict[str, str]:
    """Install what is missing; {name: "installed" or why it cannot be}."""
    if sys.version_info[:2] != (3, 11):
        print(f"note: the pins were tried with Python 3.11, this is {platform.python_version()}")
    ENVIRONMENTS.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(ENVIRONMENTS).free / 1e9
    if free < _DISK_GB and not (ENVIRONMENTS / "torch" / "installed").exists():
        raise SystemExit(f"{free:.0f} GB are free at {ENVIRONMENTS}, {_DISK_GB} are needed")
    outcome = {}
    for name in names:
        complaint = _unsuitable(name)
        if complaint is None and PEERS[name].torch:
            complaint = _install("torch", SHARED)
        outcome[name] = complaint or _install(name, PEERS[name]) or "installed"
        print(f"{name}: {outcome[name]}")
    return outcome


def _unsuitable(name: str) -> str | None:
    library, version = platform.libc_ver()
    if name == "tachiom" and tuple(int(part) for part in version.split(".")) < (2, 39):
        return f"not installed: its wheels need glibc 2.39, here is {library} {version}"
    return None


def _install(name: str, environment: Environment) -> str | None:
    """What went wrong, or None."""
    folder = ENVIRONMENTS / name
    if (folder / "installed").exists():
        return None
    python = folder / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    if environment.torch:
        _packages(folder).joinpath("torch.pth").write_text(f"{_packages(ENVIRONMENTS / 'torch')}\n")
    command = [str(python), "-m", "pip", "install", "--progress-bar", "off", *environment.requirements]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        return "not installed: " + (result.stderr.strip().splitlines() or ["pip failed"])[-1]
    (folder / "installed").write_text("\n".join(environment.requirements) + "\n")
    return None


def _packages(folder: Path) -> Path:
    return next((folder / "lib").glob("python*")) / "site-packages"
