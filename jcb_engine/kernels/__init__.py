"""The arithmetic underneath: one interface (interface.py), several backends, chosen once by `select`."""

from jcb_engine.kernels.interface import (
    ERROR_FACTOR,
    ERROR_SAMPLE,
    RAW_BITS,
    AssigningBackend,
    Backend,
    Candidates,
    CentroidLists,
    CentroidTable,
    CodecArrays,
    Lists,
    Probing,
    ProbingBackend,
    Ranges,
    ScanningBackend,
    SegmentArrays,
    Store,
)
from jcb_engine.kernels.selection import BACKEND_NAMES, select

__all__ = [
    "BACKEND_NAMES",
    "ERROR_FACTOR",
    "ERROR_SAMPLE",
    "RAW_BITS",
    "AssigningBackend",
    "Backend",
    "Candidates",
    "CentroidLists",
    "CentroidTable",
    "CodecArrays",
    "Lists",
    "Probing",
    "ProbingBackend",
    "Ranges",
    "ScanningBackend",
    "SegmentArrays",
    "Store",
    "select",
]
