"""A stream of texts in windows: enough to sort by length, few enough to bound memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

# About 65,000 tokens, or 33 MB of vectors at 128 dimensions; a text beyond what any encoder takes counts no further.
WINDOW_CHARACTERS = 1 << 18
WINDOW_TEXTS = 4096
_LONGEST_COUNTED = 1 << 15

_Item = TypeVar("_Item")


def windows(items: Iterable[_Item], characters_of: Callable[[_Item], int]) -> Iterator[list[_Item]]:
    """The items in their order, in lists of at most WINDOW_TEXTS and about WINDOW_CHARACTERS."""
    window: list[_Item] = []
    characters = 0
    for item in items:
        length = min(characters_of(item), _LONGEST_COUNTED)
        if window and (characters + length > WINDOW_CHARACTERS or len(window) == WINDOW_TEXTS):
            yield window
            window, characters = [], 0
        window.append(item)
        characters += length
    if window:
        yield window
