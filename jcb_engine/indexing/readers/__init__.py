"""Readers: files, folders and streams of many formats -> documents with their places."""

from jcb_engine.indexing.readers.formats import FORMATS, guess_format, read_source
from jcb_engine.indexing.readers.records import GUESSED_FIELDS, BadRecord, Fields, OnBad, SkipBad, SourceDocument

__all__ = [
    "FORMATS",
    "GUESSED_FIELDS",
    "BadRecord",
    "Fields",
    "OnBad",
    "SkipBad",
    "SourceDocument",
    "guess_format",
    "read_source",
]
