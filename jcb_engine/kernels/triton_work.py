"""What the Triton programs are to score in a call: query tokens in pieces, and documents. Imported by the Triton
backend's modules alone: needs torch.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from jcb_engine.errors import CorruptIndexError, InputError
from jcb_engine.kernels.interface import Candidates, Lists, Ranges
from jcb_engine.kernels.triton_store import TritonStore, place
from jcb_engine.types import Int64Array

PIECE = 32  # query tokens of a program
_PIECE_FIELDS = 4
_MOST_PIECES = 65_535  # of a launch, along its second axis
_ALIGNED = 16  # int64 values: parts of one array begin where programs expect arrays to


@dataclass(frozen=True, slots=True)
class Work:
    """Which documents are scored for which queries. P pieces of 32 query tokens; a query without any is one piece.

    pieces [P, 4] int64, first_tokens [items] int64 and token_counts [items] int32: see triton_kernels.py. tokens: the
    query token [P, 32] of each column, -1 where there is none. counts: per query its pieces and its documents. items:
    the most that a piece has. outputs: scores of all pieces.
    """

    pieces: torch.Tensor
    first_tokens: torch.Tensor
    token_counts: torch.Tensor
    tokens: torch.Tensor
    counts: list[tuple[int, int]]
    items: int
    outputs: int


def plan(store: TritonStore, query_offsets: Int64Array, candidates: Candidates, device: torch.device) -> Work:
    """CorruptIndexError on a document that the store does not have."""
    first_tokens, token_counts, ranges = _items(store, candidates, len(query_offsets) - 1, device)
    tokens, piece_counts = _pieces(query_offsets)
    pieces: list[tuple[int, int, int, int]] = []
    outputs = 0
    for count, (first, last) in zip(piece_counts, ranges, strict=True):
        for _ in range(count):
            pieces.append((first, last - first, outputs, 0))
            outputs += last - first
    described = np.array(pieces, dtype=np.int64).reshape(-1, _PIECE_FIELDS)
    lengths = [last - first for first, last in ranges]
    return Work(
        place(described, device),
        first_tokens,
        token_counts,
        place(tokens, device),
        list(zip(piece_counts, lengths, strict=True)),
        max(lengths, default=0),
        outputs,
    )


def added(partial: torch.Tensor, work: Work) -> torch.Tensor:
    """Scores of queries out of those of their pieces, added in order."""
    if all(pieces == 1 for pieces, _ in work.counts):
        return partial
    parts, begin = [partial[:0]], 0
    for pieces, documents in work.counts:
        own = partial[begin : begin + pieces * documents]
        total = own[:documents].clone()
        for piece in range(1, pieces):
            total += own[piece * documents : (piece + 1) * documents]
        parts.append(total)
        begin += len(own)
    return torch.cat(parts)


class QueryLayout:
    """Where the query tokens of a call are, on the device after one transfer, for lists that are made there.

    tokens [P, 32]: as in Work. query_of_token [Q], lengths [queries]: tokens of a query. All int64.
    """

    def __init__(self, query_offsets: Int64Array, rooms: Sequence[int], device: torch.device) -> None:
        """rooms: documents that lists of a query may hold. InputError where there are too many pieces."""
        tokens, counts = _pieces(query_offsets)
        self.most_pieces = max(counts, default=0)
        ends = np.cumsum(counts)
        pieces_of_query = (ends - counts)[:, None] + np.arange(self.most_pieces)
        lengths = np.diff(query_offsets)
        queries = np.arange(len(lengths))
        described = [_lists(np.repeat(queries, counts), room) for room in rooms]
        self.tokens, self._pieces_of_query, self.query_of_token, self.lengths, *pieces = _placed(
            [
                tokens,
                np.where(pieces_of_query < ends[:, None], pieces_of_query, -1),
                np.repeat(queries, lengths),
                lengths,
                *described,
            ],
            device,
        )
        self._pieces = dict(zip(rooms, pieces, strict=True))

    def work(self, store: TritonStore, documents: torch.Tensor, counts: torch.Tensor) -> Work:
        """To score documents [queries, room] int64 where `counts` [queries, room] is true; others score -inf.

        Scores of pieces stay apart: `added` here puts them together.
        """
        room, count = documents.shape[1], len(self.tokens)
        numbers = documents.flatten()
        return Work(
            self._pieces[room],
            store.first_tokens[numbers],
            torch.where(counts.flatten(), store.token_counts[numbers], 0),
            self.tokens,
            [(1, room)] * count,
            room,
            count * room,
        )

    def added(self, partial: torch.Tensor, room: int) -> torch.Tensor:
        """[queries, room] out of the scores of pieces, added in order, as `added` does."""
        found = partial.view(-1, room)
        if self.most_pieces == 1:
            return found
        padded = torch.cat([found, found.new_zeros((1, room))])  # the last one is what -1 names
        total = padded[self._pieces_of_query[:, 0]]
        for piece in range(1, self.most_pieces):
            total += padded[self._pieces_of_query[:, piece]]
        return total

    def largest(self, values: torch.Tensor) -> torch.Tensor:
        """[queries] of values [Q] of query tokens, none of them negative: the largest of each query."""
        nothing = values.new_zeros(1)
        of_pieces = torch.cat([values, nothing])[self.tokens].amax(dim=1)
        return torch.cat([of_pieces, nothing])[self._pieces_of_query].amax(dim=1)


def _pieces(query_offsets: Int64Array) -> tuple[Int64Array, list[int]]:
    """The query token [P, 32] of each piece's columns, -1 where there is none, and how many pieces each query has."""
    spans: list[tuple[int, int]] = []
    counts = []
    for begin, end in itertools.pairwise(query_offsets.tolist()):
        starts = range(begin, end, PIECE) if end > begin else (begin,)
        counts.append(len(starts))
        spans += [(start, min(PIECE, end - start)) for start in starts]
    if len(spans) > _MOST_PIECES:
        raise InputError(
            f"{len(spans)} pieces of {PIECE} query tokens in one call; at most {_MOST_PIECES}: ask in parts"
        )
    placed = np.array(spans, dtype=np.int64).reshape(-1, 2)
    return np.where(np.arange(PIECE) < placed[:, 1:], placed[:, :1] + np.arange(PIECE), -1), counts


def _lists(query_of_piece: Int64Array, room: int) -> Int64Array:
    """Pieces [P, 4] whose query's documents lie in a list of its own, with so much room."""
    count = len(query_of_piece)
    nothing = np.zeros(count, np.int64)
    return np.stack([query_of_piece * room, nothing + room, np.arange(count) * room, nothing], axis=1)


def _placed(arrays: Sequence[Int64Array], device: torch.device) -> list[torch.Tensor]:
    """int64 arrays on the device, as parts of one that goes there at once."""
    begins = list(itertools.accumulate((-(-array.size // _ALIGNED) * _ALIGNED for array in arrays), initial=0))
    whole = np.zeros(begins[-1], np.int64)
    for array, begin in zip(arrays, begins, strict=False):
        whole[begin : begin + array.size] = array.ravel()
    there = place(whole, device)
    return [there[begin : begin + array.size].view(*array.shape) for array, begin in zip(arrays, begins, strict=False)]


def _items(
    store: TritonStore, candidates: Candidates, queries: int, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor, list[tuple[int, int]]]:
    """First tokens and token counts of documents in the order of their scores, and which of them are each query's."""
    if isinstance(candidates, Ranges) and candidates.starts.tolist() == [0]:
        last = int(candidates.ends[0])  # everything, usually: that is on the device already
        return store.first_tokens[:last], store.token_counts[:last], [(0, last)] * queries
    if isinstance(candidates, Lists):
        documents = candidates.documents.astype(np.int64)
        ranges = list(itertools.pairwise(candidates.list_offsets.tolist()))
    else:
        parts = [np.arange(start, end) for start, end in zip(candidates.starts, candidates.ends, strict=True)]
        documents = np.concatenate([np.zeros(0, np.int64), *parts]).astype(np.int64)
        ranges = [(0, len(documents))] * queries
    if len(documents) and int(documents.max()) >= store.documents:
        raise CorruptIndexError(f"document {int(documents.max())} is not in the store, which has {store.documents}")
    first_tokens = store.doc_offsets[documents]
    counts = (store.doc_offsets[documents + 1] - first_tokens).astype(np.int32)
    return place(first_tokens, device), place(counts, device), ranges
