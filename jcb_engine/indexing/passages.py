"""Long documents -> passages: windows of tokens that overlap."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeAlias

from jcb_engine.errors import InputError
from jcb_engine.types import Document

# (start, end) in characters of each token of a text, in order
TokenSpans: TypeAlias = Callable[[str], Sequence[tuple[int, int]]]


def split_document(document: Document, token_spans: TokenSpans, max_tokens: int, overlap: int) -> list[Document]:
    """Passages of a document, cut as by `passage_spans`; `token_spans` gives the spans of a text.

    Title and metadata are repeated in each passage; the title's tokens are not counted. A document that is a passage
    already is returned as it is. Raises InputError as `passage_spans`.
    """
    if document.parent is not None:
        return [document]
    spans = passage_spans(document.text, token_spans(document.text), max_tokens, overlap)
    return [
        replace(
            document,
            id=f"{document.id}#{position}",
            text=document.text[start:end],
            parent=document.id,
            position=position,
        )
        for position, (start, end) in enumerate(spans)
    ]


def passage_spans(
    text: str, token_spans: Sequence[tuple[int, int]], max_tokens: int, overlap: int
) -> list[tuple[int, int]]:
    """(start, end) in characters of each passage of a text.

    token_spans: (start, end) in characters of each token, in order.
    A passage has at most `max_tokens` tokens and shares `overlap` of them, or fewer, with the one before. Together the
    passages cover the whole text, white space included: with no overlap, joined they are the text. A passage ends
    between words where there is such a place in its last quarter, and begins between words where the first half of
    the overlap has one. Tokens that share a character (bytes of one sign) stay together, even where they alone are
    more than `max_tokens`. A text without tokens is one passage.
    Raises InputError for max_tokens < 1 or an overlap outside [0, max_tokens).
    """
    if max_tokens < 1:
        raise InputError(f"passages of {max_tokens} tokens; allowed are 1 and more")
    if not 0 <= overlap < max_tokens:
        raise InputError(f"an overlap of {overlap} tokens; allowed are 0 to {max_tokens - 1}, less than a passage")
    cuts = _Cuts(text, token_spans)
    spans: list[tuple[int, int]] = []
    first = 0
    end = 0
    while end < cuts.tokens:
        end = _passage_end(cuts, earliest=max(first, end) + 1, latest=first + max_tokens, leeway=max_tokens // 4)
        spans.append((cuts.place(first), cuts.place(end)))
        first = _next_first(cuts, earliest=max(end - overlap, first + 1), latest=end, leeway=overlap // 2)
    return spans or [(0, len(text))]


class _Cuts:
    """Where a text may be cut: before which tokens, and which of these places lie between words.

    may_cut, between_words: [T + 1] flags; entry t is the place before token t, entry T the end of the text.
    """

    def __init__(self, text: str, spans: Sequence[tuple[int, int]]) -> None:
        self.tokens = len(spans)
        self._starts = [start for start, _ in spans]
        self._length = len(text)
        self.may_cut: list[bool] = []
        self.between_words: list[bool] = []
        last_cut = 0
        covered = 0
        for index, (start, end) in enumerate(spans):
            allowed = index == 0 or (start >= covered and start > last_cut and start < len(text))
            self.may_cut.append(allowed)
            self.between_words.append(allowed and not text[max(start - 1, 0) : start + 1].isalnum())
            last_cut = start if allowed and index else last_cut
            covered = max(covered, end)
        self.may_cut.append(True)
        self.between_words.append(True)

    def place(self, token: int) -> int:
        """The character at which a cut before `token` falls; the first token takes all that stands before it."""
        if token == 0:
            return 0
        return self._length if token == self.tokens else self._starts[token]


def _passage_end(cuts: _Cuts, *, earliest: int, latest: int, leeway: int) -> int:
    """The token before which a passage ends: the last place between words within `leeway`, else the last place.

    `earliest` is beyond the end of the passage before, so that every passage brings something new.
    """
    if latest >= cuts.tokens:
        return cuts.tokens
    for token in range(latest, max(earliest, latest - leeway) - 1, -1):
        if cuts.between_words[token]:
            return token
    for token in range(latest, earliest - 1, -1):
        if cuts.may_cut[token]:
            return token
    # no cut at all where the passage should end: the tokens of one sign stay together
    return next(token for token in range(latest + 1, cuts.tokens + 1) if cuts.may_cut[token])


def _next_first(cuts: _Cuts, *, earliest: int, latest: int, leeway: int) -> int:
    """The first token of the next passage: the first place between words within `leeway`, else the first place."""
    for token in range(earliest, min(latest, earliest + leeway) + 1):
        if cuts.between_words[token]:
            return token
    # `latest` is the end of the passage before, always a place to cut
    return next(token for token in range(earliest, latest + 1) if cuts.may_cut[token])
