"""Codes of 2 bits to fp16 levels in PTX, for Triton: four codes a look-up, where Triton itself takes one at a time."""

from __future__ import annotations

from jcb_engine.types import Float32Array

_TEMPLATE = """{{
.reg .b32 low, high, upper, lower, table_upper, table_lower;
mov.b32 table_upper, {upper:#010x};
mov.b32 table_lower, {lower:#010x};
and.b32 low, $8, 0x33333333;
shr.b32 high, $8, 2;
and.b32 high, high, 0x33333333;
{look_ups}
}}"""
_LOOK_UP = """prmt.b32 upper, table_upper, 0, {selector};
prmt.b32 lower, table_lower, 0, {selector};
prmt.b32 ${even}, upper, lower, 0x2604;
prmt.b32 ${odd}, upper, lower, 0x3715;"""


def lookup_assembly(levels: Float32Array) -> str:
    """For four levels [4]: four bytes in $8 -> eight registers, two of fp16 values of each byte for each plane.

    Plane p has bits 2p and 2p + 1 of each byte, and its values in $2p and $2p + 1. As nibbles the even planes of two
    bytes are the selectors of one look-up (`low`), the odd ones of another; levels lie byte by byte, as prmt has them.
    """
    halves = levels.astype("<f2").view("<u2")
    upper = sum(int(half >> 8) << (8 * i) for i, half in enumerate(halves))
    lower = sum(int(half & 255) << (8 * i) for i, half in enumerate(halves))
    steps = []
    for register in range(2):  # of the planes: bytes 0 and 1, then bytes 2 and 3
        for selector, plane in (("low", 0), ("high", 1)):
            steps.append(_LOOK_UP.format(selector=selector, even=2 * plane + register, odd=2 * plane + 4 + register))
        if register == 0:
            steps.append("shr.b32 low, low, 16;\nshr.b32 high, high, 16;")
    return _TEMPLATE.format(upper=upper, lower=lower, look_ups="\n".join(steps))
