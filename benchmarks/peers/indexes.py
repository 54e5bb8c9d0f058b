"""Indexes of all engines, built once and kept: found again by the vectors, the version and the settings."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.corpora import CACHE
from benchmarks.harness import machine, memory_of
from benchmarks.peers.engines import Engine

INDEXES = CACHE.parent / "peers" / "indexes"
_POLL_SECONDS = 0.02


@dataclass(frozen=True)
class BuiltIndex:
    """`record`: seconds, tokens_per_second, centroids, peak_rss_anon_bytes, load_average_before, machine."""

    engine: Engine
    path: Path
    record: dict[str, Any]


def index_key(vectors: str, engine: Engine, centroids: int, seed: int) -> str:
    """What has to be equal for an index to be used again."""
    parts = [vectors, engine.name, engine.version, engine.nbits, centroids, seed]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def index_folder(documents: Path, engine: Engine, centroids: int, seed: int) -> Path:
    return INDEXES / f"{engine.label}-{index_key(documents.name, engine, centroids, seed)}"


def built_index(folder: Path, engine: Engine) -> BuiltIndex | None:
    """The index, where it was finished."""
    record = folder / "build.json"
    return BuiltIndex(engine, folder / "index", json.loads(record.read_text())) if record.exists() else None


def build_index(folder: Path, engine: Engine, job: dict[str, Any], tokens: int) -> BuiltIndex:
    """Build in a process of its own, its RssAnon watched; build.json is written last. SystemExit when it fails."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "index").mkdir(parents=True)
    if engine.driver == "own_driver.py":
        (folder / "index").rmdir()  # ours makes its own
    job = {**job, "index": str(folder / "index")}
    (folder / "job.json").write_text(json.dumps(job))
    load = os.getloadavg()[0]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [*engine.command(), "build", str(folder / "job.json")],
            stdout=subprocess.PIPE, stderr=log, text=True, env=driver_environment(engine, job["threads"]),
        )  # fmt: skip
        try:
            peak = _watched(process)
        finally:
            process.kill()  # where this was interrupted; ended otherwise
        output, _ = process.communicate()
    if process.returncode != 0:
        raise SystemExit(f"the build of {engine.label} failed (exit status {process.returncode}): see {folder / 'log'}")
    answer = json.loads(output)
    record = {
        **answer,
        "tokens_per_second": tokens / answer["seconds"],
        "peak_rss_anon_bytes": peak,
        "load_average_before": load,
        "machine": machine(),
    }
    (folder / "build.json").write_text(json.dumps(record, indent=2) + "\n")
    return BuiltIndex(engine, folder / "index", record)


def _watched(process: subprocess.Popen[str]) -> int:
    """The highest RssAnon until the process ends."""
    peak = 0
    while process.poll() is None:
        peak = max(peak, memory_of(process.pid)[0])
        time.sleep(_POLL_SECONDS)
    return peak


def driver_environment(engine: Engine, threads: int) -> dict[str, str]:
    """The same for all: as many threads in every library that asks, no GPU; the source tree for ours alone."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS", "JCB_THREADS")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("OPENBLAS_", "PYTHON"))}
    return kept | dict.fromkeys(names, str(threads)) | {"CUDA_VISIBLE_DEVICES": ""} | engine.environment()


def folder_bytes(folder: Path) -> int:
    """Sizes of all files, whatever they are for."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
