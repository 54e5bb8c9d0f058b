"""From a name, a path or an object to a family of encoders. A new family is one module and one branch here."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jcb_engine.encoder.hub import HubAccess
from jcb_engine.encoder.model import EncoderModel
from jcb_engine.encoder.model_files import fetch_folder, read_json, require_late_interaction
from jcb_engine.encoder.objects import ObjectModel
from jcb_engine.encoder.record import EncoderRecord
from jcb_engine.errors import EncoderError, InputError, MissingDependencyError
from jcb_engine.types import TokenEncoder

_MINI = re.compile(r"mini(?:@(?P<version>.*))?")
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
_JINA = re.compile(r"jinaai/jina-colbert-v2(-\d+)?")
WHAT_LOADS = (
    "'mini', 'mini@<version>', the folder or the hub name ('owner/name') of a sentence-transformers MultiVectorEncoder "
    "or of a ColBERT in Stanford's or PyLate's layout, or an object with encode_query and encode_document"
)


def load_model(source: str | os.PathLike[str] | TokenEncoder, dim: int | None, access: HubAccess) -> EncoderModel:
    """Raises InputError for what names no encoder, EncoderError for one that cannot be loaded."""
    if not isinstance(source, str | os.PathLike):
        # a class has the methods of its objects, too
        if isinstance(source, TokenEncoder) and not isinstance(source, type):
            return ObjectModel(source, dim)
        raise InputError(f"a {type(source).__name__} came as an encoder; what loads is {WHAT_LOADS}")
    name = os.fspath(source)
    mini = _MINI.fullmatch(name) if isinstance(source, str) else None
    if mini:
        return _load_mini(dim, mini["version"], access)
    folder = _expanded(name)
    if name and folder.is_dir():
        return _load_folder(folder, dim)
    if not isinstance(source, str) or not _HUB_NAME.fullmatch(name):
        raise EncoderError(f"there is no model folder '{name}'; what loads is {WHAT_LOADS}")
    if _JINA.fullmatch(name):
        raise EncoderError(_jina_message(name))
    return _load_multi_vector(fetch_folder(name, access), name, dim)


def _expanded(name: str) -> Path:
    """The path that a name stands for, `~` as the home folder where there is one."""
    try:
        return Path(name).expanduser()
    except RuntimeError:  # ~user of a user who does not exist
        return Path(name)


def load_record(record: EncoderRecord, access: HubAccess) -> EncoderModel:
    """What loads today under a record's name. Raises EncoderError where it cannot be loaded by name."""
    if record.family == ObjectModel.FAMILY:
        raise EncoderError(
            f"the index was made with an object of {record.name}, which cannot be loaded by name; pass such an object"
        )
    return load_model(record.name, record.dim, access)


def _load_mini(dim: int | None, version: str | None, access: HubAccess) -> EncoderModel:
    if version is not None and not version.isdecimal():
        raise InputError(f"'mini@{version}' names no version; a number follows the @, as in 'mini@1'")
    try:
        from jcb_engine.encoder.mini import MiniModel
    except ModuleNotFoundError as error:
        raise _missing(error, "'mini'", "mini") from error
    return MiniModel(dim, None if version is None else int(version), access)


def _load_folder(folder: Path, dim: int | None) -> EncoderModel:
    if _is_jina_colbert(read_json(folder / "config.json", dict)):
        raise EncoderError(_jina_message(str(folder)))
    require_late_interaction(folder, str(folder))
    return _load_multi_vector(folder.resolve(), None, dim)


def _load_multi_vector(folder: Path, hub_name: str | None, dim: int | None) -> EncoderModel:
    try:
        from jcb_engine.encoder.multi_vector import MultiVectorModel
    except ModuleNotFoundError as error:
        raise _missing(error, f"'{hub_name or folder}'", "models") from error
    return MultiVectorModel(folder, hub_name, dim)


def _missing(error: ModuleNotFoundError, needing: str, extra: str) -> Exception:
    """What to tell of a module that is not there: one of ours is a defect, not a missing extra."""
    if error.name is None or error.name.partition(".")[0] == "jcb_engine":
        return error
    return MissingDependencyError(
        f"{needing} needs the package {error.name}; install it with: pip install 'jcb-engine[{extra}]'"
    )


def _is_jina_colbert(config: Mapping[str, Any]) -> bool:
    """Jina's checkpoints are told by their architecture and their rotary XLM-R; they have no model_type."""
    is_colbert = config.get("architectures") == ["HF_ColBERT"]
    return is_colbert and "model_type" not in config and config.get("position_embedding_type") == "rotary"


def _jina_message(name: str) -> str:
    return f"this version of jcb-engine does not load Jina-ColBERT-v2 ('{name}'); what loads is {WHAT_LOADS}"
