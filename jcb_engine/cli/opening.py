"""Opening an index for text queries, in steps that are timed: imports, then loading."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

from jcb_engine.cli import STARTED
from jcb_engine.storage import Snapshot

if TYPE_CHECKING:
    from jcb_engine.search import Searcher


@dataclass(frozen=True, slots=True)
class Opening:
    """What the command line says about the index and how to search it. None: the default of the engine."""

    path: Path
    model: str | None
    backend: str | None
    threads: int | None
    device: str | None = None
    first_stage: str | None = None


@dataclass(frozen=True, slots=True)
class Opened:
    """A searcher with its encoder loaded, and the seconds that took."""

    searcher: Searcher
    import_seconds: float
    load_seconds: float


def opened(opening: Opening) -> Opened:
    """Open the index and load its encoder. Raises the errors of opening before anything heavy is imported."""
    with Snapshot.open(opening.path) as snapshot:
        settings = snapshot.manifest.settings
        needs_faiss = settings.get("faiss_factory", "Flat") != "Flat" or settings.get("muvera") is not None
    from jcb_engine.search import Searcher

    # What loading would import on the way: imported before, so that the timings tell the two apart.
    for module in ("torch", "faiss") if needs_faiss else ("torch",):
        # whether one is needed, and which extra brings it, is for those to say who use it
        with suppress(ImportError):
            import_module(module)
    imported = perf_counter()
    searcher = Searcher.open(
        opening.path,
        encoder=opening.model,
        backend=opening.backend,
        threads=opening.threads,
        device=opening.device,
        first_stage=opening.first_stage,
    )
    searcher.encoder()
    return Opened(searcher, imported - STARTED, perf_counter() - imported)
