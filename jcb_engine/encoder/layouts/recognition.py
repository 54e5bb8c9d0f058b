"""Which layout a folder has, told by its small files, before any weights are read or fetched."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Any

from jcb_engine.encoder.model_files import read_json
from jcb_engine.errors import EncoderError

BGE_M3_HEAD = "colbert_linear.pt"


class Layout(Enum):
    """STANFORD: a head beside the backbone. MODULES: sentence-transformers' or PyLate's folders with a projection.

    BGE_M3: a head in a file of its own. SINGLE_VECTOR: sentence-transformers' modules that end in one vector.
    BARE: an encoder without anything.
    """

    STANFORD = "Stanford"
    MODULES = "modules"
    BGE_M3 = "BGE-M3"
    SINGLE_VECTOR = "single-vector"
    BARE = "bare encoder"


def recognise(folder: Path, name: str) -> Layout:
    """Raises EncoderError for a folder that is no model."""
    config = read_json(folder / "config.json", dict)
    modules = read_modules(folder)
    if (folder / BGE_M3_HEAD).is_file():
        return Layout.BGE_M3
    if _is_late_interaction(folder, modules):
        return Layout.MODULES
    # Before plain modules: some repositories carry a modules.json that knows nothing of their head.
    if "HF_ColBERT" in (config.get("architectures") or []):
        return Layout.STANFORD
    if modules:
        return Layout.SINGLE_VECTOR
    if config.get("model_type") or config.get("architectures"):
        return Layout.BARE
    raise EncoderError(f"'{name}' is no model: there is neither modules.json nor a config.json with a model_type")


def read_modules(folder: Path) -> list[Mapping[str, Any]]:
    """The entries of modules.json; none where there is no such file. Raises EncoderError where they are no entries."""
    modules: list[Mapping[str, Any]] = read_json(folder / "modules.json", list)
    for module in modules:
        if not isinstance(module, dict) or not isinstance(module.get("type"), str):
            raise EncoderError(f"{folder / 'modules.json'} lists {module!r}; expected an object with a type and a path")
    return modules


def module_folder(folder: Path, module: Mapping[str, Any]) -> Path:
    """Where a module's files are. Raises EncoderError for a path that leads out of the folder."""
    path = str(module.get("path") or "")
    if Path(path).is_absolute() or ".." in Path(path).parts:
        raise EncoderError(f"{folder / 'modules.json'} names the path {path!r}; expected one within the folder")
    return folder / path


def backbone_folder(folder: Path) -> Path:
    """Where config.json, weights and tokenizer are: the first module's folder, or the folder itself."""
    modules = read_modules(folder)
    return module_folder(folder, modules[0]) if modules else folder


def _is_late_interaction(folder: Path, modules: list[Mapping[str, Any]]) -> bool:
    model_type = read_json(folder / "config_sentence_transformers.json", dict).get("model_type")
    if model_type in ("MultiVectorEncoder", "ColBERT"):
        return bool(modules)
    return any(module["type"].startswith("pylate.") for module in modules)
