"""A token as the tokenizer cut it, for explanations and for splitting long texts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

Span: TypeAlias = tuple[int, int]

NO_SPAN: Span = (-1, -1)


@dataclass(frozen=True, slots=True)
class Token:
    """One token: the piece as the tokenizer writes it, and the characters text[start:end] that it stands for.

    A token that stands for no characters ([CLS], a marker, an expansion token) has start == end == -1.
    """

    text: str
    start: int
    end: int
