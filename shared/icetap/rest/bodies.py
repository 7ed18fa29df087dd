"""Bodies of any size, read from a file record by record: JSON, lines of JSON, CSV and XML, also inside of gzip and zip."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import zipfile
import zlib
from typing import IO, TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import ijson  # type: ignore[import-untyped]

from icetap.errors import ConfigurationError
from icetap.rest.answers import BOM, GZIP_MAGIC, JSON, xml_document
from icetap.rest.failures import UnreadableStreamError
from icetap.rest.jsonpath import WILDCARD

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from icetap.rest.answers import Format
    from icetap.rest.jsonpath import JSONPath

BATCH = 500
_BROKEN = (
    ijson.JSONError,
    csv.Error,
    ET.ParseError,
    ValueError,
    OSError,
    EOFError,
    zlib.error,
    zipfile.BadZipFile,
)


def record_batches(file: IO[bytes], answer_format: Format, path: JSONPath) -> Iterator[list[Any]]:
    """Yield the records of a body, 500 at a time and at least one list, which may be empty; closes the file.

    Holds 500 records. Several files inside of a zip follow each other. XML is held whole.

    Raises:
        UnreadableStreamError: When the body is cut, of another format, or has no place as the path says.
    """
    read = {"json": _json_values, "jsonl": _line_values, "csv": _csv_values, "xml": _xml_values}
    with file:
        found: list[Any] = []
        number = 0
        try:
            for body in _unpacked(file, answer_format):
                for value in read[answer_format.kind](body, answer_format, path):
                    number += 1
                    found.append(value)
                    if len(found) == BATCH:
                        yield found
                        found = []
        except _BROKEN as error:
            raise UnreadableStreamError(
                f"the body is no {answer_format.kind}, or ends in its middle: it cannot be read on after {number} records. "
                "Compare `response.format` and `response.compression` with what the API sends."
            ) from error
        yield found


def _unpacked(file: IO[bytes], answer_format: Format) -> Iterator[IO[bytes]]:
    """Yield the files in a body: itself, or what is packed in it."""
    if answer_format.compression == "zip":
        with zipfile.ZipFile(file) as archive:
            for name in archive.namelist():
                if not name.endswith("/"):
                    with archive.open(name) as member:
                        yield member
        return
    magic = file.read(len(GZIP_MAGIC))
    file.seek(0)
    if magic == GZIP_MAGIC:
        with gzip.GzipFile(fileobj=file) as inner:
            yield inner  # type: ignore[misc]  # a GzipFile reads as any file of bytes does
    else:
        yield file


def _text(body: IO[bytes], answer_format: Format) -> io.TextIOWrapper:
    # Line ends are those of the format: a value of CSV may hold some.
    return io.TextIOWrapper(body, encoding=answer_format.encoding or "utf-8-sig", newline="")


def _line_values(body: IO[bytes], answer_format: Format, path: JSONPath) -> Iterator[Any]:
    lines = _text(body, answer_format)
    yield from _of_each((JSON.decode(line) for line in lines if line.strip()), path)


def _csv_values(body: IO[bytes], answer_format: Format, path: JSONPath) -> Iterator[Any]:
    yield from _of_each(csv.DictReader(_text(body, answer_format), delimiter=answer_format.delimiter), path)


def _of_each(rows: Iterable[Any], path: JSONPath) -> Iterator[Any]:
    row, count = None, 0
    for row in rows:
        for value in path.records([row]):
            count += 1
            yield value
    if row is not None and not count:
        raise _leads_nowhere(path)


def _xml_values(body: IO[bytes], _answer_format: Format, path: JSONPath) -> Iterator[Any]:
    document = xml_document(body.read())
    found = path.records(document)
    if not found and not path.leads_somewhere(document):
        raise _leads_nowhere(path)
    yield from found


# --- JSON -------------------------------------------------------------------------------------------


def streamed_path(path: JSONPath) -> tuple[list[str], list[str]]:
    """Return the names that lead to the list of records, and those that lead on in each of its elements.

    Raises:
        ConfigurationError: When the path is not one that a body can be read along: names, and one `[*]`.
    """
    steps = path.steps
    at = steps.index(WILDCARD) if WILDCARD in steps else len(steps)
    outer, inner = steps[:at], steps[at + 1 :]
    if not all(isinstance(step, str) and "." not in step for step in [*outer, *inner]):
        raise ConfigurationError(
            f"a body that is read as a stream has its records at a path of names with one '[*]', such as '$.data[*]'; "
            f"'{path.text}' is another"
        )
    return outer, inner


def _json_values(body: IO[bytes], answer_format: Format, path: JSONPath) -> Iterator[Any]:
    outer, inner = streamed_path(path)
    place = ".".join(outer)
    found = next(
        (event for name, event, _ in ijson.parse(_begun(body, answer_format)) if name == place), None
    )
    match found:
        case "start_array":
            yield from ijson.items(_begun(body, answer_format), ".".join([*outer, "item", *inner]))
        case "start_map" if WILDCARD not in path.steps:
            yield from ijson.items(_begun(body, answer_format), place)
        case "start_map" if not inner:
            yield from (value for _, value in ijson.kvitems(_begun(body, answer_format), place))
        case "null":
            return
        case _:
            raise _leads_nowhere(path)


def _begun(body: IO[bytes], answer_format: Format) -> Any:
    """Return a body from its beginning on, as UTF-8."""
    body.seek(0)
    if answer_format.encoding:
        return _AsUtf8(body, answer_format.encoding)
    if body.read(len(BOM)) != BOM:
        body.seek(0)
    return body


class _AsUtf8:
    """A body of another encoding."""

    def __init__(self, body: IO[bytes], encoding: str) -> None:
        self._reader = codecs.getreader(encoding)(body)

    def read(self, size: int = -1) -> bytes:
        return self._reader.read(size).encode()


def _leads_nowhere(path: JSONPath) -> UnreadableStreamError:
    return UnreadableStreamError(
        f"the answer has no records at '{path.text}'. Is `response.records` where this stream's records are?"
    )
