"""Every error that jcb-engine raises on purpose, as one small tree.

A message says what came, what is allowed and what to do. A command prints it as one line and ends with
`exit_code`; a traceback is left to defects.
"""


class JcbError(Exception):
    """Base of all errors raised by jcb-engine."""

    exit_code = 2


class InputError(JcbError, ValueError):
    """A value, a text or a file that the caller gave cannot be used."""


class MissingDependencyError(JcbError, ImportError):
    """An optional package is needed and not installed; the message names the extra that brings it."""


class BackendUnavailableError(JcbError):
    """A kernel backend that was asked for by name cannot run here. It is never replaced silently."""


class EncoderError(JcbError):
    """An encoder cannot be loaded, or gave something that is not a list of [tokens, dim] arrays."""


class EncoderMismatchError(EncoderError):
    """A query encoder differs from the one that an index was made with; the message lists how."""


class StorageError(JcbError, OSError):
    """The file system refused an operation (full disk, no permission, I/O error)."""


class IndexNotFoundError(JcbError, FileNotFoundError):
    """There is no folder at the path of the index."""


class NotAnIndexError(JcbError):
    """The path exists and holds no index."""


class IndexExistsError(JcbError, FileExistsError):
    """An index is there already and `overwrite` was not asked for."""


class IndexLockedError(JcbError):
    """Another writer holds the index."""


class IndexChangedError(JcbError):
    """Another writer committed while something was measured on the version before."""


class CorruptIndexError(JcbError):
    """Bytes of an index are not what was written: wrong checksum, size, header or structure."""

    exit_code = 1


class IndexTooOldError(JcbError):
    """The index was written in a format older than this version reads."""


class IndexTooNewError(JcbError):
    """The index was written in a format newer than this version reads."""
