"""Why a document got its score: for every query token the document token that it matched."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from jcb_engine.encoder import Token
from jcb_engine.kernels import Backend
from jcb_engine.types import Float32Array


@dataclass(frozen=True, slots=True)
class Match:
    """One query token and its best document token; the similarities of a document's matches add up to its score.

    start, end: characters of the document's full text (title, a space, text); -1 where the token is a special one or
    the encoder cannot tell.
    """

    query_token: str
    query_position: int
    document_token: str
    document_position: int
    similarity: float
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Explanation:
    """The score of one document for one query, taken apart."""

    id: str
    score: float
    matches: tuple[Match, ...]


def explain_match(
    backend: Backend,
    document_id: str,
    query: Float32Array,
    document: Float32Array,
    query_tokens: Sequence[Token] | None,
    document_tokens: Sequence[Token] | None,
) -> Explanation:
    """query [Q, D] and the document's decoded vectors [T, D], in the same basis; T >= 1.

    Tokens are named by position where there are none, or not as many as vectors.
    """
    query_offsets = np.array([0, len(query)], dtype=np.int64)
    doc_offsets = np.array([0, len(document)], dtype=np.int64)
    scores, argmax = backend.maxsim_argmax(query, query_offsets, document, doc_offsets)
    names = _names(query_tokens, len(query))
    tokens = _names(document_tokens, len(document))
    matches = []
    for position, winner in enumerate(argmax[0]):
        token = tokens[winner]
        similarity = float(query[position] @ document[winner])
        matches.append(
            Match(names[position].text, position, token.text, int(winner), similarity, token.start, token.end)
        )
    return Explanation(document_id, float(scores[0, 0]), tuple(matches))


def _names(tokens: Sequence[Token] | None, count: int) -> Sequence[Token]:
    if tokens is not None and len(tokens) == count:
        return tokens
    return [Token(f"vector {position}", -1, -1) for position in range(count)]
