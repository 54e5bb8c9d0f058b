"""A stream of texts in windows: enough to sort by length, few enough to bound memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

# About 65,000 tokens, or 33 MB of vectors at 128 dimensions; a text beyond what any encoder takes counts no further.
WINDOW_CHARACTERS = 1 << 18
WINDOW_TEXTS = 4096
_LONGEST_COUNTED = 1 << 15


def windows(texts: Iterable[str]) -> Iterator[list[str]]:
    """The texts in their order, in lists of at most WINDOW_TEXTS and about WINDOW_CHARACTERS."""
    window: list[str] = []
    characters = 0
    for text in texts:
        length = min(len(text), _LONGEST_COUNTED)
        if window and (characters + length > WINDOW_CHARACTERS or len(window) == WINDOW_TEXTS):
            yield window
            window, characters = [], 0
        window.append(text)
        characters += length
    if window:
        yield window
