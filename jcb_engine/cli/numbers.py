"""Numbers for people: thousands separators, decimal byte units, rounded times; and sizes that people write."""

from __future__ import annotations

import re

from jcb_engine.errors import InputError

_UNITS = {
    "": 1,
    "b": 1,
    "k": 10**3,
    "kb": 10**3,
    "m": 10**6,
    "mb": 10**6,
    "g": 10**9,
    "gb": 10**9,
    "t": 10**12,
    "tb": 10**12,
    "kib": 2**10,
    "mib": 2**20,
    "gib": 2**30,
    "tib": 2**40,
}
_LARGEST_SIZE = 2**63 - 1
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*")


def bytes_text(count: int) -> str:
    """Such as `812 bytes`, `12.3 kB`, `1.20 GB`: three digits."""
    if count < 1000:
        return f"{count:,} bytes"
    size = float(count)
    for unit in ("kB", "MB", "GB", "TB"):
        size /= 1000
        if size < 999.5 or unit == "TB":
            break
    digits = 2 if size < 9.995 else 1 if size < 99.95 else 0
    return f"{size:,.{digits}f} {unit}"


def seconds_text(seconds: float) -> str:
    """Such as `3.2 ms`, `0.85 s`, `42 s`, `3 min 20 s`, `2 h 05 min`."""
    if seconds < 0.1:
        return f"{seconds * 1000:.1f} ms"
    if seconds < 9.95:
        return f"{seconds:.2g} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600:,} h {whole % 3600 // 60:02d} min"


def count_text(count: int, noun: str, plural: str | None = None) -> str:
    """Such as `1 document`, `5,183 documents`; the plural is given where it is more than an s."""
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"


def parse_bytes(text: str) -> int:
    """The bytes that `2GB`, `512 MB`, `1.5GiB` or `1000000` mean. Raises InputError."""
    match = _SIZE.fullmatch(text)
    unit = match[2].lower() if match else None
    if match is None or unit not in _UNITS:
        raise InputError(f"'{text}' is no size; write a number with kB, MB, GB, TB (or KiB, MiB, GiB), such as 2GB")
    size = float(match[1]) * _UNITS[unit]
    if size > _LARGEST_SIZE:
        raise InputError(f"{text[:20]}... is more than any machine has; write a size such as 2GB")
    return int(size)
