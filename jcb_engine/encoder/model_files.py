"""The folder of a ColBERT-like checkpoint: from the hub or local, its layout recognised, its files hashed.

What has no trained projection is refused here, because sentence-transformers would add a random one and search on.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from jcb_engine.encoder.hub import HubAccess, download_folder
from jcb_engine.encoder.mini_files import sha256_of_file
from jcb_engine.errors import EncoderError

_SMALL_FILES = ["*.json", "*.txt", "*.model", "*.metadata"]
_WEIGHTS = ("*.safetensors", "*.bin")
# Exports for other runtimes, up to twice the size of the weights.
_OTHER_RUNTIMES = ["onnx/*", "openvino/*"]


def fetch_folder(name: str, access: HubAccess) -> Path:
    """The files of a model on the hub as a folder of its cache; pickled weights only where there are no others.

    Raises EncoderError where they cannot be had, or the model is no late-interaction one (before its weights come).
    """
    folder = download_folder(name, _SMALL_FILES, _OTHER_RUNTIMES, access)
    require_late_interaction(folder, name)
    for pattern in _WEIGHTS:
        folder = download_folder(name, [*_SMALL_FILES, pattern], _OTHER_RUNTIMES, access)
        if any(folder.glob(pattern)):
            return folder
    raise EncoderError(f"'{name}' has no weights ({' or '.join(_WEIGHTS)})")


def require_late_interaction(folder: Path, name: str) -> None:
    """Raises EncoderError unless the folder holds a model with a trained projection of its token vectors."""
    architectures = read_json(folder / "config.json", dict).get("architectures") or []
    modules = read_json(folder / "modules.json", list)
    has_projection = any(str(module.get("type", "")).endswith(".Dense") for module in modules)
    if "HF_ColBERT" in architectures:
        if modules and not has_projection:
            raise EncoderError(
                f"'{name}' is in Stanford's layout, but its modules.json lists no projection and hides the trained "
                "one; use a copy of the folder without modules.json"
            )
        return
    model_type = read_json(folder / "config_sentence_transformers.json", dict).get("model_type")
    if modules and (model_type in ("MultiVectorEncoder", "ColBERT") or _is_pylate(modules)):
        return
    if modules or architectures:
        raise EncoderError(
            f"'{name}' gives one vector for a text or has no trained projection; expected a sentence-transformers "
            "MultiVectorEncoder, or a ColBERT in Stanford's or PyLate's layout"
        )
    raise EncoderError(f"'{name}' is no model: there is neither modules.json nor config.json with architectures")


def _is_pylate(modules: list[Any]) -> bool:
    return any(str(module.get("type", "")).startswith("pylate.") for module in modules)


def read_json(path: Path, kind: Callable[[], Any]) -> Any:
    """A JSON file of a type (dict or list), empty where there is no file. Raises EncoderError for anything else."""
    if not path.is_file():
        return kind()
    try:
        value = json.loads(path.read_bytes())
    except (ValueError, OSError) as error:
        raise EncoderError(f"{path} is no JSON: {error}") from error
    if type(value) is not kind:
        raise EncoderError(f"{path} holds a {type(value).__name__}; expected a {kind.__name__}")
    return value


def weights_sha256(folder: Path) -> str:
    """One hash of all files with weights, names included; in each folder of safetensors alone where there are any."""
    homes = sorted({file.parent for pattern in _WEIGHTS for file in folder.rglob(pattern)})
    files = [file for home in homes for file in _weight_files(home)]
    names: Mapping[str, str] = {file.relative_to(folder).as_posix(): sha256_of_file(file) for file in files}
    return hashlib.sha256(json.dumps(names, sort_keys=True).encode()).hexdigest()


def _weight_files(folder: Path) -> list[Path]:
    return next((found for pattern in _WEIGHTS if (found := sorted(folder.glob(pattern)))), [])


def tokenizer_sha256(folder: Path) -> str | None:
    """Hash of tokenizer.json; None where the tokenizer comes in another form."""
    path = folder / "tokenizer.json"
    return sha256_of_file(path) if path.is_file() else None
