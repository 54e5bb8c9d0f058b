"""Models that are known by name: what they give, in which languages, and under which licence."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_log = logging.getLogger("jcb_engine")
_NON_COMMERCIAL = "CC-BY-NC-4.0"


@dataclass(frozen=True, slots=True)
class KnownModel:
    """dims: of the vectors. longest: the most tokens that it takes.

    query_length, document_length: tokens by default; None: as its files say.

    languages: in words. licence: of the weights. extra: of jcb-engine, which it needs.
    """

    name: str
    dims: tuple[int, ...]
    query_length: int | None
    document_length: int | None
    longest: int
    languages: str
    licence: str
    extra: str = "models"


_MANY = "89 languages"
KNOWN_MODELS = (
    KnownModel("mini", (64, 96, 128, 256, 384), 64, 256, 256, "English", "Apache-2.0", "mini"),
    KnownModel("jinaai/jina-colbert-v2", (128,), 32, 300, 8192, _MANY, _NON_COMMERCIAL),
    KnownModel("jinaai/jina-colbert-v2-96", (96,), 32, 300, 8192, _MANY, _NON_COMMERCIAL),
    KnownModel("jinaai/jina-colbert-v2-64", (64,), 32, 300, 8192, _MANY, _NON_COMMERCIAL),
    KnownModel("jinaai/jina-colbert-v1-en", (128,), 32, None, 8192, "English", "Apache-2.0"),
    KnownModel("colbert-ir/colbertv2.0", (128,), 32, 180, 512, "English", "MIT"),
    KnownModel("answerdotai/answerai-colbert-small-v1", (96,), 32, None, 512, "English", "Apache-2.0"),
    KnownModel("mixedbread-ai/mxbai-colbert-large-v1", (128,), 32, None, 512, "English", "Apache-2.0"),
    KnownModel("lightonai/GTE-ModernColBERT-v1", (128,), 32, 300, 8192, "English", "Apache-2.0"),
    KnownModel("BAAI/bge-m3", (1024,), 512, 8192, 8192, "over 100 languages", "MIT"),
    KnownModel("antoinelouis/colbert-xm", (128,), 32, None, 512, "81 languages", "MIT"),
)


def is_non_commercial(name: str, config: Mapping[str, Any]) -> bool:
    """Whether a checkpoint's weights are Jina's and not free for commercial use: by its name, or what it names."""
    known = next((model for model in KNOWN_MODELS if model.name == name), None)
    if known is not None:
        return known.licence == _NON_COMMERCIAL
    remote = config.get("auto_map") or {}
    named = [config.get("_name_or_path"), *(remote.values() if isinstance(remote, Mapping) else ())]
    return any(text.startswith("jinaai/") and "jina-bert" not in text for text in named if isinstance(text, str))


_told: set[str] = set()


def tell_licence(name: str, config: Mapping[str, Any]) -> None:
    """One line of log, once in a process, for weights that are not free for commercial use."""
    if name in _told or not is_non_commercial(name, config):
        return
    _told.add(name)
    _log.warning(
        "the weights of '%s' are Jina AI's, under %s: they may not be used commercially without their permission",
        name,
        _NON_COMMERCIAL,
    )


def consider_told(name: str) -> None:
    """Leave a licence out from here on."""
    _told.add(name)


def forget_told() -> None:
    """Tell licences anew."""
    _told.clear()
