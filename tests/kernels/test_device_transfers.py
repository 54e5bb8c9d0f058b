"""Rows go to a device and results come back while it works, and nobody sees memory too early or too late.

Without a GPU the queues are a machine of ours: what is put into a queue happens as late as it is allowed to, or in an
order that is drawn by chance, so that a missing wait shows as a wrong result.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch

from jcb_engine.kernels.device_transfers import Downloads, Mark, Queues, parts_of, queues_of, uploaded


@dataclass
class LateMark:
    queue: LateQueue
    length: int

    @property
    def is_reached(self) -> bool:
        return self.queue.done >= self.length

    def synchronize(self) -> None:
        """As little as possible happens on the way here."""
        self.queue.run_to(self.length)


@dataclass
class LateQueue:
    """Runs a task when somebody waits for it, or by chance."""

    tasks: list[Callable[[], None] | LateMark] = field(default_factory=list)
    done: int = 0

    def copy(self, target: torch.Tensor, source: torch.Tensor) -> None:
        self.launch(lambda: target.copy_(source))

    def launch(self, task: Callable[[], object]) -> None:
        self.tasks.append(task)

    def mark(self) -> LateMark:
        return LateMark(self, len(self.tasks))

    def follow(self, mark: Mark) -> None:
        assert isinstance(mark, LateMark)
        self.tasks.append(mark)

    def run_to(self, length: int) -> None:
        while self.done < length:
            task = self.tasks[self.done]
            if isinstance(task, LateMark):
                task.synchronize()
            else:
                task()
            self.done += 1

    def try_one(self) -> None:
        if self.done < len(self.tasks):
            task = self.tasks[self.done]
            if not isinstance(task, LateMark) or task.is_reached:
                self.run_to(self.done + 1)


def late_queues() -> Queues:
    return Queues(torch.device("cpu"), LateQueue(), LateQueue(), LateQueue())


def doubled(rows: np.ndarray, queues: Queues, at_once: int, between: Callable[[], None] = lambda: None) -> np.ndarray:
    """2 * rows as the device makes it, part by part; what it had no time for yet reads as -1."""
    out = np.full_like(rows, -1)
    downloads = Downloads(queues)
    for part, there in uploaded(rows, queues, at_once):
        made = torch.full(there.shape, -1.0)
        if isinstance(queues.work, LateQueue):
            queues.work.launch(lambda made=made, there=there: torch.mul(there, 2, out=made))
        else:
            torch.mul(there, 2, out=made)
        between()
        downloads.put([made], [out[part]])
        between()
    downloads.finish()
    return out


def some_rows(count: int) -> np.ndarray:
    return np.random.default_rng(count).standard_normal((count, 3)).astype(np.float32)


@pytest.mark.parametrize("count", [0, 1, 4, 5, 8, 9, 41])
def test_every_part_comes_and_goes_once(count: int) -> None:
    rows = some_rows(count)
    for queues in (queues_of(torch.device("cpu")), late_queues()):
        np.testing.assert_array_equal(doubled(rows, queues, 4), 2 * rows)
    assert [part.stop - part.start for part in parts_of(9, 4)] == [4, 4, 1]


@pytest.mark.parametrize("seed", range(40))
def test_no_order_of_the_queues_changes_a_result(seed: int) -> None:
    random, queues, rows = np.random.default_rng(seed), late_queues(), some_rows(60)
    each = (queues.work, queues.up, queues.down)

    def between() -> None:
        for number in random.integers(3, size=random.integers(12)):
            each[number].try_one()

    for _ in range(2):  # the second time in queues that still have work
        np.testing.assert_array_equal(doubled(rows, queues, 7, between), 2 * rows)


@pytest.mark.parametrize("forgotten", ["work", "up", "down"])
def test_a_queue_that_waits_for_none_would_be_seen(forgotten: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine is no better than what it finds."""
    rows, wrong = some_rows(60), 0
    for seed in range(20):
        random, queues = np.random.default_rng(seed), late_queues()
        careless = getattr(queues, forgotten)
        monkeypatch.setattr(careless, "follow", lambda mark: None, raising=False)
        each = (queues.work, queues.up, queues.down)

        def between(random: np.random.Generator = random, each: tuple[LateQueue, ...] = each) -> None:
            for number in random.integers(3, size=random.integers(12)):
                each[number].try_one()

        wrong += not np.array_equal(doubled(rows, queues, 7, between), 2 * rows)
    assert wrong > 0


def test_the_host_is_two_parts_ahead_at_most_and_waits_for_no_part_it_has_just_sent() -> None:
    queues, taken = late_queues(), []
    work = queues.work
    for part, _ in uploaded(some_rows(50), queues, 5):
        work.launch(lambda part=part: taken.append(part.start))
        assert len(taken) <= part.start // 5  # nothing made the host wait for this part
    assert taken[-1] <= 50 - 2 * 5  # nor, at the end, for the last two
    work.run_to(len(work.tasks))
    assert taken == list(range(0, 50, 5))


def test_who_stops_early_leaves_no_copy_under_way_that_programs_do_not_wait_for() -> None:
    queues = late_queues()
    parts = uploaded(some_rows(50), queues, 5)
    next(parts)
    next(parts)
    parts.close()
    assert isinstance(queues.work.tasks[-1], LateMark)
    queues.work.run_to(len(queues.work.tasks))
    assert queues.up.done == len(queues.up.tasks)


def test_a_map_of_a_file_that_may_not_be_written_is_sent(tmp_path: Path) -> None:
    rows = some_rows(20)
    rows.tofile(tmp_path / "rows")
    mapped = np.memmap(tmp_path / "rows", dtype=np.float32, mode="r", shape=rows.shape)
    np.testing.assert_array_equal(doubled(mapped, queues_of(torch.device("cpu")), 6), 2 * rows)


def test_results_of_other_types_and_shapes_come_back() -> None:
    ids, codes = np.zeros(6, np.uint32), np.zeros((6, 2), np.uint8)
    downloads = Downloads(queues_of(torch.device("cpu")))
    for part in parts_of(6, 2):
        downloads.put(
            [torch.full((2,), 3, dtype=torch.int32), torch.full((2, 2), 200, dtype=torch.uint8)],
            [ids[part], codes[part]],
        )
    downloads.finish()
    assert ids.tolist() == [3] * 6
    assert (codes == 200).all()
