"""Hits for people: rank, score, id, title and the beginning of the text; and why they matched."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from jcb_engine.cli.numbers import count_text, seconds_text
from jcb_engine.cli.running import printable
from jcb_engine.types import Hit, Hits

if TYPE_CHECKING:
    from jcb_engine.search import Explanation

_PIPED_WIDTH = 80
_WIDEST = 120  # longer lines are hard to read
_SNIPPET_LINES = 3
_SNIPPET_CHARACTERS = 600  # more than fits into the lines, little enough to wrap at once
_INDENT = 4
_MORE = " ..."


def print_hits(hits: Hits, explanations: Sequence[Explanation] | None, search_seconds: float) -> None:
    """Print every hit, its explanation where there is one, and a line on the search."""
    console = _console()
    for number, hit in enumerate(hits):
        console.print(_heading(hit), soft_wrap=True)
        for line in _snippet(hit.text, console):
            console.print(Text(" " * _INDENT).append(line), soft_wrap=True)
        if explanations is not None:
            _print_explanation(explanations[number], console)
        console.print()
    console.print(Text(_summary(hits, search_seconds), style="dim"), soft_wrap=True)


def _console() -> Console:
    """Stdout as it is now; piped it is 80 columns wide and has no colours."""
    plain = Console(file=sys.stdout, highlight=False, markup=False, emoji=False)
    width = min(plain.width, _WIDEST) if plain.is_terminal else _PIPED_WIDTH
    plain.width = width
    return plain


def _heading(hit: Hit) -> Text:
    """Rank, score and id, never cut, since one copies them; the title where it says something else."""
    heading = Text(f"{hit.rank:>2}. ").append(f"{hit.score:.3f}", style="cyan")
    heading.append("  ").append(printable(hit.id), style="bold")
    if hit.title and hit.title != hit.id:
        heading.append("  ").append(printable(" ".join(hit.title.split())))
    return heading


def _snippet(text: str, console: Console) -> list[Text]:
    """The beginning of a text in a few lines, wide characters counted as two columns."""
    start = printable(" ".join(text[: 2 * _SNIPPET_CHARACTERS].split())[:_SNIPPET_CHARACTERS])
    lines = list(Text(start).wrap(console, console.width - _INDENT - len(_MORE)))
    shown = lines[:_SNIPPET_LINES]
    for line in shown:
        line.rstrip()
    if len(lines) > _SNIPPET_LINES:
        shown[-1].append(_MORE)
    return shown


def _print_explanation(explanation: Explanation, console: Console) -> None:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("query token", overflow="fold")
    table.add_column("document token", overflow="fold")
    table.add_column("similarity", justify="right")
    for match in explanation.matches:
        table.add_row(
            Text(printable(match.query_token)), Text(printable(match.document_token)), f"{match.similarity:.4f}"
        )
    table.add_row("", "sum", f"{explanation.score:.4f}")
    with console.capture() as rendered:
        console.print(table)
    for line in rendered.get().splitlines():
        console.print(Text(" " * _INDENT).append(Text.from_ansi(line.rstrip())), soft_wrap=True)


def _summary(hits: Hits, search_seconds: float) -> str:
    if hits.exact:
        kind = "exact"
    else:
        kind = "approximate, recall " + ("not measured" if hits.recall is None else f"{hits.recall:.3f}")
    return f"{count_text(len(hits), 'hit')} in {seconds_text(search_seconds)}: {kind}; {hits.backend}"
