"""PDF files: the text layer of all pages; needs pypdf (extra `[readers]`)."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from jcb_engine.errors import MissingDependencyError
from jcb_engine.indexing.readers.fields import UnusableRecordError
from jcb_engine.indexing.readers.streams import read_bytes


def read_pdf(path: Path) -> tuple[str, str]:
    """("", text) of a PDF file, pages joined by a blank line; a scan without a text layer gives an empty text.

    Raises UnusableRecordError for a file that is damaged or wants a password, InputError, MissingDependencyError.
    The title in a PDF's properties is left out: it names the template or the program more often than the text.
    """
    pypdf = _pypdf()
    content = read_bytes(path)
    try:
        pages = _page_texts(pypdf, content)
    except (UnusableRecordError, MemoryError):
        raise
    except Exception as error:
        # pypdf answers damage with errors of any type, KeyError, TypeError and RecursionError among them
        raise UnusableRecordError(f"not a readable PDF: {type(error).__name__}: {error}") from error
    # half surrogate pairs come out of fonts with a broken character map
    return "", "\n\n".join(pages).encode(errors="replace").decode()


def _page_texts(pypdf: Any, content: bytes) -> list[str]:
    reader = pypdf.PdfReader(io.BytesIO(content), strict=False)
    # many files are encrypted with an empty password: anyone may read them
    if reader.is_encrypted and not reader.decrypt(""):
        raise UnusableRecordError("the PDF wants a password; save it without one")
    texts = (page.extract_text().strip() for page in reader.pages)
    return [text for text in texts if text]


def _pypdf() -> Any:
    try:
        import pypdf
    except ImportError as error:
        raise MissingDependencyError(
            "reading PDF needs pypdf, which is not installed: pip install 'jcb-engine[readers]'"
        ) from error
    return pypdf
