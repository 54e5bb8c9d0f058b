"""The option --version of both commands."""

from __future__ import annotations

from typing import Annotated

import typer

from jcb_engine import __version__


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"jcb-engine {__version__}")
        raise typer.Exit


Version = Annotated[
    bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
]
