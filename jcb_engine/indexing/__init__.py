"""Documents -> committed segments."""

from jcb_engine.indexing.builder import build_index
from jcb_engine.indexing.options import BuildOptions, IndexOptions, MuveraOptions
from jcb_engine.indexing.report import BuildProgress, BuildReport
from jcb_engine.indexing.writer import IndexWriter

__all__ = [
    "BuildOptions",
    "BuildProgress",
    "BuildReport",
    "IndexOptions",
    "IndexWriter",
    "MuveraOptions",
    "build_index",
]
