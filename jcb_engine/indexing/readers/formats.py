"""The formats that can be indexed: a table of names and readers. A new format is one file and one row here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TypeAlias

from jcb_engine.errors import InputError
from jcb_engine.indexing.readers.beir import find_corpus, read_beir
from jcb_engine.indexing.readers.delimited import read_csv, read_tsv
from jcb_engine.indexing.readers.folder import FILE_READERS, read_folder
from jcb_engine.indexing.readers.jsonl import read_jsonl
from jcb_engine.indexing.readers.parquet import read_parquet
from jcb_engine.indexing.readers.python_docs import read_python_docs
from jcb_engine.indexing.readers.records import GUESSED_FIELDS, Fields, OnBad, SourceDocument
from jcb_engine.indexing.readers.streams import STDIN, unreadable

Reader: TypeAlias = Callable[[str, Fields, OnBad], Iterator[SourceDocument]]

PYTHON_DOCS = "python-docs"


def _read_python_docs(source: str, fields: Fields, on_bad: OnBad) -> Iterator[SourceDocument]:
    if source != PYTHON_DOCS:
        raise InputError(f"'{PYTHON_DOCS}' reads the Python that runs it and takes no source; '{source}' came")
    if fields != GUESSED_FIELDS:
        raise InputError(f"'{PYTHON_DOCS}' has no fields to name; leave out the options for id, title and text")
    return read_python_docs(on_bad=on_bad)


FORMATS: Mapping[str, Reader] = MappingProxyType(
    {
        "jsonl": read_jsonl,
        "tsv": read_tsv,
        "csv": read_csv,
        "parquet": read_parquet,
        "beir": read_beir,
        "folder": read_folder,
        PYTHON_DOCS: _read_python_docs,
    }
)

_FORMAT_OF_SUFFIX: Mapping[str, str] = MappingProxyType(
    {
        ".jsonl": "jsonl",
        ".json": "jsonl",
        ".ndjson": "jsonl",
        ".tsv": "tsv",
        ".csv": "csv",
        ".parquet": "parquet",
        **dict.fromkeys(FILE_READERS, "folder"),
    }
)
# Formats that are read as a stream of lines and so may come compressed.
_GZIP_FORMATS = frozenset({"jsonl", "tsv", "csv"})


def read_source(
    source: str | Path,
    *,
    format: str | None = None,  # noqa: A002 - the word that users know
    fields: Fields = GUESSED_FIELDS,
    on_bad: OnBad,
) -> Iterator[SourceDocument]:
    """Documents of a file, a folder, standard input ("-") or the running Python ("python-docs"), one by one.

    format: a name in FORMATS; None: guessed from the name of the source.
    fields: which fields hold id, title and text.
    on_bad: called with every record that gives no document; it may raise, else the next record follows.
    Raises InputError for a source that cannot be read at all, MissingDependencyError where a format needs a package.
    """
    name = guess_format(source) if format is None else format
    if name not in FORMATS:
        raise InputError(f"unknown format '{name}'; known are {', '.join(FORMATS)}")
    return FORMATS[name](str(source), fields, on_bad)


def guess_format(source: str | Path) -> str:
    """The format of a source by its name: JSONL for standard input, `beir` for a folder with a corpus in it.

    Raises InputError where there is no such file, it may not be looked at, or its type is unknown.
    """
    text = str(source)
    if text == STDIN:
        return "jsonl"
    path = Path(text)
    try:
        is_folder, is_there = path.is_dir(), path.exists()
    except OSError as error:
        raise unreadable(text, error) from error
    if is_folder:
        return "folder" if find_corpus(path) is None else "beir"
    if not is_there:
        if text == PYTHON_DOCS:
            return PYTHON_DOCS
        raise InputError(f"no file or folder {text}")
    return _format_of_file(path)


def _format_of_file(path: Path) -> str:
    plain = path.with_suffix("") if path.suffix.lower() == ".gz" else path
    name = _FORMAT_OF_SUFFIX.get(plain.suffix.lower())
    if name is None or (plain is not path and name not in _GZIP_FORMATS):
        known = ", ".join(_FORMAT_OF_SUFFIX)
        raise InputError(
            f"unknown type of file: {path.name}; known are {known} (.gz of {', '.join(sorted(_GZIP_FORMATS))}) "
            f"and folders; give the format with --from or format=: {', '.join(FORMATS)}"
        )
    return name
