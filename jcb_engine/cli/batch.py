"""`jcb-search batch`: many queries -> a TREC run; a file is written whole or not at all, stdout as the hits come."""

from __future__ import annotations

import os
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from jcb_engine.cli.numbers import count_text
from jcb_engine.cli.opening import Opening, opened
from jcb_engine.cli.queries import BatchQuery, check_run_word, read_queries
from jcb_engine.cli.running import warn
from jcb_engine.cli.trec_run import run_lines
from jcb_engine.errors import InputError, JcbError
from jcb_engine.indexing.readers.streams import STDIN
from jcb_engine.search import Searcher

# Queries encoded and searched together: enough to share the work, few enough for output to come early.
_QUERIES_AT_ONCE = 64


@dataclass(frozen=True, slots=True)
class BatchRequest:
    """What the command line asked for. output: None is standard output."""

    opening: Opening
    queries: str
    k: int
    output: Path | None
    tag: str
    format: str | None
    exact: bool
    recall: float | None = None


def batch(request: BatchRequest) -> None:
    """Search for every query and write the run. All queries are read, and refused if need be, before the first."""
    check_run_word(request.tag, "--tag", "choose one word")
    _check_output(request)
    queries = read_queries(request.queries, request.format)
    searcher = opened(request.opening).searcher
    cut = 0
    with _written(request.output) as out:
        for start in range(0, len(queries), _QUERIES_AT_ONCE):
            cut += _write(searcher, queries[start : start + _QUERIES_AT_ONCE], request, out)
    if cut:
        warn(f"{count_text(cut, 'query', 'queries')} longer than the encoder takes, cut")


def _check_output(request: BatchRequest) -> None:
    """Raise InputError where the run would take the place of the queries."""
    if request.output is None or request.queries == STDIN:
        return
    try:
        same = os.path.samefile(request.output, request.queries)
    except (OSError, ValueError):  # one is not there, or can not be: others say so
        return
    if same:
        raise InputError(f"--output is {request.output}, the file of the queries; choose another")


def _write(searcher: Searcher, queries: list[BatchQuery], request: BatchRequest, out: TextIO) -> int:
    """Search for some queries and write their lines; returns how many queries were cut."""
    texts = [query.text for query in queries]
    answers = searcher.search_batch(texts, request.k, exact=request.exact, recall=request.recall)
    for query, hits in zip(queries, answers, strict=True):
        for line in run_lines(query.id, hits, request.tag):
            print(line, file=out)
    return sum(hits.query_tokens_cut > 0 for hits in answers)


@contextmanager
def _written(path: Path | None) -> Iterator[TextIO]:
    """A text file that appears under its name when all is written; None: standard output.

    A pipe or a device is written to directly: it would be lost if a file took its name. A link keeps pointing where it
    does: what it points to is written.
    """
    if path is None:
        yield sys.stdout
        return
    try:
        mode = _mode(path)
        if mode is not None and not stat.S_ISREG(mode):
            with path.open("w", encoding="utf-8") as file:
                yield file
        else:
            with _replaced(Path(os.path.realpath(path)), 0o666 & ~_umask() if mode is None else mode) as file:
                yield file
    except JcbError:
        raise
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}") from error


@contextmanager
def _replaced(path: Path, mode: int) -> Iterator[TextIO]:
    """A file beside `path` that takes its name at the end."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", text=True)
    try:
        with open(descriptor, "w", encoding="utf-8") as file:
            yield file
        os.chmod(name, stat.S_IMODE(mode))
        os.replace(name, path)
    finally:
        Path(name).unlink(missing_ok=True)


def _mode(path: Path) -> int | None:
    """Type and permissions of what is there; None where nothing is."""
    try:
        return path.stat().st_mode
    except FileNotFoundError:
        return None


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
