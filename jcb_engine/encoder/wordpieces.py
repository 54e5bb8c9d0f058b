"""BERT's input: [CLS], the wordpieces of a text, [SEP], cut to a length; what was cut or is unknown is counted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from jcb_engine.encoder.text_tokenizer import Counted, TextTokenizer
from jcb_engine.encoder.tokens import NO_SPAN, Span, Token

_START, _END, _UNKNOWN = "[CLS]", "[SEP]", "[UNK]"
_SPECIAL_TOKENS = 2


@dataclass(frozen=True, slots=True)
class CutText:
    """One text as token ids; none for a text without a wordpiece.

    cut: wordpieces left out at the end. unknown: how many of `ids` are [UNK].
    """

    ids: list[int]
    cut: int
    unknown: int


class WordPieces:
    """The tokenizer of a BERT checkpoint. Special tokens typed in a text are text."""

    def __init__(self, tokenizer_json: str) -> None:
        """tokenizer_json: the content of a tokenizer.json; ValueError where it is none, or none of a BERT."""
        self._tokenizer = TextTokenizer(tokenizer_json, special_tokens_are_text=True)
        self._start, self._end, self._unknown = (self._special_id(name) for name in (_START, _END, _UNKNOWN))

    def _special_id(self, name: str) -> int:
        identity = self._tokenizer.token_id(name)
        if identity is None:
            raise ValueError(f"the tokenizer has no {name}")
        return identity

    def cut(self, texts: Sequence[str], length: int) -> list[CutText]:
        """Every text as at most `length` ids, [CLS] and [SEP] included."""
        return [self._framed(counted) for counted in self._tokenizer.count(texts, length - _SPECIAL_TOKENS)]

    def _framed(self, counted: Counted) -> CutText:
        if not counted.ids:
            return CutText([], 0, 0)
        ids = [self._start, *counted.ids, self._end]
        return CutText(ids, counted.total - len(counted.ids), counted.ids.count(self._unknown))

    def tokens(self, text: str, length: int) -> list[Token]:
        """One token for every id that `cut` gives."""
        tokens = self._tokenizer.tokens(text, length - _SPECIAL_TOKENS)
        return [Token(_START, *NO_SPAN), *tokens, Token(_END, *NO_SPAN)] if tokens else []

    def spans(self, text: str) -> list[Span]:
        """Characters of every wordpiece of a text, none cut."""
        return self._tokenizer.spans(text)
