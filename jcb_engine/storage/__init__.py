"""Bytes on disk: immutable segments, one manifest per commit, snapshots for readers, one writer at a time."""

from jcb_engine.storage.arrays import ArrayWriter
from jcb_engine.storage.codec import StoredCodec
from jcb_engine.storage.document_writer import DocumentWriter, DuplicateDocumentError
from jcb_engine.storage.documents import DocumentReader
from jcb_engine.storage.info import IndexInfo, describe_index
from jcb_engine.storage.manifest import Manifest
from jcb_engine.storage.publish import OutcomeUnknownError
from jcb_engine.storage.segment import Segment
from jcb_engine.storage.segment_writer import SegmentWriter
from jcb_engine.storage.snapshot import Snapshot
from jcb_engine.storage.transaction import Transaction, check_target
from jcb_engine.storage.verify import VerifyReport, verify

__all__ = [
    "ArrayWriter",
    "DocumentReader",
    "DocumentWriter",
    "DuplicateDocumentError",
    "IndexInfo",
    "Manifest",
    "OutcomeUnknownError",
    "Segment",
    "SegmentWriter",
    "Snapshot",
    "StoredCodec",
    "Transaction",
    "VerifyReport",
    "check_target",
    "describe_index",
    "verify",
]
