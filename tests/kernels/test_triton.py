"""The look-up of the Triton programs in machine operations, which the interpreter does not run: by what PTX says."""

from __future__ import annotations

import re

import numpy as np
import pytest

from jcb_engine.kernels.lookup_assembly import lookup_assembly

pytestmark = pytest.mark.triton


def run_assembly(program: str, word: int) -> list[int]:
    """The eight output registers for one input register, by what the PTX ISA says of and, shr, mov and prmt."""
    registers = {"$8": word}

    def value(name: str) -> int:
        return registers[name] if name in registers else int(name, 0)

    for line in re.split(r";\s*", re.sub(r"[{}]|\.reg[^;]*;", "", program)):
        if not line.strip():
            continue
        operation, target, *sources = re.split(r",?\s+", line.strip())
        values = [value(source) for source in sources]
        if operation == "prmt.b32":
            low, high, selector = values
            nibbles = [selector >> 4 * i & 15 for i in range(4)]
            assert max(nibbles) < 8, "bit 3 of a nibble asks for the sign"
            table = (high << 32 | low).to_bytes(8, "little")
            registers[target] = int.from_bytes(bytes(table[nibble] for nibble in nibbles), "little")
        elif operation == "and.b32":
            registers[target] = values[0] & values[1]
        elif operation == "shr.b32":
            registers[target] = values[0] >> values[1]
        else:
            assert operation == "mov.b32"
            registers[target] = values[0]
    return [registers[f"${i}"] for i in range(8)]


@pytest.mark.parametrize("levels", [(-1.5104, -0.4528, 0.4528, 1.5104), (-3.0, 0.1, 0.5, 0.7)])
def test_the_assembly_looks_up_the_level_of_every_code(levels: tuple[float, ...]) -> None:
    table = np.array(levels, np.float32)
    program = lookup_assembly(table)
    for packed in np.random.default_rng(7).integers(256, size=(500, 4)).astype(np.uint8):
        registers = np.array(run_assembly(program, int(packed.view(np.uint32)[0])), np.uint32)
        planes = registers.view(np.float16).reshape(4, 4)
        for plane in range(4):
            np.testing.assert_array_equal(planes[plane], table.astype(np.float16)[packed >> 2 * plane & 3])
