"""Texts -> token vectors through a backbone that takes packed texts: `mini` and the checkpoints we load ourselves."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from types import TracebackType
from typing import Self

import numpy as np
import torch
from torch import Tensor

from jcb_engine.encoder.backbones import Backbone, Packed
from jcb_engine.encoder.batches import token_batches
from jcb_engine.encoder.colbert_tokenizer import ColbertTokenizer, TokenizedText
from jcb_engine.encoder.cpu_workers import run_on_workers, worker_count
from jcb_engine.encoder.model import CheckpointWriter
from jcb_engine.encoder.projection import Head, Heads
from jcb_engine.encoder.record import EncoderRecord
from jcb_engine.encoder.tokens import Span, Token
from jcb_engine.types import BoolArray, Int64Array, RaggedEmbeddings

# On a CPU a batch is one thread's: small enough for its activations to stay in the cache and for all threads to end
# together, large enough that the weights are read seldom. 256, 512, 1024 and 2048 tokens differ by less than the noise
# of 2 cores of a Zen 3, with mini and with layers of XLM-R-large alike. A GPU wants enough to do at once.
CPU_TOKEN_BUDGET = 512
GPU_TOKEN_BUDGET = 65536


@dataclass(frozen=True, slots=True)
class _Batch:
    """texts: their places among all; tokenized: their ids; keep: which of all their tokens get a vector."""

    texts: Int64Array
    tokenized: list[TokenizedText]
    keep: BoolArray


@dataclass(frozen=True, slots=True)
class _Pending:
    """Vectors [kept tokens, dim] by dimension, on their way to the host. ready: set when they are there, or None."""

    batch: _Batch
    vectors: Mapping[int, Tensor]
    ready: torch.cuda.Event | None

    def finished(self) -> tuple[_Batch, Mapping[int, Tensor]]:
        if self.ready is not None:
            self.ready.synchronize()
        return self.batch, self.vectors


class Replica:
    """A backbone and heads on one device. Keeps nothing of a call, so that several threads may use it."""

    def __init__(
        self, backbone: Backbone, heads: Heads, dtype: torch.dtype, source: str, *, flash_attn: bool = False
    ) -> None:
        self.backbone, self._heads, self._dtype, self._source = backbone, heads, dtype, source
        self._flash_attn = flash_attn
        self._placed: dict[int, Head] = {}

    @property
    def token_budget(self) -> int:
        """Tokens of one batch."""
        return CPU_TOKEN_BUDGET if self.backbone.device.type == "cpu" else GPU_TOKEN_BUDGET

    def head(self, dim: int) -> Head:
        """The head of a dimension on this device. Raises InputError where there is none."""
        if dim not in self._placed:
            self._placed[dim] = self._heads.head(dim, self._source).to(self.backbone.device, self._dtype)
        return self._placed[dim]

    def hidden_states(self, texts: Sequence[TokenizedText]) -> Tensor:
        """[tokens, hidden] of the last layer, texts end to end."""
        ids = torch.from_numpy(np.concatenate([text.ids for text in texts]))
        if self.backbone.device.type == "cuda":
            ids = ids.pin_memory()
        lengths = tuple(len(text.ids) for text in texts)
        attended = tuple(text.attended for text in texts)
        ids = ids.to(self.backbone.device, non_blocking=True)
        return self.backbone(Packed(ids, lengths, attended, self._flash_attn))

    @torch.inference_mode()
    def _launch(self, batch: _Batch, dims: Sequence[int]) -> _Pending:
        hidden = self.hidden_states(batch.tokenized)
        if not batch.keep.all():
            hidden = hidden[torch.from_numpy(batch.keep).to(hidden.device, non_blocking=True)]
        vectors = {dim: self.head(dim)(hidden) for dim in dims}
        if hidden.device.type != "cuda":
            return _Pending(batch, {dim: vector.cpu() for dim, vector in vectors.items()}, None)
        on_host = {dim: torch.empty(vector.shape, pin_memory=True) for dim, vector in vectors.items()}
        for dim, vector in vectors.items():
            on_host[dim].copy_(vector, non_blocking=True)
        ready = torch.cuda.Event()  # type: ignore[no-untyped-call]
        ready.record(torch.cuda.current_stream(hidden.device))
        return _Pending(batch, on_host, ready)

    def vectors(self, batches: Iterable[_Batch], dims: Sequence[int]) -> Iterator[tuple[_Batch, Mapping[int, Tensor]]]:
        """Batch by batch; on CUDA the next one is computed while the last is copied and stored."""
        pending: deque[_Pending] = deque()
        for batch in batches:
            pending.append(self._launch(batch, dims))
            if len(pending) > 1 or pending[0].ready is None:
                yield pending.popleft().finished()
        while pending:
            yield pending.popleft().finished()


class PackedModel:
    """A tokenizer, one replica of backbone and heads for each device, and the record of all that."""

    def __init__(
        self,
        tokenizer: ColbertTokenizer,
        replicas: Sequence[Replica],
        heads: Heads,
        dim: int,
        record: Callable[[], EncoderRecord],
        writer: CheckpointWriter | None = None,
    ) -> None:
        """dim: that of `encode`. record: made when first asked for, since it hashes files. writer: saves the model.

        Raises InputError where there is no such head.
        """
        self._tokenizer, self._replicas, self._heads, self._dim = tokenizer, replicas, heads, dim
        self._record = cache(record)
        self.writer = writer
        for replica in replicas:
            replica.head(dim)

    @property
    def dim(self) -> int:
        return self._dim

    @property
    def dims(self) -> tuple[int, ...]:
        """The dimensions on offer."""
        return self._heads.dims

    @property
    def record(self) -> EncoderRecord:
        return self._record()

    def encode(self, texts: Sequence[str], *, is_query: bool) -> RaggedEmbeddings:
        """Vectors of every text; none for a text in which the tokenizer finds no token."""
        return self.encode_dims(texts, [self._dim], is_query=is_query)[self._dim]

    def encode_dims(self, texts: Sequence[str], dims: Sequence[int], *, is_query: bool) -> dict[int, RaggedEmbeddings]:
        """Vectors of several dimensions from one pass through the backbone, by dimension.

        Raises InputError where there is no such head.
        """
        for dim in dims:
            self._replicas[0].head(dim)
        tokenized = self._tokenizer.tokenize(texts, is_query=is_query)
        keep = self._tokenizer.scored(tokenized, is_query=is_query)
        offsets = np.zeros(len(texts) + 1, dtype=np.int64)
        np.cumsum([np.count_nonzero(kept) for kept in keep], out=offsets[1:])
        values = {dim: np.empty((int(offsets[-1]), dim), dtype=np.float32) for dim in dims}

        def store(replica: Replica, batches: Iterable[_Batch]) -> None:
            for batch, vectors in replica.vectors(batches, dims):
                rows = _rows(offsets, batch.texts)
                for dim in dims:
                    values[dim][rows] = vectors[dim].numpy()

        self._on_all_replicas(store, self._batches(tokenized, keep))
        cut = np.array([text.cut for text in tokenized], dtype=np.int64)
        unknown = np.array([text.unknown for text in tokenized], dtype=np.int64)
        return {dim: RaggedEmbeddings(values[dim], offsets, cut, unknown) for dim in dims}

    def _batches(self, tokenized: Sequence[TokenizedText], keep: Sequence[BoolArray]) -> list[_Batch]:
        budget = min(replica.token_budget for replica in self._replicas)
        batches = []
        for batch in token_batches([len(text.ids) for text in tokenized], budget):
            kept = np.concatenate([keep[text] for text in batch])
            batches.append(_Batch(batch, [tokenized[text] for text in batch], kept))
        return batches

    def _on_all_replicas(self, work: Callable[[Replica, Iterable[_Batch]], None], batches: list[_Batch]) -> None:
        """Every replica takes the next batch when it is through with one; the longest texts come first.

        One replica on a CPU is shared by as many threads as torch has, where each of them finds a batch.
        """
        replica = self._replicas[0]
        on_cpu = replica.backbone.device.type == "cpu"
        if len(self._replicas) == 1 and not (on_cpu and len(batches) >= worker_count() > 1):
            work(replica, batches)
            return
        shared = _Shared(batches)

        def share(replica: Replica) -> None:
            with shared:  # who fails ends the work of all
                work(replica, shared)

        if len(self._replicas) == 1:
            with shared:
                run_on_workers(lambda: share(replica))
            return
        with ThreadPoolExecutor(len(self._replicas)) as pool, shared:
            for done in [pool.submit(share, each) for each in self._replicas]:
                done.result()

    def tokens(self, text: str, *, is_query: bool) -> list[Token]:
        """One token for every vector."""
        return self._tokenizer.tokens(text, is_query=is_query)

    def token_spans(self, text: str) -> list[Span]:
        """Characters of every token, none cut, no special ones."""
        return self._tokenizer.spans(text)


class _Shared:
    """One iterator for several threads. It ends early when an error or an interrupt leaves a `with` of it."""

    def __init__(self, batches: Iterable[_Batch]) -> None:
        self._batches, self._lock, self._stopped = iter(batches), threading.Lock(), False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopped = self._stopped or kind is not None

    def __iter__(self) -> Iterator[_Batch]:
        return self

    def __next__(self) -> _Batch:
        with self._lock:
            if self._stopped:
                raise StopIteration
            return next(self._batches)


def _rows(offsets: Int64Array, texts: Int64Array) -> Int64Array:
    """Rows of all vectors of some texts, text after text."""
    return np.concatenate([np.arange(offsets[text], offsets[text + 1]) for text in texts])
