"""benchmarks/gpu.sh where there is no GPU: it ends, and says of every step by name that it was skipped, and why."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    environment["PYTHON"] = sys.executable
    command = ["bash", str(ROOT / "benchmarks" / "gpu.sh"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


def test_every_step_that_needs_a_gpu_is_skipped_by_name(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    result = run(str(tmp_path / "out"))
    assert result.returncode == 0, result.stdout + result.stderr
    needing = ("building for this GPU", "tests that need a GPU", "measuring differentiable MaxSim")
    sanitizers = (f"compute-sanitizer {tool}" for tool in ("memcheck", "racecheck", "synccheck"))
    for step in (*needing, *sanitizers):
        assert f"skipped: {step}: " in result.stdout
    record = json.loads((tmp_path / "out" / "gpu.json").read_text())
    names = {"answers", "end to end", "4096 candidates", "4096 candidates in host memory", "batch 1"}
    names.add("search among candidates")
    expected = {f"{backend}: {name}" for backend in ("cuda", "triton") for name in names}
    widths = {f"cuda: {name}, {nbits} bits" for name in ("answers", "batch 1", "batch 64") for nbits in (8, 16)}
    widths |= {f"triton: {name}, 16 bits" for name in ("answers", "batch 1")}
    others = {"gpu", "cuda: batch 64", "triton: training", "triton: compressing", "picture"}
    peers = {f"peer: {project}" for project in ("flash-maxsim", "late-interaction-kernels", "fast-plaid")}
    assert set(record["skipped"]) == expected | widths | others | peers
    for peer in peers:
        assert peer.removeprefix("peer: ") in record["skipped"][peer]
    assert all(record["skipped"].values())
    assert "skipped: gpu" in result.stdout or "gpu: skipped: no GPU" in result.stdout


def test_without_a_folder_it_says_how_it_is_called() -> None:
    result = run()
    assert result.returncode == 2
    assert result.stderr == "usage: bash benchmarks/gpu.sh OUT\n"
