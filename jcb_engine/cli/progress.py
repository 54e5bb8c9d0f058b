"""The progress of a build on a terminal: what is done, how fast, how long it will take."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from jcb_engine.indexing import BuildProgress


@contextmanager
def shown_progress(*, quiet: bool) -> Iterator[BuildProgress | None]:
    """A display on stderr; None where stderr is no terminal or nothing is to be shown."""
    if quiet or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description:<12}"),
        BarColumn(bar_width=24),
        TaskProgressColumn(show_speed=False),
        TextColumn("{task.fields[done]}"),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as display:
        progress = TerminalProgress(display)
        yield progress
        progress.finish()


class TerminalProgress:
    """One line per stage of a build; the line of a finished stage stays."""

    def __init__(self, display: Progress) -> None:
        self._display = display
        self._task: TaskID | None = None

    def stage(self, name: str, total: int | None) -> None:
        """A stage begins; total in documents, None where it is not known."""
        self.finish()
        self._task = self._display.add_task(name, total=total, done="", rate="")

    def advance(self, count: int) -> None:
        """So many more documents are done."""
        if self._task is None or count == 0:
            return
        task = self._display.tasks[self._task]
        speed = task.finished_speed or task.speed
        rate = f"{speed:,.0f}/s" if speed else ""
        self._display.update(self._task, advance=count, done=f"{task.completed + count:,.0f} docs", rate=rate)

    def finish(self) -> None:
        """The stage at hand is done, whether or not its total was known."""
        if self._task is not None:
            done = self._display.tasks[self._task].completed or 1
            self._display.update(self._task, total=done, completed=done)
            self._display.stop_task(self._task)
