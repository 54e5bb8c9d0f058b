"""A curve of recall joins an index: the newest version once more, by the protocol of every commit."""

from __future__ import annotations

from pathlib import Path

from jcb_engine.storage.files import Files
from jcb_engine.storage.manifest import Manifest
from jcb_engine.storage.transaction import Transaction
from jcb_engine.storage.tuning import TuningCurve


def check_tunable(path: str | Path, measured: Manifest, *, files: Files | None = None) -> None:
    """Raise what `publish_tuning` would raise now, before minutes are spent on measuring. Nothing is changed.

    The lock is not kept: writers need not wait for a measurement, which is refused at the end where one committed.
    """
    with Transaction.begin(path, overwrite=True, files=files) as transaction:
        transaction.unchanged(measured.version, measured.content)


def publish_tuning(path: str | Path, curve: TuningCurve, *, files: Files | None = None) -> int:
    """Add a curve to an index as a new version of the same content, and return its number.

    Raises IndexLockedError while somebody writes, IndexChangedError where the content is no longer what was measured.
    """
    with Transaction.begin(path, overwrite=True, files=files) as transaction:
        return transaction.commit_tuning(curve)
