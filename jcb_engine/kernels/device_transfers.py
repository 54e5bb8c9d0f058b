"""Rows of host arrays to a device, and results back, while it works on other rows. Needs torch.

A GPU has three queues: of programs, and one for each direction of the bus. The host only fills them: it copies a part
into pinned memory while the part before crosses the bus and the one before that is worked on. Where work is done at
once (Triton's interpreter), queues order nothing, and everything else is the same.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from jcb_engine.types import AnyArray, Float32Array

_BUFFERS = 2  # one is filled or crosses the bus while the other is worked on


class Mark(Protocol):
    """A point in a queue."""

    def synchronize(self) -> None:
        """Wait, on the host, until all that came before it is done."""
        ...


class Queue(Protocol):
    """What is done one after the other; of two queues, whatever comes first, but for marks."""

    def copy(self, target: torch.Tensor, source: torch.Tensor) -> None:
        """Copy between pinned host memory and the device, without waiting for it."""
        ...

    def mark(self) -> Mark: ...

    def follow(self, mark: Mark) -> None:
        """What comes next here waits for a mark of another queue."""
        ...


@dataclass(frozen=True, slots=True)
class Queues:
    """Of one device. work: where the programs are that the calling thread launches."""

    device: torch.device
    work: Queue
    up: Queue
    down: Queue

    def staging(self, shape: Sequence[int], dtype: torch.dtype) -> torch.Tensor:
        """Host memory that the device reads and writes by itself; torch keeps it for the next who asks."""
        return torch.empty(tuple(shape), dtype=dtype, pin_memory=self.device.type == "cuda")


def current(device: torch.device) -> AbstractContextManager[object]:
    """In it the device is the thread's current one, for which programs are launched."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


def queues_of(device: torch.device) -> Queues:
    """Those of the calling thread. Of a GPU, which has to be the thread's current one."""
    if device.type != "cuda":
        return Queues(device, AtOnce(), AtOnce(), AtOnce())
    up, down = (StreamQueue(torch.cuda.Stream(device)) for _ in range(2))  # type: ignore[no-untyped-call]
    return Queues(device, StreamQueue(torch.cuda.current_stream(device)), up, down)


class StreamQueue:
    """A stream of CUDA."""

    def __init__(self, stream: torch.cuda.Stream) -> None:
        self._stream = stream

    def copy(self, target: torch.Tensor, source: torch.Tensor) -> None:
        with torch.cuda.stream(self._stream):
            target.copy_(source, non_blocking=True)

    def mark(self) -> torch.cuda.Event:
        event = torch.cuda.Event()  # type: ignore[no-untyped-call]
        event.record(self._stream)
        return event

    def follow(self, mark: Mark) -> None:
        assert isinstance(mark, torch.cuda.Event), "marks are of queues of the same kind"
        self._stream.wait_event(mark)


class AtOnce:
    """A queue, and its own mark, where everything is done when it is asked for."""

    def copy(self, target: torch.Tensor, source: torch.Tensor) -> None:
        target.copy_(source)

    def mark(self) -> AtOnce:
        return self

    def follow(self, mark: Mark) -> None:
        pass

    def synchronize(self) -> None:
        pass


def parts_of(rows: int, at_once: int) -> list[slice]:
    """Slices of at most so many rows that make up all of them."""
    return [slice(start, min(start + at_once, rows)) for start in range(0, rows, at_once)]


def uploaded(rows: Float32Array, queues: Queues, at_once: int) -> Iterator[tuple[slice, torch.Tensor]]:
    """Each part of rows [T, D] and its copy on the device, which is good for programs launched before the next part is
    asked for. The rows may be a map of a file.
    """
    shape = (min(at_once, len(rows)), rows.shape[1])
    staging = [queues.staging(shape, torch.float32) for _ in range(_BUFFERS)]
    there = [torch.empty(shape, dtype=torch.float32, device=queues.device) for _ in range(_BUFFERS)]
    sent: list[Mark | None] = [None] * _BUFFERS
    worked_on: list[Mark | None] = [None] * _BUFFERS
    queues.up.follow(queues.work.mark())  # programs launched earlier may still use what was this memory before
    try:
        for number, part in enumerate(parts_of(len(rows), at_once)):
            place, count = number % _BUFFERS, part.stop - part.start
            if (mark := sent[place]) is not None:
                mark.synchronize()
            # By torch, which copies on several threads.
            staging[place][:count].copy_(torch.from_numpy(np.require(rows[part], requirements=["C", "W"])))
            if (mark := worked_on[place]) is not None:
                queues.up.follow(mark)
            queues.up.copy(there[place][:count], staging[place][:count])
            sent[place] = mark = queues.up.mark()
            queues.work.follow(mark)
            yield part, there[place][:count]
            worked_on[place] = queues.work.mark()
    finally:
        queues.work.follow(queues.up.mark())  # also where the caller has stopped: then a copy may be under way


class Downloads:
    """Results into host arrays: those of two parts may be under way. Call `finish` before the arrays are read."""

    def __init__(self, queues: Queues) -> None:
        self._queues = queues
        self._pending: deque[tuple[Mark, list[torch.Tensor], Sequence[torch.Tensor], Sequence[AnyArray]]] = deque()

    def put(self, results: Sequence[torch.Tensor], targets: Sequence[AnyArray]) -> None:
        """Copy tensors that launched programs make into arrays of their shapes, without waiting for them."""
        if len(self._pending) == _BUFFERS:
            self._take()
        down = self._queues.down
        down.follow(self._queues.work.mark())
        staging = [self._queues.staging(result.shape, result.dtype) for result in results]
        for staged, result in zip(staging, results, strict=True):
            down.copy(staged, result)
        # The results as well: their memory must not be given to others before they are copied.
        self._pending.append((down.mark(), staging, results, targets))

    def finish(self) -> None:
        """Wait until everything is in its array."""
        while self._pending:
            self._take()

    def _take(self) -> None:
        mark, staging, _, targets = self._pending.popleft()
        mark.synchronize()
        for target, staged in zip(targets, staging, strict=True):
            target[...] = staged.numpy()
