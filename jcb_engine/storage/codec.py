"""A codec as stored: named arrays and opaque properties, shared by the segments that name it."""

from __future__ import annotations

from collections.abc import Mapping

from jcb_engine.errors import CorruptIndexError, InputError
from jcb_engine.storage.arrays import map_array, write_array
from jcb_engine.storage.checksum import canonical_json, content_id
from jcb_engine.storage.failures import writing
from jcb_engine.storage.files import Files
from jcb_engine.storage.layout import ARRAY_NAME, ARRAY_SUFFIX, array_file, codec_path
from jcb_engine.storage.manifest import CodecRecord
from jcb_engine.storage.structure import codec_shape_problems, shape_of
from jcb_engine.types import AnyArray, JsonValue


class StoredCodec:
    """The arrays and properties of a codec; arrays are mapped read-only."""

    def __init__(self, codec_id: str, properties: Mapping[str, JsonValue], arrays: Mapping[str, AnyArray]) -> None:
        self.id = codec_id
        self.properties = properties
        self._arrays = arrays

    @staticmethod
    def open(files: Files, record: CodecRecord) -> StoredCodec:
        """Map the arrays. CorruptIndexError when a file's size, footer or shape is not as expected."""
        arrays = map_arrays(files, codec_path(record.id), {name: file.size for name, file in record.files.items()})
        problems = codec_shape_problems({name: shape_of(array) for name, array in arrays.items()})
        if problems:
            raise CorruptIndexError(f"{files.real_path(codec_path(record.id))}: {problems[0]}")
        return StoredCodec(record.id, record.properties, arrays)

    @property
    def centroid_count(self) -> int | None:
        """K, or None for a codec without centroids."""
        return len(self._arrays["centroids"]) if "centroids" in self._arrays else None

    def has_array(self, name: str) -> bool:
        return name in self._arrays

    def array(self, name: str) -> AnyArray:
        """A read-only array. CorruptIndexError when the codec has none of that name."""
        if name not in self._arrays:
            raise CorruptIndexError(f"codec {self.id} has no array {name!r}; it has {', '.join(sorted(self._arrays))}")
        return self._arrays[name]


def map_arrays(files: Files, folder: str, sizes: Mapping[str, int]) -> dict[str, AnyArray]:
    """Map every array file of a folder by the array's name, after its size and footer were checked."""
    return {
        name.removesuffix(ARRAY_SUFFIX): map_array(files, f"{folder}/{name}", size)
        for name, size in sizes.items()
        if name.endswith(ARRAY_SUFFIX)
    }


def write_codec(
    files: Files, folder: str, arrays: Mapping[str, AnyArray], properties: Mapping[str, JsonValue]
) -> CodecRecord:
    """Write arrays into a new folder. InputError for names, dtypes, shapes or properties that cannot be stored."""
    canonical_json(properties)
    for name in arrays:
        if not ARRAY_NAME.fullmatch(name):
            raise InputError(f"codec array name {name!r}; expected {ARRAY_NAME.pattern}")
    problems = codec_shape_problems({name: shape_of(array) for name, array in arrays.items()})
    if problems:
        raise InputError(f"codec cannot be stored: {problems[0]}")
    with writing(files, folder):
        files.make_directory(folder)
    records = {
        array_file(name): write_array(files, f"{folder}/{array_file(name)}", array) for name, array in arrays.items()
    }
    return CodecRecord(content_id(records, properties), records, dict(properties))
