"""`jcb-search`: ask an index one question, or many for a TREC run."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from jcb_engine.cli.running import run
from jcb_engine.cli.version import Version
from jcb_engine.errors import InputError

if TYPE_CHECKING:
    from jcb_engine.cli.opening import Opening

app = typer.Typer(
    help="Search an index of texts.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

_Index = Annotated[Path, typer.Argument(metavar="INDEX", help="The folder of the index.")]
_Exact = Annotated[bool, typer.Option("--exact", help="Score every document; slower, finds all there is to find.")]
_Recall = Annotated[
    float | None,
    typer.Option(
        metavar="R",
        help="Find this share of the exact best, on the average: the cheapest settings that `jcb-index tune` measured.",
    ),
]
_Model = Annotated[str | None, typer.Option(help="The encoder, where the index does not name one that can be loaded.")]
_Backend = Annotated[
    str | None, typer.Option(metavar="cpu|cuda|triton|reference", help="Kernels; the best for the device if left out.")
]
_Device = Annotated[
    str | None,
    typer.Option(
        metavar="cpu|cuda|cuda:N", help="Where documents are scored; the processor if left out. Several: cuda:0,cuda:1."
    ),
]
_Threads = Annotated[int | None, typer.Option(metavar="N", help="Threads of the kernels; all processors if left out.")]
_FirstStage = Annotated[
    str | None,
    typer.Option(metavar="centroids|muvera", help="How documents are found; what the index was built for if left out."),
]


@app.callback()
def _main(version: Version = False) -> None:
    """Search an index of texts."""


@app.command("query")
def _query(
    index: _Index,
    text: Annotated[str, typer.Argument(metavar="TEXT", help="The question, in quotes.")],
    k: Annotated[int, typer.Option("-k", "--k", metavar="K", help="How many hits.")] = 10,
    exact: _Exact = False,
    recall: _Recall = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Show which query token matched which document token.")
    ] = False,
    by: Annotated[
        str | None, typer.Option(metavar="parent", help="One hit per parent document: its best passage.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, timings included.")] = False,
    model: _Model = None,
    backend: _Backend = None,
    threads: _Threads = None,
    device: _Device = None,
    first_stage: _FirstStage = None,
) -> None:
    """Print the best documents for a question."""
    _check_k(k)
    _check_recall(recall, exact)
    _check_text(text)
    if by not in (None, "parent"):
        raise InputError(f"--by is '{by}'; it can be parent, or left out")

    from jcb_engine.cli.query import QueryRequest, query

    opening = _opening(index, model, backend, threads, device, first_stage)
    query(QueryRequest(opening, text, k, exact, explain, by == "parent", as_json, recall))


@app.command("batch")
def _batch(
    index: _Index,
    queries: Annotated[
        str,
        typer.Argument(
            metavar="QUERIES",
            help="A file of queries, also .gz, or - for standard input: JSON lines with _id or id and text, lines of "
            "id<TAB>text, or one query a line (then numbered by line).",
        ),
    ],
    k: Annotated[int, typer.Option("-k", "--k", metavar="K", help="How many hits per query.")] = 100,
    output: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The file to write; standard output if left out.")
    ] = None,
    tag: Annotated[str, typer.Option(metavar="NAME", help="Name of the run, its last column.")] = "jcb-engine",
    format_name: Annotated[
        str | None,
        typer.Option("--from", metavar="jsonl|tsv|lines", help="Form of the queries; guessed from the first line."),
    ] = None,
    exact: _Exact = False,
    recall: _Recall = None,
    model: _Model = None,
    backend: _Backend = None,
    threads: _Threads = None,
    device: _Device = None,
    first_stage: _FirstStage = None,
) -> None:
    """Write a TREC run: query id, Q0, document id, rank, score, tag.

    Evaluation tools sort a run by score again, equal ones by document id. So that they see the order of the search,
    equal scores are lowered by the least step of a 32-bit float that tells them apart.
    """
    _check_k(k)
    _check_recall(recall, exact)

    from jcb_engine.cli.batch import BatchRequest, batch

    opening = _opening(index, model, backend, threads, device, first_stage)
    batch(BatchRequest(opening, queries, k, output, tag, format_name, exact, recall))


def _check_text(text: str) -> None:
    if not text.strip():
        raise InputError("the query is blank; it needs at least one word")
    try:
        text.encode()
    except UnicodeEncodeError as error:  # bytes that are not UTF-8 come in as half surrogate pairs
        byte = ord(text[error.start]) & 0xFF
        raise InputError(
            f"the query is not UTF-8: byte 0x{byte:02x} at position {error.start}; check the encoding of the terminal"
        ) from None


def _check_k(k: int) -> None:
    if k < 1:
        raise InputError(f"-k is {k}; it must be at least 1")


def _check_recall(recall: float | None, exact: bool) -> None:
    if recall is None:
        return
    if not 0 < recall <= 1:
        raise InputError(f"--recall is {recall:g}; it must be above 0 and at most 1, such as 0.99")
    if exact:
        raise InputError("--exact finds all there is to find: leave out --recall, or --exact")


def _opening(
    index: Path,
    model: str | None,
    backend: str | None,
    threads: int | None,
    device: str | None,
    first_stage: str | None,
) -> Opening:
    if threads is not None and threads < 1:
        raise InputError(f"--threads is {threads}; it must be at least 1, or left out for all processors")
    from jcb_engine.cli.opening import Opening

    return Opening(index, model, backend, threads, device, first_stage)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    return run(app, "jcb-search", arguments)


if __name__ == "__main__":
    sys.exit(main())
