"""What every benchmark shares: timing by medians, and result files that say where they come from."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
_PACKAGES = ("numpy", "torch", "faiss-cpu", "transformers", "sentence-transformers")


@dataclass(frozen=True)
class Times:
    """Seconds of several runs of one thing."""

    median: float
    fastest: float
    p95: float
    runs: int

    @classmethod
    def of(cls, seconds: list[float]) -> Times:
        ordered = sorted(seconds)
        p95 = ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))]
        return cls(statistics.median(ordered), ordered[0], p95, len(ordered))


def timed(call: Callable[[], object], runs: int, warm_up: int = 1) -> Times:
    """Run `call` several times; a warm-up is not counted."""
    for _ in range(warm_up):
        call()
    seconds = []
    for _ in range(runs):
        began = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - began)
    return Times.of(seconds)


def write_result(name: str, settings: dict[str, Any], figures: dict[str, Any], folder: Path = RESULTS) -> Path:
    """Write <folder>/<name>.json: what was measured, on what, from which commit."""
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}.json"
    record = {
        "benchmark": name,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "uncommitted_changes": bool(_git("status", "--porcelain", "--untracked-files=no")),
        "machine": machine(),
        "packages": _versions(),
        "settings": settings,
        "figures": figures,
    }
    path.write_text(json.dumps(record, indent=2, default=_plain) + "\n")
    root = RESULTS.parent.parent
    print(f"wrote {path.relative_to(root) if path.is_relative_to(root) else path}")
    return path


def commit() -> str:
    """The commit that is checked out."""
    return _git("rev-parse", "HEAD")


def memory_of(pid: int) -> tuple[int, int]:
    """RssAnon and VmHWM (the kernel's own record of the highest resident size) in bytes."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0, 0
    values = {
        line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines if line.startswith(("RssAnon", "VmHWM"))
    }
    return values.get("RssAnon", 0), values.get("VmHWM", 0)


@dataclass(frozen=True)
class Watched:
    """What a process took: seconds, and the highest RssAnon (file cache apart) and resident size in bytes."""

    seconds: float
    peak_rss_anon_bytes: int
    peak_rss_bytes: int


def watched(command: list[str], environment: dict[str, str] | None = None) -> Watched:
    """Run a process to its end and watch its memory; SystemExit where it fails."""
    began = time.perf_counter()
    process = subprocess.Popen(command, env={**os.environ, **(environment or {})})
    peak = largest = 0
    try:
        while process.poll() is None:
            anonymous, resident = memory_of(process.pid)
            peak, largest = max(peak, anonymous), max(largest, resident)
            time.sleep(0.02)
    finally:
        process.kill()
    if process.returncode != 0:
        raise SystemExit(f"{' '.join(command[1:])} failed")
    return Watched(time.perf_counter() - began, peak, largest)


def machine() -> dict[str, Any]:
    """Processor, cores and memory; no names of hosts or paths."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(memory / 2**30, 1),
        "system": platform.system(),
        "python": platform.python_version(),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    facts = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    features = facts.get("flags", facts.get("Features", "")).split()  # on x86, on ARM
    flags = {"avx2", "avx512f", "avx512_vnni", "asimddp"} & set(features)
    family = f"family {facts.get('cpu family', '?')} model {facts.get('model', '?')}"
    return f"{facts.get('model name', 'unknown')} ({family}; {', '.join(sorted(flags)) or 'baseline'})"


def _versions() -> dict[str, str]:
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _git(*arguments: str) -> str:
    """What git says, or nothing where there is no git."""
    try:
        result = subprocess.run(["git", *arguments], capture_output=True, text=True, cwd=RESULTS.parent, check=False)
    except OSError:
        return ""
    return result.stdout.strip()


def _plain(value: object) -> object:
    if isinstance(value, Times):
        return asdict(value)
    if hasattr(value, "item"):
        return value.item()
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")
