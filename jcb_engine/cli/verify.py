"""`jcb-index verify`: every byte read and checked; the exit code says how it stands."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import typer

from jcb_engine.cli.numbers import bytes_text, count_text
from jcb_engine.cli.running import printable
from jcb_engine.storage import verify

DAMAGED = 1


def verify_index(path: Path, *, as_json: bool) -> None:
    """Print what is wrong, or that nothing is. Exit code 1 for damage; errors of opening (2) are raised."""
    report = verify(path)
    if as_json:
        values = {"path": str(path), "sound": not report.problems, **asdict(report)}
        print(json.dumps(values, ensure_ascii=False, indent=2))
    elif report.problems:
        print(f"{path}: damaged, {count_text(len(report.problems), 'problem')} in version {report.version}")
        for problem in report.problems:
            print(f"  {printable(problem)}")
    else:
        print(
            f"{path}: sound, version {report.version}, {count_text(report.files_checked, 'file')}, "
            f"{bytes_text(report.bytes_checked)} checked"
        )
    if report.problems:
        raise typer.Exit(DAMAGED)
