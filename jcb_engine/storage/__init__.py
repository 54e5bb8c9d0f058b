"""Bytes on disk: immutable segments, one manifest per commit, snapshots for readers, one writer at a time."""

from jcb_engine.storage.arrays import ArrayWriter
from jcb_engine.storage.codec import StoredCodec
from jcb_engine.storage.document_writer import DocumentWriter, DuplicateDocumentError
from jcb_engine.storage.documents import DocumentReader
from jcb_engine.storage.info import CurveInfo, IndexInfo, describe_index
from jcb_engine.storage.manifest import Manifest
from jcb_engine.storage.publish import OutcomeUnknownError
from jcb_engine.storage.segment import Segment
from jcb_engine.storage.segment_writer import SegmentWriter
from jcb_engine.storage.snapshot import Snapshot
from jcb_engine.storage.transaction import Transaction, check_target
from jcb_engine.storage.tuning import TunedPoint, TuningCurve
from jcb_engine.storage.tuning_commit import check_tunable, publish_tuning
from jcb_engine.storage.verify import VerifyReport, verify

__all__ = [
    "ArrayWriter",
    "CurveInfo",
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
    "TunedPoint",
    "TuningCurve",
    "VerifyReport",
    "check_target",
    "check_tunable",
    "describe_index",
    "publish_tuning",
    "verify",
]
