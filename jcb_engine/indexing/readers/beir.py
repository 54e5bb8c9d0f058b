"""A BEIR folder: the corpus is `corpus.jsonl` or `corpus.jsonl.gz` inside; queries and judgements are not read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from jcb_engine.errors import InputError
from jcb_engine.indexing.readers.jsonl import read_jsonl
from jcb_engine.indexing.readers.records import Fields, OnBad, SourceDocument
from jcb_engine.indexing.readers.streams import unreadable

_CORPUS_NAMES = ("corpus.jsonl", "corpus.jsonl.gz")


def read_beir(source: str, fields: Fields, on_bad: OnBad) -> Iterator[SourceDocument]:
    """Documents of the corpus in a BEIR folder. Raises InputError where there is none."""
    corpus = find_corpus(Path(source))
    if corpus is None:
        raise InputError(f"{source} is no BEIR folder: it holds neither {' nor '.join(_CORPUS_NAMES)}")
    return read_jsonl(str(corpus), fields, on_bad)


def find_corpus(folder: Path) -> Path | None:
    """The corpus file of a BEIR folder; None where there is none. Raises InputError for a folder that is closed."""
    try:
        return next((folder / name for name in _CORPUS_NAMES if (folder / name).is_file()), None)
    except OSError as error:
        raise unreadable(str(folder), error) from error
