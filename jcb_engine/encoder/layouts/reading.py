"""A folder of a known layout -> a checkpoint, or None where sentence-transformers has to load it."""

from __future__ import annotations

from pathlib import Path

from jcb_engine.encoder.backbones.architecture import can_be_packed
from jcb_engine.encoder.checkpoint import Checkpoint
from jcb_engine.encoder.layouts import bge_m3, modules, stanford
from jcb_engine.encoder.layouts.recognition import Layout
from jcb_engine.encoder.model_files import read_json


def read_checkpoint(layout: Layout, folder: Path, name: str, revision: str | None) -> Checkpoint | None:
    """Raises EncoderError where the folder does not hold what its layout promises."""
    if layout is Layout.BGE_M3:
        return bge_m3.read(folder, name, revision)
    if layout is Layout.MODULES:
        return modules.read(folder, name, revision)
    assert layout is Layout.STANFORD, "the others have no projection"
    if not can_be_packed(read_json(folder / "config.json", dict)):
        return None
    return stanford.read(folder, name, revision)
