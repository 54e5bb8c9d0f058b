"""How a model wants its texts: markers, lengths, query expansion, and which tokens are left out of the score.

Defaults of a checkpoint come from its files (layouts/), and a caller's `EncoderOptions` go over them.
"""

from __future__ import annotations

import string
from dataclasses import dataclass
from typing import Literal, TypeAlias

Punctuation: TypeAlias = Literal["reference", "pylate", "sentence-transformers", "off"]
PUNCTUATION_RULES: tuple[Punctuation, ...] = ("reference", "pylate", "sentence-transformers", "off")


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRules:
    """Tokens of queries and documents, as the library that a checkpoint was trained with cuts them.

    query_marker, document_marker: the token at position 1 of a text, as the vocabulary writes it; None: there is none.
    query_length, document_length: the most tokens of a text, special ones and marker included.
    query_expansion: queries are filled up with mask tokens to query_length, and these search like any other token.
    attends_to_expansion: whether the other tokens attend to the mask tokens, too.
    punctuation: which document tokens count as punctuation and get no vector.
        "reference": the first token of each symbol alone, as Stanford's ColBERT has it: with SentencePiece that is the
        symbol at the start of a word. "pylate": the token that is written like the symbol, with SentencePiece the
        symbol glued to a word; where there is none, the unknown token. "sentence-transformers": the same, but unknown
        tokens are kept. "off": every token gets a vector. The vocabularies of BERT make all three the same.
    skipped_words: the symbols.
    special_tokens_as_text: whether "<mask>" typed in a text is six characters or the mask token; the libraries that
        models are trained with take it for the token.
    unknown_markers: a marker that is not in the vocabulary is the unknown token, as colbert-ai has it; else an error.
    drops_first: the first token gets no vector (BGE-M3).
    """

    query_marker: str | None = None
    document_marker: str | None = None
    query_length: int
    document_length: int
    query_expansion: bool = False
    attends_to_expansion: bool = False
    punctuation: Punctuation = "off"
    skipped_words: tuple[str, ...] = tuple(string.punctuation)
    special_tokens_as_text: bool = False
    unknown_markers: bool = False
    drops_first: bool = False
