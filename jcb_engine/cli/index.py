"""`jcb-index`: build an index, look at it, check it. Heavy packages are imported by the commands that need them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from jcb_engine.cli.numbers import parse_bytes
from jcb_engine.cli.running import run
from jcb_engine.cli.version import Version
from jcb_engine.errors import InputError

PYTHON_DOCS = "python-docs"

app = typer.Typer(
    help="Build an index of texts, describe it, check it.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


@app.callback()
def _main(version: Version = False) -> None:
    """Build an index of texts, describe it, check it."""


@app.command("build")
def _build(
    source: Annotated[
        str | None,
        typer.Argument(
            metavar="SOURCE",
            help="A file (.jsonl, .tsv, .csv, also .gz; .parquet; .txt, .md, .html, .pdf), a BEIR folder, a folder of "
            "files, or - for JSON lines from standard input. Left out with --from python-docs.",
            show_default=False,
        ),
    ] = None,
    index: Annotated[
        str | None, typer.Argument(metavar="INDEX", help="The folder of the index to make.", show_default=False)
    ] = None,
    format_name: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="FORMAT",
            help="jsonl, tsv, csv, parquet, beir, folder or python-docs (the documentation of the standard library of "
            "the running Python); guessed from the name when left out.",
        ),
    ] = None,
    model: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="mini, mini@VERSION, a folder, or a name on the hub; `jcb-index models` lists known ones.",
        ),
    ] = "mini",
    dim: Annotated[
        int | None, typer.Option(metavar="D", help="Dimensions of a token vector; the model's default if left out.")
    ] = None,
    query_length: Annotated[
        int | None, typer.Option(metavar="N", help="Tokens of a query; longer ones are cut.  [default: the model's]")
    ] = None,
    document_length: Annotated[
        int | None, typer.Option(metavar="N", help="Tokens of a document or passage.  [default: the model's]")
    ] = None,
    token_pooling: Annotated[
        float | None,
        typer.Option(metavar="F", help="Cluster a document's token vectors, so that F of them become one, such as 2."),
    ] = None,
    language: Annotated[
        str | None, typer.Option(metavar="CODE", help="Of a model with an adapter for each, such as de_DE.")
    ] = None,
    revision: Annotated[
        str | None, typer.Option(metavar="COMMIT", help="Commit, tag or branch of a model on the hub.")
    ] = None,
    nbits: Annotated[
        int | None, typer.Option(metavar="1|2|4|8|16", help="Bits per dimension; 16 is uncompressed.  [default: 4]")
    ] = None,
    centroids: Annotated[
        int | None, typer.Option(metavar="K", help="Number of centroids; grows with the corpus if left out.")
    ] = None,
    first_stage: Annotated[
        str | None,
        typer.Option(metavar="centroids|muvera", help="How a search will find documents.  [default: centroids]"),
    ] = None,
    faiss: Annotated[
        str | None,
        typer.Option(metavar="FACTORY", help="FAISS index to find them through, such as HNSW32.  [default: Flat]"),
    ] = None,
    seed: Annotated[int | None, typer.Option(metavar="N", help="Of the sample and the training.  [default: 0]")] = None,
    max_ram: Annotated[
        str | None, typer.Option(metavar="SIZE", help="Bounds the training sample, such as 512MB.  [default: 2GiB]")
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(
            metavar="cpu|cuda|cuda:N",
            help="Where to encode and compress.  [default: encode on a GPU if there is one, compress on the processor]",
        ),
    ] = None,
    id_field: Annotated[
        str | None, typer.Option(metavar="NAME", help="Field of the id.  [default: _id, else id]")
    ] = None,
    title_field: Annotated[
        str | None, typer.Option(metavar="NAME", help="Field of the title.  [default: title, if there]")
    ] = None,
    text_field: Annotated[str | None, typer.Option(metavar="NAME", help="Field of the text.  [default: text]")] = None,
    on_duplicate: Annotated[
        str | None,
        typer.Option(metavar="error|skip|last", help="What an id that came before does.  [default: error]"),
    ] = None,
    skip_bad: Annotated[int, typer.Option(metavar="N", help="Pass over as many bad lines, rows or files.")] = 0,
    split_tokens: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Split texts into passages of N tokens; 0 keeps them whole.  [default: split a folder's files only]",
        ),
    ] = None,
    split_overlap: Annotated[
        int | None, typer.Option(metavar="N", help="Tokens that passages share.  [default: a fifth of a passage]")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an index that is there.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no report; warnings stay.")] = False,
) -> None:
    """Make an index of texts. Nothing is published unless all of it is."""
    source, index = _source_and_index(source, index, format_name)

    from jcb_engine.cli.build import BuildRequest, build
    from jcb_engine.indexing.readers import Fields

    options = {
        "nbits": nbits,
        "centroids": centroids,
        "seed": seed,
        **_first_stage(first_stage, faiss),
        "max_ram_bytes": None if max_ram is None else parse_bytes(max_ram),
        "device": device,
        "on_duplicate": on_duplicate,
        "overwrite": overwrite,
    }
    build(
        BuildRequest(
            source=source,
            index=Path(index),
            format=format_name,
            model=model,
            dim=dim,
            encoding={
                "query_length": query_length,
                "document_length": document_length,
                "token_pooling": token_pooling,
                "language": language,
                "revision": revision,
                "device": device,
            },
            fields=Fields(id=id_field, title=title_field, text=text_field),
            skip_bad=skip_bad,
            options={name: value for name, value in options.items() if value is not None},
            split_tokens=split_tokens,
            split_overlap=split_overlap,
            as_json=as_json,
            quiet=quiet,
        )
    )


def _first_stage(name: str | None, factory: str | None) -> dict[str, object]:
    """Options of the build that say how candidates are found."""
    if name in (None, "centroids"):
        return {"faiss_factory": factory}
    if name != "muvera":
        raise InputError(f"--first-stage is '{name}'; it can be centroids or muvera")
    from jcb_engine.indexing import MuveraOptions

    return {"muvera": MuveraOptions() if factory is None else MuveraOptions(factory=factory)}


def _source_and_index(source: str | None, index: str | None, format_name: str | None) -> tuple[str, str]:
    """With python-docs there is no source: the one argument is the index."""
    if format_name == PYTHON_DOCS and index is None:
        source, index = PYTHON_DOCS, source
    if not source:
        raise InputError("build needs a source and an index: jcb-index build SOURCE INDEX")
    if not index:
        raise InputError(f"build needs a folder for the index: jcb-index build {source} INDEX")
    return source, index


@app.command("models")
def _models(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List known models: dimensions, lengths in tokens, languages, licence of their weights."""
    from jcb_engine.cli.models import models

    models(as_json=as_json)


@app.command("info")
def _info(
    index: Annotated[Path, typer.Argument(metavar="INDEX", help="The folder of the index.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say what an index holds, what made it, and where its bytes go."""
    from jcb_engine.cli.info import info

    info(index, as_json=as_json)


@app.command("tune")
def _tune(
    index: Annotated[Path, typer.Argument(metavar="INDEX", help="The folder of the index.")],
    recall: Annotated[
        float, typer.Option(metavar="R", help="Share of the exact K best that a search should find, such as 0.99.")
    ] = 0.99,
    k: Annotated[
        int, typer.Option("--k", "-k", metavar="K", help="How many hits; measured for this number alone.")
    ] = 10,
    queries: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Queries as users ask them, some hundred: JSON lines, lines of id<TAB>text, or one query a line, also "
            ".gz, or - for standard input. Left out, passages of the index stand in for them.",
            show_default=False,
        ),
    ] = None,
    format_name: Annotated[
        str | None,
        typer.Option("--from", metavar="jsonl|tsv|lines", help="Form of the queries; guessed from the first line."),
    ] = None,
    sample: Annotated[int, typer.Option(metavar="N", help="Passages to take where there are no queries.")] = 300,
    seed: Annotated[int, typer.Option(metavar="N", help="Of their choice.")] = 0,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE.png", help="Draw the curve, also as .svg or .pdf; needs matplotlib.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="The encoder, where the index does not name one that can be loaded.")
    ] = None,
    backend: Annotated[
        str | None,
        typer.Option(metavar="cpu|cuda|triton|reference", help="Kernels; the best for the device if left out."),
    ] = None,
    threads: Annotated[
        int | None, typer.Option(metavar="N", help="Threads of the kernels; all processors if left out.")
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(
            metavar="cpu|cuda|cuda:N",
            help="Where documents are scored; the processor if left out. Several: cuda:0,cuda:1.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the curve as JSON.")] = False,
) -> None:
    """Measure recall and cost of settings against exact search, and publish the curve in the index.

    `jcb-search --recall R` then takes the cheapest settings that reach R. Measure again after every change.
    """
    if threads is not None and threads < 1:
        raise InputError(f"--threads is {threads}; it must be at least 1, or left out for all processors")
    if sample < 1:
        raise InputError(f"--sample is {sample}; it must be at least 1")
    if seed < 0:
        raise InputError(f"--seed is {seed}; it must be 0 or more")
    if k < 1:
        raise InputError(f"--k is {k}; it must be at least 1")
    if not 0 < recall <= 1:
        raise InputError(f"--recall is {recall:g}; it must be above 0 and at most 1, such as 0.99")

    from jcb_engine.cli.opening import Opening
    from jcb_engine.cli.tune import TuneRequest, tune

    opening = Opening(index, model, backend, threads, device)
    tune(TuneRequest(opening, recall, k, queries, format_name, sample, seed, plot, as_json))


@app.command("verify")
def _verify(
    index: Annotated[Path, typer.Argument(metavar="INDEX", help="The folder of the index.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Read every byte of an index and check it. Exit code: 0 sound, 1 damaged, 2 unreadable."""
    from jcb_engine.cli.verify import verify_index

    verify_index(index, as_json=as_json)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    return run(app, "jcb-index", arguments)


if __name__ == "__main__":
    sys.exit(main())
