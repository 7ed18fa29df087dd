"""Results as a table for people, as JSON, or as CSV."""

from __future__ import annotations

import base64
import csv
import datetime as dt
import math
import sys
from decimal import Decimal
from typing import TYPE_CHECKING, Any, TextIO

import msgspec
import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

_ENCODER = msgspec.json.Encoder(decimal_format="number", enc_hook=str)
_KILO = 1000
WIDE = 10_000  # columns of a "screen" that is a file or a pipe


def json_value(value: Any) -> Any:
    """Return a value in the form in which JSON can hold it without loss.

    Decimals stay numbers with all their digits, instants are ISO 8601 texts, binaries base64, NaN and the
    infinities texts, maps objects (lists of pairs when their keys are not texts).
    """
    match value:
        case float() if not math.isfinite(value):
            return str(value)
        case bytes():
            return base64.b64encode(value).decode()
        case dt.datetime() | dt.date() | dt.time():
            return value.isoformat()
        case Decimal():
            # With the exponent written out: 1E+2 is 100 for every reader of JSON.
            return msgspec.Raw(format(value, "f").encode())
        case dict():
            return {name: json_value(part) for name, part in value.items()}
        case list() if value and all(isinstance(pair, tuple) for pair in value):
            if all(isinstance(key, str) for key, _ in value):
                return {key: json_value(part) for key, part in value}
            return [[json_value(key), json_value(part)] for key, part in value]
        case list():
            return [json_value(part) for part in value]
        case _:
            return value


def json_text(value: Any) -> str:
    """Return a value as one line of JSON."""
    return _ENCODER.encode(json_value(value)).decode()


def cell_text(value: Any) -> str:
    """Return a value as people and spreadsheets read it; null is empty."""
    match value:
        case None:
            return ""
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case dt.datetime():
            return value.isoformat(sep=" ")
        case Decimal():
            return format(value, "f")
        case dict() | list() | bytes():
            return json_text(value).strip('"') if isinstance(value, bytes) else json_text(value)
        case _:
            return str(value)


def write_json(columns: Sequence[str], rows: Iterable[Sequence[Any]], out: TextIO) -> None:
    """Write rows as one JSON array, one object a line; holds one row."""
    separator = "[\n"
    for row in rows:
        out.write(separator + json_text(dict(zip(columns, row, strict=True))))
        separator = ",\n"
    out.write("[]\n" if separator == "[\n" else "\n]\n")


def write_csv(columns: Sequence[str], rows: Iterable[Sequence[Any]], out: TextIO) -> None:
    """Write rows as CSV (RFC 4180, but lines end in a line feed); null and the empty text look alike."""
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([cell_text(value) for value in row] for row in rows)


def write_table(columns: Sequence[str], rows: Sequence[Sequence[Any]], *, title: str | None = None) -> None:
    """Write rows to stdout as a table; a terminal's width is kept, a file or pipe gets lines as long as needed."""
    from rich import box  # noqa: PLC0415 -- only when a table is drawn
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    console = Console(file=sys.stdout, highlight=False, width=None if sys.stdout.isatty() else WIDE)
    table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", pad_edge=False)
    for index, column in enumerate(columns):
        numeric = any(isinstance(row[index], int | float | Decimal) for row in rows)
        table.add_column(Text(column), justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(
            *(Text("null", style="dim") if value is None else Text(cell_text(value)) for value in row)
        )
    with console.capture() as captured:
        console.print(table)
    # Lines of a table end in padding, which is noise when they are piped or pasted.
    lines = [line if console.is_terminal else line.rstrip() for line in captured.get().splitlines()]
    sys.stdout.writelines(f"{line}\n" for line in lines if line.strip())


def print_rows(columns: Sequence[str], rows: Iterable[Sequence[Any]], *, shown: str) -> None:
    """Print rows to stdout as a `table`, as `json` or as `csv`."""
    match shown:
        case "json":
            write_json(columns, rows, sys.stdout)
        case "csv":
            write_csv(columns, rows, sys.stdout)
        case _:
            write_table(columns, list(rows))


def size_text(count: int | None) -> str | None:
    """Return a number of bytes as people read it: `1.5 MB`."""
    if count is None:
        return None
    size = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if size < _KILO:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= _KILO
    return f"{size:.1f} TB"


def instant(milliseconds: int | None) -> str | None:
    """Return milliseconds since 1970-01-01 UTC as an ISO 8601 text in UTC."""
    if milliseconds is None:
        return None
    return dt.datetime.fromtimestamp(milliseconds / 1000, tz=dt.UTC).isoformat(timespec="seconds")


def rows_of(batches: Iterable[pa.RecordBatch]) -> Iterator[list[Any]]:
    """Yield the rows of Arrow batches as Python values; holds one batch."""
    for batch in batches:
        columns = [_values(column) for column in batch.columns]
        yield from map(list, zip(*columns, strict=True))


def _values(column: pa.Array) -> list[Any]:
    if pa.types.is_interval(column.type):  # a tuple (months, days, nanoseconds), as text its parts are named
        return [None if value is None else str(value) for value in column.to_pylist()]
    values: list[Any] = column.to_pylist()
    return values


def source_tables(found: Mapping[str, Any]) -> tuple[list[str], list[list[Any]]]:
    """Return (columns, rows) of the list of a source's tables, from what `tap-x --browse` prints."""
    rows = [
        [
            table.get("schema"),
            table["name"],
            table.get("stream"),
            table.get("kind"),
            len(table.get("columns") or ()),
            table.get("estimated_rows"),
            size_text(table.get("size_bytes")),
        ]
        for table in found["tables"]
    ]
    return ["schema", "table", "stream", "kind", "columns", "rows (estimate)", "size"], rows


def table_columns(table: Mapping[str, Any]) -> tuple[list[str], list[list[Any]]]:
    """Return (columns, rows) of the list of one table's columns, from what `tap-x --browse NAME` prints."""
    rows = [
        [
            column["name"],
            column.get("native_type"),
            column.get("type"),
            "yes" if column.get("nullable") else "no",
            "key" if column.get("key") else "",
        ]
        for column in table["columns"]
    ]
    return ["column", "type in the source", "type in Arrow", "may be null", "key"], rows
