"""The count of machine code, on code that is written out here."""

from __future__ import annotations

import pytest

from benchmarks.gpu.compiler import parse_disassembly
from benchmarks.gpu.counting import busy_clocks, main_loop, with_longest_loop
from benchmarks.gpu.model import MACHINES, Kernel, predict

DISASSEMBLY = """
	.section	.text._Zkernel,"ax",@progbits
.text._Zkernel:
        /*0000*/                   S2R R0, SR_TID.X ;
.L_x_1:
        /*0010*/                   LDG.E.64 R2, desc[UR4][R4.64] ;
.L_x_2:
        /*0020*/                   LDS.128 R8, [R0] ;
.L_x_3:
        /*0030*/                   IADD3 R1, R1, 0x1, RZ ;
        /*0040*/               @P3 BRA `(.L_x_3) ;
        /*0050*/                   PRMT R6, R1, R2, RZ ;
        /*0060*/                   IMMA.16832.S8.S8 R12, R8.ROW, R4.COL, R12 ;
        /*0070*/              @!PT LDS RZ, [RZ] ;
        /*0080*/               @P0 LDGSTS.E.BYPASS.128 [R33], desc[UR6][R46.64] ;
        /*0090*/              @!P1 BRA `(.L_x_2) ;
        /*00a0*/                   SHFL.BFLY PT, R6, R7, 0x4, 0x1f ;
        /*00b0*/               @P2 BRA `(.L_x_1) ;
        /*00c0*/                   EXIT ;
.L_x_4:
        /*00d0*/                   BRA `(.L_x_4);
	.section	.nv.other
"""


def code() -> list[str]:
    return parse_disassembly(DISASSEMBLY)["_Zkernel"]


def test_the_main_loop_is_the_one_around_the_products_without_loops_inside_it() -> None:
    loop = main_loop(code())
    assert [line.split(" ")[0] for line in loop.lines] == ["LDS.128", "PRMT", "IMMA.16832.S8.S8", "@!PT", "@P0", "@!P1"]
    assert [line.split(" ")[0] for line in loop.around] == ["LDG.E.64", "SHFL.BFLY", "@P2"]


def test_instructions_are_counted_by_what_they_keep_busy() -> None:
    loop = main_loop(code())
    assert loop.counts == {"shared": 1, "look-up": 1, "matrix": 1, "copy": 1, "other": 2}
    clocks = busy_clocks(loop.lines)
    assert clocks["issue"] == 6
    assert clocks["half-rate"] == 2  # PRMT
    assert clocks["memory"] == 4 * (4 + 4)  # 16 bytes a lane from shared memory, and the copy of 16; not the padding
    assert clocks["matrix"] == pytest.approx(4 / 0.63)


def test_other_loops_around_the_main_one_are_counted_as_often_as_they_turn() -> None:
    decoding = [".L_x_9:", "PRMT R1, R2, R3, RZ", "@P1 BRA `(.L_x_9)"]
    main = [".L_x_8:", "HMMA.16816.F32 R4, R8, R12, R4", "@P0 BRA `(.L_x_8)"]
    loop = main_loop([".L_x_7:", *decoding, *main, "@P2 BRA `(.L_x_7)"], repeats=4)
    assert sum(line.startswith("PRMT") for line in loop.around) == 4
    assert len(loop.lines) == 2


def test_code_without_products_has_no_main_loop() -> None:
    with pytest.raises(ValueError, match="no loop with matrix instructions"):
        main_loop(["IADD3 R1, R1, 0x1, RZ", "EXIT"])


def test_a_program_without_products_is_counted_from_end_to_end_with_its_trials() -> None:
    lines = ["S2R R0, SR_TID.X", ".L_x_3:", "DFMA R2, R4, R6, R8", "@P0 BRA `(.L_x_3)", "EXIT"]
    counted = with_longest_loop(lines, 8)
    assert len(counted) == 2 + 8 * 2
    assert busy_clocks(counted)["double"] == 2 * 8
    assert with_longest_loop(["EXIT"], 1) == ["EXIT"]


def test_the_bound_is_the_lowest_limit() -> None:
    h100 = MACHINES[0]
    small = predict(Kernel("small", "", tile_bytes=40, gathered_bytes=32), h100, ["IADD3 R1, R1, 0x1, RZ"] * 10, [])
    assert small.limit == "HBM"
    assert small.bound == pytest.approx(3.0e12 / 40 / 1e9)
    long = predict(Kernel("long", "", tile_bytes=40, gathered_bytes=32), h100, ["FFMA R1, R2, R3, R4"] * 800, [])
    assert long.limit == "issue"
    assert long.bound == pytest.approx(16 / 800 * 132 * 4 * 1.755)
    assert long.with_rest < long.bound
