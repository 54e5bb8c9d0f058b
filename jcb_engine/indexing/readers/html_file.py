"""HTML files: the text that a browser would show; needs beautifulsoup4 (extra `[readers]`)."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jcb_engine.errors import MissingDependencyError
from jcb_engine.indexing.readers.fields import UnusableRecordError
from jcb_engine.indexing.readers.streams import read_bytes

# Elements whose content a browser does not show in the page. The head is not among them: its end may be left out, and
# the parser would take the whole page for a part of it.
_HIDDEN = frozenset({"title", "script", "style", "template", "noscript", "svg", "math"})
# Elements that begin and end a line; words of all others run on.
_LINES = frozenset(
    {"address", "article", "aside", "blockquote", "body", "br", "caption", "dd", "details", "dialog", "div", "dl", "dt"}
    | {"fieldset", "figcaption", "figure", "footer", "form", "h1", "h2", "h3", "h4", "h5", "h6", "head", "header", "hr"}
    | {"li", "main", "nav", "ol", "option", "p", "pre", "section", "summary", "table", "tbody", "td", "tfoot", "th"}
    | {"thead", "tr", "ul"}
)
# Codecs of Python that are no encodings of pages (UTF-7, IDNA, escapes of string literals) change this or fail.
_DECLARATION = rb'<meta charset="\u0041.xn--a.+">'


def read_html(path: Path) -> tuple[str, str]:
    """(title, text) of an HTML file: the text of <title>, and the body's text with a line per block.

    The encoding is that of the byte order mark, else the one that the file declares, else UTF-8. A declaration that
    is unknown, or cannot be true because it would not be readable itself (UTF-16), counts as none, as in browsers.
    Raises UnusableRecordError where the bytes are not in the encoding, InputError, MissingDependencyError.
    """
    bs4 = _bs4()
    content, marked = bs4.dammit.EncodingDetector.strip_byte_order_mark(read_bytes(path))
    declared = bs4.dammit.EncodingDetector.find_declared_encoding(content, is_html=True)
    markup = _decoded(content, marked or (declared if _is_credible(declared) else None))
    try:
        with warnings.catch_warnings():
            # the parser warns when text looks like a file name or XML, which is no concern of an index
            warnings.simplefilter("ignore")
            soup = bs4.BeautifulSoup(markup, "html.parser")
        title = soup.title.get_text() if soup.title is not None else ""
        return " ".join(title.split()), _shown_text(soup)
    except RecursionError:
        raise UnusableRecordError("HTML nested too deeply to parse") from None
    except bs4.ParserRejectedMarkup as error:
        raise UnusableRecordError(f"not readable as HTML: {error}") from None


def _bs4() -> Any:
    try:
        import bs4
        import bs4.dammit
    except ImportError as error:
        raise MissingDependencyError(
            "reading HTML needs beautifulsoup4, which is not installed: pip install 'jcb-engine[readers]'"
        ) from error
    return bs4


def _is_credible(declared: str | None) -> bool:
    """Whether a declared encoding is known and one that the declaration itself, found as ASCII, can be written in."""
    if declared is None:
        return False
    try:
        return _DECLARATION.decode(declared) == _DECLARATION.decode("ascii")
    except (LookupError, ValueError):
        return False


def _decoded(content: bytes, encoding: str | None) -> str:
    try:
        return content.decode(encoding or "utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        name = "UTF-8, and the file declares no other encoding" if encoding is None else f"{encoding}, as declared"
        raise UnusableRecordError(f"byte 0x{content[error.start]:02x} in line {line} is not {name}") from None


def _shown_text(soup: Any) -> str:
    lines = (" ".join(line.split()) for line in "".join(_pieces(soup)).split("\n"))
    return "\n".join(line for line in lines if line)


def _pieces(soup: Any) -> Iterator[str]:
    """Strings of a page in order, with a line end before and after elements that make lines.

    A stack of our own: pages may be nested more deeply than Python recurses, and adding line ends to the tree itself
    takes time quadratic in its depth.
    """
    pending = [soup]
    while pending:
        node = pending.pop()
        if isinstance(node, str):
            # comments, doctypes and the like are strings of classes of their own
            if type(node).__name__ in ("str", "NavigableString", "CData"):
                yield node
        elif node.name not in _HIDDEN:
            line_end = ["\n"] if node.name in _LINES else []
            pending += [*line_end, *reversed(node.contents), *line_end]
