"""The files of a checkpoint: from the hub or local, read as JSON, hashed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from jcb_engine.encoder.hub import HubAccess, download_folder
from jcb_engine.encoder.mini_files import sha256_of_file
from jcb_engine.errors import EncoderError

# What tells a layout and its rules. BGE-M3's head tells its layout; Dense layers may be pickled beside a backbone that
# is not.
_SMALL_FILES = ["*.json", "*.txt", "*.model", "*.metadata", "colbert_linear.pt", "*_Dense/*.bin"]
_WEIGHTS = ("*.safetensors", "*.bin")
# Exports for other runtimes, up to twice the size of the weights.
_OTHER_RUNTIMES = ["onnx/*", "openvino/*", "vespa*"]


def fetch_small_files(name: str, access: HubAccess) -> Path:
    """All of a model on the hub but its weights, as a folder of its cache. Raises EncoderError."""
    return download_folder(name, _SMALL_FILES, _OTHER_RUNTIMES, access)


def fetch_weights(name: str, access: HubAccess, home: str = "") -> Path:
    """The files of a model on the hub as a folder of its cache; pickled weights only where there are no others.

    home: where in it the backbone's weights are. Raises EncoderError where they cannot be had.
    """
    for pattern in _WEIGHTS:
        folder = download_folder(name, [*_SMALL_FILES, pattern], _OTHER_RUNTIMES, access)
        if any((folder / home).glob(pattern)):
            return folder
    where = "in the hub's cache on this machine" if access.local_files_only else "on the hub"
    raise EncoderError(f"'{name}' has no weights {where} ({' or '.join(_WEIGHTS)})")


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
    """One hash of the files with weights, names included; in each folder of safetensors alone where there are any.

    Those of the folder itself and of its modules: exports for other runtimes and checkpoints of training lie beside
    them, and do not change the model.
    """
    modules = read_json(folder / "modules.json", list)
    paths = {"", *(str(module.get("path") or "") for module in modules if isinstance(module, dict))}
    homes = sorted({folder / path for path in paths})
    heads = sorted(folder.glob("colbert_linear.pt"))
    files = [*(file for home in homes for file in _weight_files(home)), *heads]
    names: Mapping[str, str] = {file.relative_to(folder).as_posix(): sha256_of_file(file) for file in files}
    return hashlib.sha256(json.dumps(names, sort_keys=True).encode()).hexdigest()


def _weight_files(folder: Path) -> list[Path]:
    return next((found for pattern in _WEIGHTS if (found := sorted(folder.glob(pattern)))), [])


def tokenizer_sha256(folder: Path) -> str | None:
    """Hash of tokenizer.json; None where the tokenizer comes in another form."""
    path = folder / "tokenizer.json"
    return sha256_of_file(path) if path.is_file() else None
