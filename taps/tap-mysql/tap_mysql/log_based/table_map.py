"""TABLE_MAP events: what the columns of the following rows are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tap_mysql.log_based.events import packed_integer

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

TINY, SHORT, LONG, FLOAT, DOUBLE, LONGLONG, INT24 = 1, 2, 3, 4, 5, 8, 9
OLD_TIMESTAMP, DATE, OLD_TIME, OLD_DATETIME, YEAR, NEWDATE = 7, 10, 11, 12, 13, 14
VARCHAR, BIT, TIMESTAMP, DATETIME, TIME = 15, 16, 17, 18, 19
COMPRESSED_BLOB, COMPRESSED_VARCHAR, VECTOR, JSON, DECIMAL = 140, 141, 242, 245, 246
ENUM, SET, BLOB, VAR_STRING, STRING, GEOMETRY = 247, 248, 252, 253, 254, 255

_METADATA_BYTES = {
    **dict.fromkeys((FLOAT, DOUBLE, BLOB, GEOMETRY, JSON, VECTOR, COMPRESSED_BLOB), 1),
    **dict.fromkeys((TIMESTAMP, DATETIME, TIME), 1),
    **dict.fromkeys((VARCHAR, COMPRESSED_VARCHAR, BIT, DECIMAL, STRING, VAR_STRING, ENUM, SET), 2),
}
_NUMBERS = frozenset({TINY, SHORT, INT24, LONG, LONGLONG, DECIMAL, FLOAT, DOUBLE, YEAR})
_TEXTS = frozenset({VARCHAR, VAR_STRING, STRING, BLOB, COMPRESSED_BLOB, COMPRESSED_VARCHAR})

_SIGNEDNESS, _DEFAULT_CHARSET, _COLUMN_CHARSET, _COLUMN_NAME, _SET_LABELS, _ENUM_LABELS = 1, 2, 3, 4, 5, 6
_LABELS_DEFAULT_CHARSET, _LABELS_CHARSET = 10, 11
BINARY_COLLATION = 63


@dataclass(frozen=True, slots=True)
class LoggedColumn:
    """A column as the log describes it; None for what it does not tell.

    `kind` is the type's number, `metadata` what comes with it: a length, a precision.
    """

    kind: int
    metadata: int
    name: str | None = None
    is_unsigned: bool | None = None
    collation: int | None = None
    labels: tuple[bytes, ...] | None = None


@dataclass(frozen=True, slots=True)
class TableMap:
    """A table as the log describes it, until the next event of this kind with its number."""

    database: str
    table: str
    columns: tuple[LoggedColumn, ...]

    @property
    def has_names(self) -> bool:
        """Whether the names of the columns are in the log (`binlog_row_metadata=FULL`)."""
        return all(column.name is not None for column in self.columns)


def table_number(body: bytes) -> int:
    """Return the number by which row events name a table."""
    return int.from_bytes(body[:6], "little")


def table_name(body: bytes) -> tuple[str, str]:
    """Return database and name of a TABLE_MAP event's table."""
    database_end = 9 + body[8]
    table_end = database_end + 2 + body[database_end + 1]
    return body[9:database_end].decode(), body[database_end + 2 : table_end].decode()


def table_map(body: bytes, *, is_mariadb: bool) -> TableMap:
    """Return what a TABLE_MAP event says; MariaDB's list of character sets has one for geometries too."""
    database, table = table_name(body)
    position = 9 + len(database.encode()) + 2 + len(table.encode()) + 1
    count, position = packed_integer(body, position)
    kinds = body[position : position + count]
    length, position = packed_integer(body, position + count)
    types = list(_types(kinds, body[position : position + length]))
    optional = body[position + length + (count + 7) // 8 :]
    texts = _TEXTS | {GEOMETRY} if is_mariadb else _TEXTS
    return TableMap(database, table, tuple(_columns(types, optional, texts)))


def _types(kinds: bytes, metadata: bytes) -> Iterator[tuple[int, int]]:
    position = 0
    for kind in kinds:
        width = _METADATA_BYTES.get(kind, 0)
        value = metadata[position : position + width]
        position += width
        if kind in {STRING, VAR_STRING, ENUM, SET}:
            yield _string_type(value[0], value[1])
        elif kind == DECIMAL:
            yield kind, value[0] << 8 | value[1]
        elif kind == BIT:
            yield kind, value[1] * 8 + value[0]
        else:
            yield kind, int.from_bytes(value, "little")


def _string_type(first: int, second: int) -> tuple[int, int]:
    """Tell apart what one type number holds: the real one is in the first byte, with two bits of the length."""
    if first & 0x30 != 0x30:
        return first | 0x30, second | ((first & 0x30) ^ 0x30) << 4
    return first, second


def _columns(
    types: Sequence[tuple[int, int]], optional: bytes, with_charset: Collection[int]
) -> Iterator[LoggedColumn]:
    fields = dict(_optional_fields(optional))
    places = range(len(types))
    numbers = [place for place in places if types[place][0] in _NUMBERS]
    texts = [place for place in places if types[place][0] in with_charset]
    choices = [place for place in places if types[place][0] in {ENUM, SET}]
    unsigned: dict[int, bool] = {}
    if _SIGNEDNESS in fields:
        bits = fields[_SIGNEDNESS]
        unsigned = {
            place: bool(bits[number // 8] & 0x80 >> number % 8) for number, place in enumerate(numbers)
        }
    collations = _collations(texts, fields.get(_DEFAULT_CHARSET), fields.get(_COLUMN_CHARSET))
    collations |= _collations(choices, fields.get(_LABELS_DEFAULT_CHARSET), fields.get(_LABELS_CHARSET))
    names = dict(enumerate(_strings(fields.get(_COLUMN_NAME, b""))))
    labels: dict[int, tuple[bytes, ...]] = {}
    for kind, field in ((ENUM, _ENUM_LABELS), (SET, _SET_LABELS)):
        of_kind = [place for place in choices if types[place][0] == kind]
        labels |= dict(zip(of_kind, _label_lists(fields.get(field, b"")), strict=False))
    for place, (kind, metadata) in enumerate(types):
        name = names.get(place)
        yield LoggedColumn(
            kind=kind,
            metadata=metadata,
            name=None if name is None else name.decode(),
            is_unsigned=unsigned.get(place),
            collation=collations.get(place),
            labels=labels.get(place),
        )


def _optional_fields(data: bytes) -> Iterator[tuple[int, bytes]]:
    position = 0
    while position < len(data):
        kind = data[position]
        length, position = packed_integer(data, position + 1)
        yield kind, data[position : position + length]
        position += length


def _integers(data: bytes) -> Iterator[int]:
    position = 0
    while position < len(data):
        value, position = packed_integer(data, position)
        yield value


def _strings(data: bytes) -> Iterator[bytes]:
    position = 0
    while position < len(data):
        length, position = packed_integer(data, position)
        yield data[position : position + length]
        position += length


def _label_lists(data: bytes) -> Iterator[tuple[bytes, ...]]:
    position = 0
    while position < len(data):
        count, position = packed_integer(data, position)
        labels = []
        for _ in range(count):
            length, position = packed_integer(data, position)
            labels.append(data[position : position + length])
            position += length
        yield tuple(labels)


def _collations(places: Sequence[int], default: bytes | None, each: bytes | None) -> dict[int, int]:
    """Return the collations of text columns: one for most of them with exceptions, or one each."""
    if each is not None:
        return dict(zip(places, _integers(each), strict=False))
    if default is None:
        return {}
    most, *exceptions = _integers(default)
    found = dict.fromkeys(places, most)
    for number, collation in zip(exceptions[::2], exceptions[1::2], strict=False):
        found[places[number]] = collation
    return found
