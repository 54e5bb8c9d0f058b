"""The fused kernels against the processor: cycles per token beside what int8 products out of registers reach at best.

    python -m benchmarks.kernels

Builds csrc/tests/bench_maxsim.cpp (one thread, 128 dims, 8,192 centroids, documents of about 130 tokens) and reads what
it prints. All variants take turns in every round; given are medians over rounds, and ratios of medians of one run.

"int8 products in registers" is the same instruction set's dot-product sequence on independent accumulators without a
load: a dense int8 scan cannot exceed it. A row look-up can, since it multiplies nothing. Quality: `error_bound` is the
proven largest difference of a fast score of 32 query tokens to fp32.

Prediction (AVX2, Zen 3): 128 vpmaddubsw and as many vpaddw a token and 32 query tokens, at 3.2 a cycle, 80 cycles; rows
at 2 bits 340 instructions, at 1 bit 190, of which six are taken in a cycle: 57 and 32 cycles; 4 bits 470 instructions,
of which 340 need one of four vector pipes: 85 cycles. AVX-512 (two 512-bit pipes): 64 vpdpbusd, 32 cycles; at 4 bits 79
instructions for those pipes (8 unpack 64 bytes of code, 7 turn sums into the best so far): 40 cycles.

Looking back: until the marks were written as one asm, the compiler kept their sums on the stack, and they were two to
three times too slow; results from before that flatter the kernels. On a Xeon with AVX-512 (2.8 GHz) the marks are 33
cycles (vpdpbusd) and 90 (vpmaddubsw and vpaddw: three pipes for 256), as they should be. Kernels, cycles per token: 51
to 54 at 2 and 4 bits with VNNI, .65 of the mark (57 before words of 32 query tokens took one register and two blocks
were unpacked at once), 43 at 1 bit; with AVX2 43, 78 and 123 at 1, 2 and 4 bits: 2.1, 1.2 and .73 of its mark. Of the
51 the products alone take 34, unpacking 9, scalars and the end of a group 6: they need the same two pipes as the
products, and overlap with them in part only. More could only come from fewer instructions for these pipes.

Why AVX2 stays below 2.5, 1.35 and .8 there, counted in the machine code of the kept build: at 2 bits a word of 16
nibbles takes 77 instructions, four words and the end of a token 340, and this processor takes six a cycle: 57 cycles,
1.6 times the mark, of the 78 seen. The other 21 are probably loads (not measured): 64 rows of 32 bytes for a token, out
of a table of 32 KB, which with codes and rows of centroid scores fills a first-level cache of 48 KB. At 1 bit 184
instructions, 31 cycles of 43. At 4 bits 340 instructions need one of three vector pipes (Zen 3 has four): 113 cycles,
.79 of the mark, of 121. Smaller tables would help at 2 bits (bytes of 16 query tokens at a time, for twice the look-ups
of codes); at 4 bits nothing but pipes. Processors of this kind have VNNI or AMX, which are chosen there.

The tile unit (AMX) multiplies 16 tokens by 32 query tokens in 16 cycles for 64 dimensions, 4 a token beside 32.
Prediction: 12 at 4 bits, since the rest would overlap with the products; the aim was 27. Looking back: 21 and 24 at 2
and 4 bits (119 and 103 Mtoken/s), 20 at 1 bit, 33 at 8, in the kept run; 21, 21, 21 and 27 in one without neighbours.
Without its products it takes 4.4 less, without unpacking 3 to 5, without keeping the best 5: nothing dominates. Its
mark is 4.6. That is 1.6 and 1.4 times the mark of vpdpbusd, which a scan by VNNI cannot exceed, and 3.1 and 2.2 times
what VNNI took in the same run (65 and 53, a slow one; else 47 to 50).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import cmake

from benchmarks.harness import write_result

ROOT = Path(__file__).parent.parent
BUILD = ROOT / "build" / "benchmarks"
MARK = "int8 products in registers"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=31)
    rounds: int = parser.parse_args().rounds
    printed = subprocess.run([_built(), str(rounds)], check=True, capture_output=True, text=True).stdout
    measured = json.loads(printed)
    figures = with_ratios(measured)
    for row in figures["results"]:
        print(
            f"{row['set']:8} {row['form']:26} {row['nbits']} bits {row['query_tokens']:3} query tokens "
            f"{row['cycles_per_token']:7.1f} cycles/token {row['mtokens_per_second']:6.1f} Mtoken/s"
            + (f"  {row['of_int8_products']:.2f} of int8 products" if "of_int8_products" in row else "")
        )
    write_result("kernels-maxsim", {"rounds": rounds, "dim": measured["dim"], "threads": 1}, figures)


def with_ratios(measured: dict[str, Any]) -> dict[str, Any]:
    """The results, each with its rate as a multiple of products in registers of its set, at 32 query tokens."""
    marks = {row["set"]: row["mtokens_per_second"] for row in measured["results"] if row["form"] == MARK}
    results = []
    for row in measured["results"]:
        compared = row["query_tokens"] == 32 and row["form"] in ("fast", "exact") and row["set"] in marks
        ratio = {"of_int8_products": row["mtokens_per_second"] / marks[row["set"]]} if compared else {}
        results.append(row | ratio)
    return measured | {"results": results}


def _built() -> Path:
    environment = {**os.environ, "PATH": os.pathsep.join([cmake.CMAKE_BIN_DIR, os.environ["PATH"]])}
    configure = ["cmake", "-S", str(ROOT), "-B", str(BUILD), "-G", "Ninja", "-DJCB_BUILD_TESTS=ON", "-DJCB_CUDA=off"]
    configure += [f"-DPython_EXECUTABLE={sys.executable}"]
    for command in (configure, ["cmake", "--build", str(BUILD), "--target", "bench_maxsim"]):
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment)
    return BUILD / "csrc" / "tests" / "bench_maxsim"


if __name__ == "__main__":
    main()
