"""Texts laid end to end: what every backbone takes, and never any padding."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Protocol

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Run:
    """Neighbouring texts of equal length: rows start:stop of the packed tokens.

    attended: for each text its leading tokens that are attended to; None: all of all texts.
    """

    start: int
    texts: int
    length: int
    attended: tuple[int, ...] | None

    @property
    def stop(self) -> int:
        return self.start + self.texts * self.length

    def mask(self, device: torch.device) -> Tensor | None:
        """[texts, 1, 1, length] bool, True where a token is attended to; None: everywhere."""
        if self.attended is None:
            return None
        counts = torch.tensor(self.attended, device=device)
        return (torch.arange(self.length, device=device) < counts[:, None])[:, None, None, :]


@dataclass(frozen=True, slots=True)
class Packed:
    """Several texts as one sequence of tokens.

    ids: [tokens] int64, on the device of the backbone. lengths: tokens of each text, none of them 0.
    attended: leading tokens of each text that its tokens attend to; the rest only attends.
    flash_attn: whether the package flash-attn computes the attention on CUDA.
    """

    ids: Tensor
    lengths: tuple[int, ...]
    attended: tuple[int, ...]
    flash_attn: bool = False

    @classmethod
    def whole(cls, ids: Tensor, lengths: Sequence[int]) -> Packed:
        """Texts of which every token is attended to."""
        return cls(ids, tuple(lengths), tuple(lengths))

    @property
    def is_whole(self) -> bool:
        """Whether every token is attended to."""
        return self.attended == self.lengths

    def positions(self) -> Tensor:
        """[tokens] int64: each token's place in its text, from 0."""
        return torch.cat([torch.arange(length, device=self.ids.device) for length in self.lengths])

    def runs(self) -> Iterator[Run]:
        """The texts in runs of equal length, in order."""
        start = text = 0
        for length, group in groupby(self.lengths):
            texts = len(list(group))
            attended = self.attended[text : text + texts]
            yield Run(start, texts, length, None if all(count == length for count in attended) else attended)
            start, text = start + texts * length, text + texts

    def offsets(self, counts: Sequence[int]) -> Tensor:
        """[texts + 1] int32 on the device: where each text begins when it has that many tokens."""
        ends = torch.tensor([0, *counts], device=self.ids.device)
        return torch.cumsum(ends, 0, dtype=torch.int32)

    def attended_rows(self) -> Tensor:
        """[attended tokens] int64: rows of the tokens that are attended to."""
        counts = torch.tensor(self.attended, device=self.ids.device)
        lengths = torch.tensor(self.lengths, device=self.ids.device)
        return torch.nonzero(self.positions() < torch.repeat_interleave(counts, lengths)).flatten()


class Backbone(Protocol):
    """A transformer encoder on one device."""

    @property
    def device(self) -> torch.device: ...

    @property
    def hidden_size(self) -> int: ...

    def __call__(self, packed: Packed) -> Tensor:
        """Hidden states of the last layer: [tokens, hidden]."""
