"""What an API answered: status, headers and the document in its body, numbers with their digits."""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from email.utils import parsedate_to_datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping

    from icetap.rest.jsonpath import JSONPath

JSON = msgspec.json.Decoder(float_hook=Decimal)
GZIP_MAGIC = b"\x1f\x8b"
BOM = b"\xef\xbb\xbf"
_TEXT_FORMATS = {
    "text/csv": "csv",
    "application/x-ndjson": "jsonl",
    "application/xml": "xml",
    "application/json": "json",
}


class UnreadableAnswerError(Exception):
    """The body is not what was asked for; says what it seems to be."""


@dataclass(frozen=True, slots=True)
class Format:
    """How a body is to be read."""

    name: str = "json"
    """`json`, `jsonl`, `csv`, `xml`, or the media type of one of them; `none` for bodies that nobody reads."""

    encoding: str | None = None
    compression: str = "none"
    """`gzip` or `zip` where the body itself is compressed; gzip is also found by its first bytes."""

    delimiter: str = ","
    stream: bool = False
    """Whether the body may be larger than memory: it is saved first, and read record by record (`icetap.rest.bodies`)."""

    @property
    def kind(self) -> str:
        """`json`, `jsonl`, `csv`, `xml` or `none`."""
        return _TEXT_FORMATS.get(self.name, self.name)

    @property
    def is_file(self) -> bool:
        """Whether bodies are saved before they are read."""
        return self.stream or self.compression == "zip"


@dataclass
class Answer:
    """One answer. The body is read whole; the document is made when it is first asked for."""

    status: int
    headers: Mapping[str, str]
    url: str
    content: bytes = field(repr=False)
    format: Format = Format()

    @property
    def media_type(self) -> str:
        """The content type without its parameters, in lower case."""
        return self.headers.get("Content-Type", "").partition(";")[0].strip().lower()

    @property
    def date(self) -> datetime | None:
        """The server's own time, to the second."""
        try:
            return parsedate_to_datetime(self.headers.get("Date", "")).astimezone(UTC)
        except (TypeError, ValueError):
            return None

    @cached_property
    def document(self) -> Any:
        """The decoded body; decimals for numbers with a fraction.

        Raises:
            UnreadableAnswerError: When the body is of another format, or cut.
        """
        name = self.format.kind
        try:
            body = self._body()
            if name == "json":
                return JSON.decode(body) if body.strip() else None
            if name == "jsonl":
                return [JSON.decode(line) for line in body.splitlines() if line.strip()]
            if name == "csv":
                return list(csv.DictReader(io.StringIO(body.decode()), delimiter=self.format.delimiter))
            if name == "xml":
                return xml_document(body)
        except (ValueError, OSError, EOFError, zlib.error, ET.ParseError) as error:
            raise UnreadableAnswerError(self._what_it_seems_to_be(name)) from error
        return None

    def _body(self) -> bytes:
        content = self.content
        if content.startswith(GZIP_MAGIC):
            content = gzip.decompress(content)
        content = content.removeprefix(BOM)
        if self.format.encoding and self.format.encoding.lower() not in {"utf-8", "utf8"}:
            return content.decode(self.format.encoding).encode()
        return content

    def _what_it_seems_to_be(self, wanted: str) -> str:
        if is_html(self.content):
            found = "an HTML page"
        elif not self.content.strip():
            found = "an empty body"
        else:
            found = f"a body that is no {wanted}, or only the beginning of one"
        return f"{found} (status {self.status}, content type '{self.media_type}', {len(self.content)} bytes)"

    def first(self, path: JSONPath) -> Any:
        """Return the first value of a path in the document, None when the body cannot be read."""
        try:
            return path.first(self.document)
        except UnreadableAnswerError:
            return None


def is_html(content: bytes) -> bool:
    """Whether a body is a page for people, such as a proxy's "be right back"."""
    return content.lstrip()[:15].lower().startswith((b"<!doctype html", b"<html"))


def xml_document(body: bytes) -> Any:
    """Return XML as an object; see `_element`.

    Raises:
        ValueError: When it declares a type of its own, with which small documents can grow without end.
    """
    if b"<!DOCTYPE" in body[:4096] or b"<!ENTITY" in body:
        raise ValueError("a document with declarations of its own")
    root = ET.fromstring(body)  # noqa: S314 -- documents with declarations are refused above
    return {root.tag: _element(root)}


def _element(element: ET.Element) -> Any:
    """An element as an object: attributes as `@name`, repeated children as a list, text alone as text."""
    found: dict[str, Any] = {f"@{name}": value for name, value in element.attrib.items()}
    for child in element:
        value = _element(child)
        if child.tag not in found:
            found[child.tag] = value
        elif isinstance(found[child.tag], list):
            found[child.tag].append(value)
        else:
            found[child.tag] = [found[child.tag], value]
    text = (element.text or "").strip()
    if not found:
        return text or None
    return {**found, "#text": text} if text else found
