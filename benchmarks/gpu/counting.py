"""Machine code of a kernel: its main loop, and for how long that keeps each part of a multiprocessor busy."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass

SCHEDULERS = 4  # of a multiprocessor; each issues one instruction of a warp a clock
# mma.sync m16n8k16 of fp16 (2,048 products at 512 a clock and scheduler) and m16n8k32 of i8 (4,096 at 1,024) take four
# clocks at the peak that Hopper's wgmma has; mma.sync was published to reach 63 % of it, measured for fp16.
MATRIX_CLOCKS = 4 / 0.63
CLASSES = {
    "matrix": re.compile(r"^(HMMA|IMMA|QMMA|HGMMA|IGMMA)"),
    "look-up": re.compile(r"^(LOP3|PRMT|SHF)"),
    "fma": re.compile(r"^(FFMA|FADD|FMUL|HFMA2|HMUL2|HADD2)"),
    "conversion": re.compile(r"^(F2FP|I2F|F2F|F2I|I2FP|FRND)"),
    "maximum": re.compile(r"^\w*MNMX"),
    "imad": re.compile(r"^IMAD"),
    "global load": re.compile(r"^LDG\."),
    "shared": re.compile(r"^(LDS|LDSM|STS)"),
    "copy": re.compile(r"^LDGSTS"),
    "shuffle": re.compile(r"^SHFL"),
}
# Half rate: 16 of 32 lanes a clock.
_HALF_RATE = re.compile(
    r"^(LOP3|PRMT|SHF|LEA|IADD3|VIADD|ISETP|SEL|FSEL|\w*MNMX|F2FP|PLOP3|FSETP|HSETP2|IABS|MOV|SGXT|BMSK)"
)
_DOUBLE = re.compile(r"^D(ADD|MUL|FMA|SETP)")
_MEMORY = re.compile(r"^(LDS|LDG|STS|LDGSTS|LDSM|SHFL)")


@dataclass(frozen=True)
class MainLoop:
    """lines: of the innermost loop with the most matrix instructions, a turn. around: of the loop around it alone."""

    lines: list[str]
    around: list[str]

    @property
    def counts(self) -> Counter[str]:
        """Instructions by class; "other" for the rest."""
        return Counter(_class_of(line) for line in self.lines)


def spills_in(lines: list[str]) -> int:
    """Loads and stores of a thread's own memory."""
    return sum(opcode(line).split(".")[0] in ("STL", "LDL") for line in lines)


def spills_of_main_loop(lines: list[str]) -> int:
    """Those in the loop around the matrix instructions, or anywhere where there is none."""
    try:
        return spills_in(main_loop(lines).lines)
    except ValueError:
        return spills_in(lines)


def opcode(line: str) -> str:
    """The name of an instruction without its predicate."""
    return re.sub(r"^@!?U?P[T\d]\s+", "", line).split(" ")[0]


def is_padding(line: str) -> bool:
    """nvcc puts three loads that never happen before each copy to shared memory on sm_90: they are issued, no more."""
    return line.startswith("@!PT")


def main_loop(lines: list[str], repeats: int = 1) -> MainLoop:
    """The loop around the matrix instructions. ValueError where there is none.

    repeats: how often every other loop of the one around it turns.

    Loops inside it, such as the search for the next document, turn rarely, and are left out. What a branch skips in
    most turns is counted, so that nothing is counted too low.
    """
    spans = _loops(lines)
    if not any(_matrix_count(lines, span) for span in spans):
        raise ValueError("there is no loop with matrix instructions")
    best = max(spans, key=lambda span: (_matrix_count(lines, span), span[0] - span[1]))
    outside = [span for span in spans if span[0] < best[0] and span[1] > best[1]]
    around = min(outside, key=lambda span: span[1] - span[0], default=best)
    inside = [span for span in spans if best[0] < span[0] and span[1] < best[1]]

    def instructions(span: tuple[int, int], without: list[tuple[int, int]]) -> list[str]:
        return [
            lines[i]
            for i in range(span[0], span[1] + 1)
            if not lines[i].endswith(":") and not any(first <= i <= last for first, last in without)
        ]

    beside = [span for span in spans if around[0] < span[0] and span[1] < around[1] and not _touch(span, best)]
    again = [line for span in beside for line in instructions(span, []) * (repeats - 1)]
    return MainLoop(instructions(best, inside), instructions(around, [best]) + again)


def with_longest_loop(lines: list[str], turns: int) -> list[str]:
    """The instructions of a program from end to end whose longest loop turns so often, others once."""
    first, last = max(_loops(lines), key=lambda span: span[1] - span[0], default=(0, -1))
    return [line for line in lines + lines[first : last + 1] * (turns - 1) if not line.endswith(":")]


def busy_clocks(lines: list[str]) -> dict[str, float]:
    """Clocks for which one scheduler's share of each part is busy, latencies hidden.

    issue: one instruction a clock. matrix: see MATRIX_CLOCKS. half-rate: integer, look-up and comparison at two clocks.
    double: two clocks. fma: one clock, IMAD two. memory: shared memory and L1 move 128 bytes a clock for all four
    schedulers.
    """
    names = [opcode(line) for line in lines]
    return {
        "issue": len(lines),
        "matrix": MATRIX_CLOCKS * sum(_matrix_instructions(name) for name in names),
        "half-rate": 2 * sum(bool(_HALF_RATE.match(name)) for name in names),
        "double": 2 * sum(bool(_DOUBLE.match(name)) for name in names),
        "fma": sum(2 if name.startswith("IMAD") else bool(CLASSES["fma"].match(name)) for name in names),
        "memory": SCHEDULERS * sum(_memory_clocks(line) for line in lines),
    }


def _class_of(line: str) -> str:
    if is_padding(line):
        return "other"
    name = opcode(line)
    return next((label for label, pattern in CLASSES.items() if pattern.match(name)), "other")


def _loops(lines: list[str]) -> list[tuple[int, int]]:
    labels = {line[:-1]: i for i, line in enumerate(lines) if line.endswith(":")}
    found = []
    for i, line in enumerate(lines):
        target = re.search(r"(\.L_x_\d+)", line) if opcode(line).startswith("BRA") else None
        if target and labels.get(target[1], i) < i:
            found.append((labels[target[1]], i))
    return found


def _touch(span: tuple[int, int], other: tuple[int, int]) -> bool:
    return span[0] <= other[1] and other[0] <= span[1]


def _matrix_count(lines: list[str], span: tuple[int, int]) -> int:
    return sum(bool(CLASSES["matrix"].match(opcode(line))) for line in lines[span[0] : span[1] + 1])


def _matrix_instructions(name: str) -> float:
    """How many of 16 by 8 results a warp's part of it is: a warpgroup's 64 by N are 16 by N for each of its warps."""
    if group := re.match(r"^[HI]GMMA\.64x(\d+)x", name):
        return int(group[1]) / 8
    return 1.0 if CLASSES["matrix"].match(name) else 0.0


def _memory_clocks(line: str) -> int:
    name = opcode(line)
    if is_padding(line) or not _MEMORY.match(name) or name == "LDGDEPBAR":
        return 0
    if ".128" in name or ".x4" in name or ".M88.4" in name:
        return 4
    return 2 if ".64" in name else 1
