"""BERT's wordpieces: text -> token ids, cut to a length, with what was cut and what is unknown counted.

The tokenizer file is read as it is by the `tokenizers` library, but its settings of padding and truncation are not
used: a length belongs to a call. Special tokens typed in a text, such as "[SEP]", are text.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tokenizers import Encoding, Tokenizer

from jcb_engine.encoder.tokens import NO_SPAN, Span, Token

# A tokenizer needs 150 to 600 bytes for each character at work, so long texts go through it in pieces of
# PIECE_CHARACTERS and never more than GROUP_CHARACTERS at once: 1 MB of text then takes 30 MB instead of 160 to 600.
PIECE_CHARACTERS = 1 << 16
GROUP_CHARACTERS = 1 << 18


@dataclass(frozen=True, slots=True)
class CutText:
    """One text as token ids: [CLS], wordpieces, [SEP]; empty for a text without a wordpiece.

    cut: wordpieces left out at the end. unknown: how many of `ids` are [UNK].
    """

    ids: list[int]
    cut: int
    unknown: int


class WordPieces:
    """The tokenizer of a BERT checkpoint."""

    def __init__(self, tokenizer_json: str) -> None:
        """tokenizer_json: the content of a tokenizer.json; ValueError where it is none."""
        self._tokenizer = Tokenizer.from_str(tokenizer_json)
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        self._tokenizer.encode_special_tokens = True
        self._start, self._end, self._unknown = (self._id(name) for name in ("[CLS]", "[SEP]", "[UNK]"))

    def _id(self, name: str) -> int:
        identity = self._tokenizer.token_to_id(name)
        if identity is None:
            raise ValueError(f"the tokenizer has no {name}")
        return int(identity)

    def cut(self, texts: Sequence[str], length: int) -> list[CutText]:
        """Every text as at most `length` ids, [CLS] and [SEP] included."""
        kept: list[list[int]] = [[] for _ in texts]
        totals = [0] * len(texts)
        for group in _groups(texts):
            pieces = [texts[text][start:end] for text, (start, end) in group]
            encodings = self._tokenizer.encode_batch_fast(pieces, add_special_tokens=False)
            for (text, _), encoding in zip(group, encodings, strict=True):
                ids = encoding.ids
                kept[text] += ids[: length - 2 - len(kept[text])]
                totals[text] += len(ids)
        return [self._framed(ids, total) for ids, total in zip(kept, totals, strict=True)]

    def _framed(self, pieces: list[int], total: int) -> CutText:
        if not pieces:
            return CutText([], 0, 0)
        ids = [self._start, *pieces, self._end]
        return CutText(ids, total - len(pieces), pieces.count(self._unknown))

    def spans(self, text: str) -> list[Span]:
        """Characters of every wordpiece of a text, none cut."""
        return [span for offset, encoding in self._encodings(text) for span in _shifted(encoding.offsets, offset)]

    def tokens(self, text: str, length: int) -> list[Token]:
        """One token for every id that `cut` gives."""
        pieces: list[Token] = []
        for offset, encoding in self._encodings(text):
            spans = _shifted(encoding.offsets, offset)
            pieces += [Token(name, *span) for name, span in zip(encoding.tokens, spans, strict=True)]
            if len(pieces) >= length - 2:
                break
        if not pieces:
            return []
        return [Token("[CLS]", *NO_SPAN), *pieces[: length - 2], Token("[SEP]", *NO_SPAN)]

    def _encodings(self, text: str) -> Iterator[tuple[int, Encoding]]:
        for start, end in _piece_spans(text):
            yield start, self._tokenizer.encode(text[start:end], add_special_tokens=False)


def _shifted(spans: Sequence[Span], offset: int) -> list[Span]:
    return [(start + offset, end + offset) for start, end in spans]


def _piece_spans(text: str) -> Iterator[Span]:
    """Pieces of a text that end before a white space, or after PIECE_CHARACTERS where there is none.

    A word never crosses a white space, so the tokens are those of the whole text. In a stretch of PIECE_CHARACTERS
    without any, one word may be divided: nothing that is shorter than a tokenizer's longest word is lost by it but its
    own wording, far behind what an encoder takes.
    """
    start = 0
    while len(text) - start > PIECE_CHARACTERS:
        limit = start + PIECE_CHARACTERS
        end = next((at for at in range(limit, start, -1) if text[at].isspace()), limit)
        yield start, end
        start = end
    yield start, len(text)


def _groups(texts: Sequence[str]) -> Iterator[list[tuple[int, Span]]]:
    """(text, span) of all pieces of all texts, in lists of about GROUP_CHARACTERS."""
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
