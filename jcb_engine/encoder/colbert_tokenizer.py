"""A late-interaction model's input, id for id: framing, marker, expansion, and which ids get a vector.

Source: Khattab and Zaharia 2020 (arXiv:2004.12832) 3.2 and 3.3; the ids are those of Stanford's ColBERT.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np

from jcb_engine.encoder.text_tokenizer import Counted, TextTokenizer
from jcb_engine.encoder.token_rules import TokenRules
from jcb_engine.encoder.tokens import NO_SPAN, Span, Token
from jcb_engine.errors import InputError
from jcb_engine.types import BoolArray, Int64Array

_MARKER_POSITION = 1


@dataclass(frozen=True, slots=True)
class TokenizedText:
    """One text as token ids; none for a text in which the tokenizer finds no token.

    cut: tokens left out at the end. unknown: how many of the text's own ids are the unknown token.
    attended: so many leading ids are attended to; the rest is expansion that only attends.
    """

    ids: Int64Array
    cut: int
    unknown: int
    attended: int


_NO_IDS = np.zeros(0, dtype=np.int64)
_log = logging.getLogger(__name__)


class ColbertTokenizer:
    """Texts -> ids by the rules of a model. Never changes, so that many threads may use one."""

    def __init__(self, tokenizer_json: str, rules: TokenRules, mask_token: str | None, pad_token: str | None) -> None:
        """tokenizer_json: the content of a tokenizer.json.

        mask_token: what queries are filled up with; pad_token: what the tokenizer fills up with. None: there is none.
        Raises ValueError where the tokenizer is none, or lacks a token that the rules need.
        """
        self.rules = rules
        self._text = TextTokenizer(tokenizer_json, special_tokens_are_text=rules.special_tokens_as_text)
        self._before, self._after = self._text.frame()
        self._unknown = self._text.unknown_id
        self._query_marker = self._marker_id(rules.query_marker)
        self._document_marker = self._marker_id(rules.document_marker)
        self._mask = self._known(mask_token) if rules.query_expansion else None
        if rules.query_expansion and self._mask is None:
            raise ValueError("queries are to be expanded, and the tokenizer has no mask token")
        self._pad = None if pad_token is None else self._text.token_id(pad_token)
        self._skipped = np.array(sorted(self._skipped_ids()), dtype=np.int64)

    def _marker_id(self, marker: str | None) -> int | None:
        """A marker that is not in the vocabulary is the unknown token, where the rules allow it."""
        if marker is not None and self.rules.unknown_markers and self._text.token_id(marker) is None:
            if self._unknown is None:
                raise ValueError(f"the tokenizer has neither the marker {marker!r} nor an unknown token")
            _log.warning("the tokenizer has no marker %r: texts get its unknown token instead, as in training", marker)
            return self._unknown
        return self._known(marker)

    def _known(self, token: str | None) -> int | None:
        if token is None:
            return None
        identity = self._text.token_id(token)
        if identity is None:
            raise ValueError(f"the tokenizer has no token {token!r}")
        return identity

    def require_room(self, name: str) -> None:
        """Raises InputError where a length leaves no room for a text beside markers and special tokens."""
        for option, is_query in (("query_length", True), ("document_length", False)):
            if self._limit(is_query) < 1:
                length = self.rules.query_length if is_query else self.rules.document_length
                taken = len(self._before) + len(self._after) + int(self._marker(is_query) is not None)
                raise InputError(
                    f"{option} is {length}, which leaves no room for a text: markers and special tokens of "
                    f"'{name}' take {taken}"
                )

    def tokenize(self, texts: Sequence[str], *, is_query: bool) -> list[TokenizedText]:
        """Every text as at most query_length or document_length ids; a query with expansion has exactly as many."""
        return [self._framed(counted, is_query) for counted in self._text.count(texts, self._limit(is_query))]

    def _limit(self, is_query: bool) -> int:
        length = self.rules.query_length if is_query else self.rules.document_length
        marker = self._marker(is_query) is not None
        return max(0, length - len(self._before) - len(self._after) - int(marker))

    def _marker(self, is_query: bool) -> int | None:
        return self._query_marker if is_query else self._document_marker

    def _framed(self, counted: Counted, is_query: bool) -> TokenizedText:
        if not counted.ids:
            return TokenizedText(_NO_IDS, counted.total, 0, 0)
        ids = [*self._before, *counted.ids, *self._after]
        marker = self._marker(is_query)
        if marker is not None:
            ids.insert(_MARKER_POSITION, marker)
        attended = len(ids)
        if is_query and self._mask is not None:
            # as the reference does it: pad, then replace every pad, so one that was typed becomes a mask as well
            ids = [self._mask if identity == self._pad else identity for identity in ids]
            ids += [self._mask] * (self.rules.query_length - len(ids))
            if self.rules.attends_to_expansion:
                attended = len(ids)
        unknown = 0 if self._unknown is None else counted.ids.count(self._unknown)
        return TokenizedText(np.array(ids, dtype=np.int64), counted.total - len(counted.ids), unknown, attended)

    def scored(self, texts: Sequence[TokenizedText], *, is_query: bool) -> list[BoolArray]:
        """Which ids of each text get a vector: all of a query, all of a document but punctuation and padding."""
        if not texts:
            return []
        ids = np.concatenate([text.ids for text in texts])
        ends = np.cumsum([len(text.ids) for text in texts])
        keep = np.ones(len(ids), dtype=np.bool_)
        if not is_query:
            keep &= ~np.isin(ids, self._skipped)
            if self._pad is not None:
                keep &= ids != self._pad
        if self.rules.drops_first:
            keep[[end - len(text.ids) for end, text in zip(ends, texts, strict=True) if len(text.ids)]] = False
        return np.split(keep, ends[:-1])

    def tokens(self, text: str, *, is_query: bool) -> list[Token]:
        """One token for every vector that a text gets."""
        tokenized = self.tokenize([text], is_query=is_query)[0]
        if not len(tokenized.ids):
            return []
        own = self._text.tokens(text, self._limit(is_query))
        spans = [NO_SPAN] * len(tokenized.ids)
        first = len(self._before) + (self._marker(is_query) is not None)
        spans[first : first + len(own)] = [(token.start, token.end) for token in own]
        keep = self.scored([tokenized], is_query=is_query)[0]
        return [
            Token(self._text.token(int(identity)), *span)
            for identity, span, scored in zip(tokenized.ids, spans, keep, strict=True)
            if scored
        ]

    def skipped_tokens(self) -> list[str]:
        """The document tokens that get no vector, as the vocabulary writes them."""
        return [self._text.token(int(identity)) for identity in self._skipped]

    def spans(self, text: str) -> list[Span]:
        """Characters of every token of a text, none cut, no special ones."""
        return self._text.spans(text)

    def _skipped_ids(self) -> set[int]:
        words = self.rules.skipped_words
        if self.rules.punctuation == "off":
            return set()
        if self.rules.punctuation == "reference":
            return set(chain.from_iterable(counted.ids for counted in self._text.count(words, 1)))
        own = {self._text.token_id(word) for word in words}
        if self.rules.punctuation == "pylate" and None in own:
            own.add(self._unknown)
        else:
            own.discard(self._unknown)
        return {identity for identity in own if identity is not None}
