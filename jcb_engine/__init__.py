"""Late-interaction retrieval: index texts as compressed token vectors, search them by exact MaxSim.

Public names are loaded when first used: `import jcb_engine` brings in neither torch nor faiss.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jcb_engine.encoder import Encoder
    from jcb_engine.errors import JcbError
    from jcb_engine.indexing import IndexWriter
    from jcb_engine.kernels.differentiable import maxsim
    from jcb_engine.search import Searcher
    from jcb_engine.types import Document, Hit, Hits, RaggedEmbeddings

__version__ = "0.1.0"

_HOMES = {
    "Document": "jcb_engine.types",
    "Encoder": "jcb_engine.encoder",
    "Hit": "jcb_engine.types",
    "Hits": "jcb_engine.types",
    "IndexWriter": "jcb_engine.indexing",
    "JcbError": "jcb_engine.errors",
    "RaggedEmbeddings": "jcb_engine.types",
    "Searcher": "jcb_engine.search",
    "maxsim": "jcb_engine.kernels.differentiable",
}

__all__ = ["Document", "Encoder", "Hit", "Hits", "IndexWriter", "JcbError", "RaggedEmbeddings", "Searcher", "maxsim"]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'jcb_engine' has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
