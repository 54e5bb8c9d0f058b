"""Which engines are compared, with which settings; every search is by one query, from Python."""

from __future__ import annotations

import hashlib
import math
import os
import sys
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

from benchmarks.peers.environments import interpreter, version_of

DRIVERS = Path(__file__).parent / "drivers"
ROOT = Path(__file__).parent.parent.parent
OWN = "jcb-engine"
_PROBES, _CANDIDATES = (2, 4, 8, 16, 32), (16, 32, 64, 128, 256, 512)
# What decides the bytes of an index of ours; encoders and command lines do not.
_OWN_SOURCES = ("jcb_engine/codec", "jcb_engine/indexing", "jcb_engine/kernels", "jcb_engine/storage", "csrc")


@dataclass(frozen=True)
class Search:
    """One setting. most_queries: how many are asked over all rounds together, for settings so slow that not every query
    can be asked in every round; None asks all in each."""

    name: str
    parameters: dict[str, Any] = field(default_factory=dict)
    most_queries: int | None = None


@dataclass(frozen=True)
class Engine:
    """One index of one engine."""

    name: str
    nbits: int
    version: str
    driver: str
    searches: tuple[Search, ...]

    @property
    def label(self) -> str:
        return f"{self.name}-{self.nbits}bits"

    def command(self) -> list[str]:
        python = Path(sys.executable) if self.name in (OWN, "torch") else interpreter(self.name)
        return [str(python), str(DRIVERS / self.driver)]

    def environment(self) -> dict[str, str]:
        """Ours alone finds this source tree; colbert-ai its ninja, and a place for what it compiles."""
        if self.name == "colbert-ai":
            programs = interpreter(self.name).parent
            path = f"{programs}{os.pathsep}{os.environ.get('PATH', '')}"
            return {"PATH": path, "TORCH_EXTENSIONS_DIR": str(programs.parent / "extensions")}
        return {"PYTHONPATH": str(ROOT)} if self.name == OWN else {}


def engines() -> list[Engine]:
    """All indexes, in the order in which they are built: the slowest build first."""
    own = _own_version()
    found = []
    for nbits in (4, 2):
        found += [
            Engine("fast-plaid", nbits, version_of("fast-plaid"), "fast_plaid_driver.py", _FAST_PLAID),
            Engine("xtr-warp-rs", nbits, version_of("xtr-warp-rs"), "xtr_warp_driver.py", _XTR_WARP),
            Engine("colbert-ai", nbits, version_of("colbert-ai"), "colbert_driver.py", _COLBERT),
        ]
    # Over fast-plaid 1.4, which it pins: one index shows what its layer adds.
    pylate = Search("default", most_queries=100)
    found.append(Engine("pylate", 4, version_of("pylate"), "pylate_driver.py", (pylate,)))
    return found + [Engine(OWN, nbits, own, "own_driver.py", _OWN) for nbits in (4, 2, 1)]


def centroid_count(tokens: int) -> int:
    """The rule of PLAID, fast-plaid and xtr-warp-rs, which all engines get: 16 * sqrt(tokens), rounded down to 2^n."""
    return int(2 ** math.floor(math.log2(16 * math.sqrt(tokens))))


_FAST_PLAID = (
    Search("4 probes, 256 full scores", {"n_ivf_probe": 4, "n_full_scores": 256}, most_queries=300),
    Search("default", {}, most_queries=300),
)
_XTR_WARP = (Search("default"), Search("64 probes, bound 256", {"nprobe": 64, "bound": 256}))
# What its Searcher takes for up to 10, 100 and more hits.
_COLBERT = (
    Search("default", {"ncells": 1, "centroid_score_threshold": 0.5, "ndocs": 256}, most_queries=300),
    Search(
        "2 cells, 1,024 documents", {"ncells": 2, "centroid_score_threshold": 0.45, "ndocs": 1024}, most_queries=300
    ),
    Search("4 cells, 4,096 documents", {"ncells": 4, "centroid_score_threshold": 0.4, "ndocs": 4096}, 100),
)
_OWN = (
    *(
        Search(f"{probes} probes, {candidates} candidates", {"probes": probes, "candidates": candidates})
        for probes, candidates in product(_PROBES, _CANDIDATES)
    ),
    Search("default"),
    Search("exact", {"exact": True}, most_queries=300),
)


def _own_version() -> str:
    """A hash of the sources that decide what an index of ours holds."""
    digest = hashlib.sha256()
    for folder in _OWN_SOURCES:
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix in (".py", ".cpp", ".h"):
                digest.update(path.relative_to(ROOT).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:12]
