"""A tokenizer for texts of any length: ids up to a limit, all tokens counted, and the characters of each token.

It wraps `tokenizers` without padding, truncation and special tokens, and never changes after it is made, so that many
threads may use one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tokenizers import Encoding, Tokenizer

from jcb_engine.encoder.tokens import Span, Token

# A tokenizer needs 150 to 600 bytes for each character at work, so long texts go through it in pieces of
# PIECE_CHARACTERS and never more than GROUP_CHARACTERS at once: 1 MB of text then takes 40 to 150 MB, not up to 650.
PIECE_CHARACTERS = 1 << 16
GROUP_CHARACTERS = 1 << 18
# A score that loses against any spelling by other pieces: log probabilities of vocabularies end near -20.
_NEVER = -1e6


@dataclass(frozen=True, slots=True)
class Counted:
    """The first ids of a text, without special ones, and how many tokens the whole text has."""

    ids: list[int]
    total: int


class TextTokenizer:
    """Text -> tokens, for one tokenizer.json."""

    def __init__(self, tokenizer_json: str, *, special_tokens_are_text: bool) -> None:
        """tokenizer_json: the content of a tokenizer.json; ValueError where it is none.

        special_tokens_are_text: whether "[SEP]" typed in a text is five letters or BERT's end of a text.
        """
        try:
            self._tokenizer = Tokenizer.from_str(
                _without_special_pieces(tokenizer_json) if special_tokens_are_text else tokenizer_json
            )
        except Exception as error:  # the library raises bare Exception
            raise ValueError(f"no tokenizer.json: {error}") from error
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        self._tokenizer.encode_special_tokens = special_tokens_are_text
        self.unknown_id = _unknown_id(self._tokenizer, tokenizer_json)

    def frame(self) -> tuple[list[int], list[int]]:
        """The special ids that the tokenizer's own template puts before and after a text."""
        encoding = self._tokenizer.encode("a")
        mask = encoding.special_tokens_mask
        first = mask.index(0) if 0 in mask else len(mask)
        last = len(mask) - mask[::-1].index(0) if 0 in mask else len(mask)
        return encoding.ids[:first], encoding.ids[last:]

    def token(self, identity: int) -> str:
        """A token as the vocabulary writes it. Raises ValueError for an id that is not in it."""
        token: str | None = self._tokenizer.id_to_token(identity)
        if token is None:
            raise ValueError(f"the vocabulary has no token {identity}")
        return token

    def token_id(self, token: str) -> int | None:
        """The id of a token as the vocabulary writes it; None: it has no such token."""
        identity: int | None = self._tokenizer.token_to_id(token)
        return identity

    def count(self, texts: Sequence[str], limit: int) -> list[Counted]:
        """The first `limit` ids of each text, and its number of tokens."""
        kept: list[list[int]] = [[] for _ in texts]
        totals = [0] * len(texts)
        for group in _groups(texts):
            pieces = [texts[text][start:end] for text, (start, end) in group]
            encodings = self._tokenizer.encode_batch_fast(pieces, add_special_tokens=False)
            for (text, _), encoding in zip(group, encodings, strict=True):
                ids = encoding.ids
                kept[text] += ids[: max(0, limit - len(kept[text]))]
                totals[text] += len(ids)
        return [Counted(ids, total) for ids, total in zip(kept, totals, strict=True)]

    def spans(self, text: str) -> list[Span]:
        """Characters of every token of a text."""
        return [span for offset, encoding in self._encodings(text) for span in _shifted(encoding.offsets, offset)]

    def tokens(self, text: str, limit: int) -> list[Token]:
        """The first `limit` tokens of a text."""
        tokens: list[Token] = []
        for offset, encoding in self._encodings(text):
            spans = _shifted(encoding.offsets, offset)
            tokens += [Token(name, *span) for name, span in zip(encoding.tokens, spans, strict=True)]
            if len(tokens) >= limit:
                break
        return tokens[:limit]

    def with_special_tokens(self, text: str) -> Encoding:
        """One short text as the tokenizer frames it for its model."""
        return self._tokenizer.encode(text)

    def _encodings(self, text: str) -> Iterator[tuple[int, Encoding]]:
        for start, end in _piece_spans(text):
            yield start, self._tokenizer.encode(text[start:end], add_special_tokens=False)


def _unknown_id(tokenizer: Tokenizer, tokenizer_json: str) -> int | None:
    """The id of what is not in the vocabulary; None: there is none, as with byte-level vocabularies."""
    # searched, not parsed: a vocabulary of 250,000 pieces takes a second to parse
    identity = re.search(r'"unk_id"\s*:\s*(\d+)', tokenizer_json)
    if identity is not None:
        return int(identity[1])
    token = re.search(r'"unk_token"\s*:\s*("(?:[^"\\]|\\.)*")', tokenizer_json)
    return None if token is None else tokenizer.token_to_id(json.loads(token[1]))


def _without_special_pieces(tokenizer_json: str) -> str:
    """A tokenizer.json whose vocabulary does not spell special tokens out of text.

    SentencePiece vocabularies hold "</s>" and "<mask>" as pieces with the best of all scores, so that a text would be
    cut into them although they are not looked for as special tokens.
    """
    content = json.loads(tokenizer_json)
    model = content.get("model") or {}
    if model.get("type") != "Unigram":
        return tokenizer_json
    special = {token["content"] for token in content.get("added_tokens") or [] if token.get("special")}
    model["vocab"] = [[piece, _NEVER if piece in special else score] for piece, score in model["vocab"]]
    return json.dumps(content, ensure_ascii=False)


def _shifted(spans: Sequence[Span], offset: int) -> list[Span]:
    return [(start + offset, end + offset) for start, end in spans]


def head_of_text(text: str) -> str:
    """As much of a text as its first tokens can depend on, whatever an encoder's length: its first piece."""
    return text[: next(_piece_spans(text))[1]]


def _piece_spans(text: str) -> Iterator[Span]:
    """Pieces of a text that end before a white space, or after PIECE_CHARACTERS where there is none.

    No word crosses a white space, so the tokens are those of the whole text. Only in a stretch of PIECE_CHARACTERS
    without any may a word be divided, far behind what an encoder takes.
    """
    start = 0
    while len(text) - start > PIECE_CHARACTERS:
        limit = start + PIECE_CHARACTERS
        end = next((at for at in range(limit, start, -1) if text[at].isspace()), limit)
        yield start, end
        start = end
    yield start, len(text)


def _groups(texts: Sequence[str]) -> Iterator[list[tuple[int, Span]]]:
    """(text, span) of all pieces of all texts, in lists of at most GROUP_CHARACTERS."""
    group: list[tuple[int, Span]] = []
    characters = 0
    for text, content in enumerate(texts):
        for start, end in _piece_spans(content):
            if group and characters + end - start > GROUP_CHARACTERS:
                yield group
                group, characters = [], 0
            group.append((text, (start, end)))
            characters += end - start
    if group:
        yield group
