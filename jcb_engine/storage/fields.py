"""A value inside a JSON file, with the path to it, so that every problem names file and field."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import cast

from jcb_engine.errors import CorruptIndexError
from jcb_engine.storage.layout import is_plain_name
from jcb_engine.types import JsonValue

MAX_INTEGER = (1 << 63) - 1
_SHOWN_CHARACTERS = 80


@dataclass(frozen=True, slots=True)
class Field:
    """`value` was read from the JSON file `file` at `path`, such as segments[0].tokens."""

    value: object
    file: str
    path: str

    def problem(self, text: str) -> CorruptIndexError:
        """An error about this field, to raise."""
        return CorruptIndexError(f"{self.file}: {self.path or 'the whole'} {text}")

    def member(self, name: str) -> Field:
        """A member that must be there."""
        members = self._object()
        path = f"{self.path}.{name}" if self.path else name
        if name not in members:
            raise self.problem(f"has no {name}")
        return Field(members[name], self.file, path)

    def has(self, name: str) -> bool:
        """Whether an object has a member that may be left out."""
        return name in self._object()

    def items(self) -> Iterator[tuple[str, Field]]:
        """All members of an object."""
        for name, value in self._object().items():
            yield name, Field(value, self.file, f"{self.path}[{self._show(name)}]")

    def elements(self, most: int = MAX_INTEGER) -> Iterator[Field]:
        """All elements of a list of at most `most`."""
        if not isinstance(self.value, list):
            raise self.problem(f"is {self._show(self.value)}; expected a list")
        if len(self.value) > most:
            raise self.problem(f"has {len(self.value):,} elements; at most {most:,} are allowed")
        for position, value in enumerate(self.value):
            yield Field(value, self.file, f"{self.path}[{position}]")

    def integer(self, lowest: int, highest: int = MAX_INTEGER) -> int:
        if type(self.value) is not int or not lowest <= self.value <= highest:
            raise self.problem(f"is {self._show(self.value)}; expected a whole number from {lowest} to {highest}")
        return self.value

    def number(self, lowest: float, highest: float) -> float:
        if type(self.value) not in (int, float) or not lowest <= cast("float", self.value) <= highest:
            raise self.problem(f"is {self._show(self.value)}; expected a number from {lowest:g} to {highest:g}")
        return float(cast("float", self.value))

    def string(self, pattern: re.Pattern[str]) -> str:
        if not isinstance(self.value, str) or not pattern.fullmatch(self.value):
            raise self.problem(f"is {self._show(self.value)}; expected text of the form {pattern.pattern}")
        return self.value

    def json_object(self) -> Mapping[str, JsonValue]:
        return cast("Mapping[str, JsonValue]", self._object())

    def is_null(self) -> bool:
        return self.value is None

    def check_no_more_than(self, known: frozenset[str]) -> None:
        unknown = sorted(self._object().keys() - known)
        if unknown:
            raise self.problem(f"has the unknown field {self._show(unknown[0])}; known are {', '.join(sorted(known))}")

    def check_key(self, key: str, pattern: re.Pattern[str]) -> None:
        if not pattern.fullmatch(key):
            raise self.problem(f"has a key that is not of the form {pattern.pattern}")

    def check_plain_name(self, name: str) -> None:
        if not is_plain_name(name):
            raise self.problem("is no plain file name: no '/', no '..', no control characters, 1 to 255 characters")

    def _object(self) -> dict[str, object]:
        if not isinstance(self.value, dict):
            raise self.problem(f"is {self._show(self.value)}; expected an object")
        return self.value

    @staticmethod
    def _show(value: object) -> str:
        text = ascii(value)
        return text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "..."
