"""What a reader gives and takes: documents with their place, records it could not use, names of fields."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from jcb_engine.errors import InputError
from jcb_engine.types import Document


@dataclass(frozen=True, slots=True)
class Fields:
    """Which field of a record holds what. None: `_id` or else `id`, `title` where there is one, `text`.

    A field named here must be in every record; one that is guessed may be missing where it is the title.
    """

    id: str | None = None
    title: str | None = None
    text: str | None = None


GUESSED_FIELDS = Fields()


@dataclass(frozen=True, slots=True)
class SourceDocument:
    """A document and where it stands, such as `corpus.jsonl:17`, for messages about it."""

    document: Document
    place: str


@dataclass(frozen=True, slots=True)
class BadRecord:
    """A record that gives no document: where it stands and why."""

    place: str
    reason: str

    def __str__(self) -> str:
        return f"{self.place}: {self.reason}"


OnBad: TypeAlias = Callable[[BadRecord], None]


class SkipBad:
    """An `on_bad` that lets `limit` records pass and raises InputError at the next; `records` are those skipped."""

    def __init__(self, limit: int = 0) -> None:
        if limit < 0:
            raise InputError(f"{limit} records to skip; allowed are 0 (stop at the first bad one) and more")
        self.limit = limit
        self.records: list[BadRecord] = []

    def __call__(self, record: BadRecord) -> None:
        if len(self.records) >= self.limit:
            after = f" (after {self.limit} bad records skipped)" if self.limit else ""
            raise InputError(f"{record}{after}")
        self.records.append(record)
