"""What `partition_by` and `sort_by` say, against the columns of a table.

day(created_at)   bucket(16, id)   truncate(4, zip)   country   void(country)
created_at desc   "odd name" asc nulls last
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pyiceberg.table.sorting import NullOrder, SortDirection
from pyiceberg.transforms import (
    BucketTransform,
    DayTransform,
    HourTransform,
    IdentityTransform,
    MonthTransform,
    TruncateTransform,
    VoidTransform,
    YearTransform,
)

from icetap.errors import ConfigurationError
from icetap.settings import did_you_mean
from target_iceberg.tables.partitions import path_to

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pyiceberg.schema import Schema
    from pyiceberg.transforms import Transform

_PLAIN: Mapping[str, tuple[Callable[[], Transform[Any, Any]], str]] = {
    "identity": (IdentityTransform, "a type that is not an object, an array or a map"),
    "void": (VoidTransform, "any type that is not an object, an array or a map"),
    "year": (YearTransform, "date, timestamp or timestamptz"),
    "month": (MonthTransform, "date, timestamp or timestamptz"),
    "day": (DayTransform, "date, timestamp or timestamptz"),
    "hour": (HourTransform, "timestamp or timestamptz"),
}
_COUNTED: Mapping[str, tuple[Callable[[int], Transform[Any, Any]], str]] = {
    "bucket": (BucketTransform, "any type but boolean, float and double"),
    "truncate": (TruncateTransform, "int, long, decimal, string or binary"),
}
TRANSFORMS = (*_PLAIN, *_COUNTED)
_MOST = 2**31 - 1
_TIMES = (YearTransform, MonthTransform, DayTransform, HourTransform)

_CALL = re.compile(r"\s*(\w+)\s*\((.*)\)\s*", re.DOTALL)
_QUOTED = re.compile(r'\s*(?:"((?:[^"]|"")+)"|`((?:[^`]|``)+)`)\s*')
_ORDERED = re.compile(
    r"(?P<column>.*?)(?:\s+(?P<direction>asc|desc))?(?:\s+nulls\s+(?P<nulls>first|last))?\s*",
    re.IGNORECASE | re.DOTALL,
)


@dataclass(frozen=True)
class PartitionTerm:
    """One entry of `partition_by`: a transform of a column."""

    transform: Transform[Any, Any]
    source_id: int
    column: str

    def __str__(self) -> str:
        """Return the entry as one may write it."""
        return describe(self.transform, self.column)


@dataclass(frozen=True)
class SortTerm:
    """One entry of `sort_by`: a column, its direction, and where its nulls go."""

    source_id: int
    column: str
    direction: SortDirection
    null_order: NullOrder

    def __str__(self) -> str:
        """Return the entry as one may write it."""
        return f"{self.column} {self.direction.value} {self.null_order.value.replace('-', ' ')}"


def describe(transform: Transform[Any, Any], column: str) -> str:
    """Return a transform of a column as `partition_by` writes it."""
    match transform:
        case IdentityTransform():
            return column
        case BucketTransform():
            return f"bucket({transform.num_buckets}, {column})"
        case TruncateTransform():
            return f"truncate({transform.width}, {column})"
    return f"{transform}({column})"


class Columns:
    """The columns that settings may name: as the stream calls them, or as the table does."""

    def __init__(self, schema: Schema, *, mapping: Mapping[str, str], stream: str) -> None:
        """Take the table's columns, and the stream's names for them."""
        self.schema = schema
        self.stream = stream
        self._mapping = mapping

    def find(self, name: str, *, setting: str, text: str) -> tuple[int, str]:
        """Return a column's field id and its name in the table.

        Raises:
            ConfigurationError: When there is no such column, or it lies within an array or a map.
        """
        found = self._lookup(name)
        if found is None:
            known = [*self._mapping, *(field.name for field in self.schema.fields)]
            raise ConfigurationError(
                f"setting '{setting}' has '{text}', but stream '{self.stream}' has no column '{name}'"
                f"{did_you_mean(name, known)}"
            )
        if not path_to(found, self.schema.as_struct()):
            raise ConfigurationError(
                f"setting '{setting}' has '{text}', but '{name}' lies within an array or a map; "
                "only columns and properties of objects have one value a row"
            )
        return found, self.schema.find_column_name(found) or name

    def has(self, name: str) -> bool:
        """Whether there is a column with exactly this name."""
        return self._lookup(name) is not None

    def _lookup(self, name: str) -> int | None:
        own = self._mapping.get(name, name)
        for field in self.schema.fields:
            if field.name == own:
                return field.field_id
        try:
            return self.schema.find_field(own).field_id
        except ValueError:
            return None

    def check_type(self, term: PartitionTerm, *, text: str) -> None:
        """Refuse a transform of a column whose type Iceberg does not allow for it.

        Raises:
            ConfigurationError: Naming the types that it takes.
        """
        kind = self.schema.find_type(term.source_id)
        if kind.is_primitive and term.transform.can_transform(kind):
            return
        name = str(term.transform).split("[", maxsplit=1)[0]
        takes = (_PLAIN.get(name) or _COUNTED[name])[1]
        shown = kind if kind.is_primitive else "object, array or map"
        raise ConfigurationError(
            f"setting 'partition_by' has '{text}', but column '{term.column}' of stream '{self.stream}' has the type "
            f"{shown}; '{name}' takes {takes}"
        )


def partition_terms(texts: Sequence[str], columns: Columns) -> list[PartitionTerm]:
    """Return what `partition_by` asks for.

    Raises:
        ConfigurationError: For an entry that is not understood, or does not fit the stream's columns.
    """
    terms: list[PartitionTerm] = []
    for text in texts:
        transform, name = _partition_term(text, columns)
        term = PartitionTerm(transform, *columns.find(name, setting="partition_by", text=text))
        columns.check_type(term, text=text)
        _check_beside(term, terms, text=text)
        terms.append(term)
    return terms


def _partition_term(text: str, columns: Columns) -> tuple[Transform[Any, Any], str]:
    if columns.has(text):
        return IdentityTransform(), text
    call = _CALL.fullmatch(text)
    if call is None:
        return IdentityTransform(), _unquoted(text)
    name, arguments = call[1].lower(), call[2]
    if name in _PLAIN:
        return _PLAIN[name][0](), _unquoted(arguments)
    if name in _COUNTED:
        count, comma, column = arguments.partition(",")
        if comma and count.strip().isascii() and count.strip().isdecimal() and 1 <= int(count) <= _MOST:
            return _COUNTED[name][0](int(count)), _unquoted(column)
        raise ConfigurationError(
            f"setting 'partition_by' has '{text}'; expected '{name}(<number from 1>, <column>)', "
            f"as in '{name}(16, id)'"
        )
    known = ", ".join(TRANSFORMS)
    raise ConfigurationError(
        f"setting 'partition_by' has '{text}', but there is no transform '{call[1]}'{did_you_mean(name, TRANSFORMS)} "
        f"(there are {known}; a column whose name looks like that goes into double quotes)"
    )


def _check_beside(term: PartitionTerm, others: Sequence[PartitionTerm], *, text: str) -> None:
    for other in others:
        if other.source_id != term.source_id:
            continue
        if other.transform == term.transform:
            raise ConfigurationError(f"setting 'partition_by' has '{text}' twice")
        if isinstance(other.transform, _TIMES) and isinstance(term.transform, _TIMES):
            raise ConfigurationError(
                f"setting 'partition_by' has both '{other}' and '{term}'; the finer one says everything, name it alone"
            )


def sort_terms(texts: Sequence[str], columns: Columns) -> list[SortTerm]:
    """Return what `sort_by` asks for.

    Raises:
        ConfigurationError: For an entry that is not understood, or does not fit the stream's columns.
    """
    terms: list[SortTerm] = []
    for text in texts:
        term = _sort_term(text, columns)
        if not columns.schema.find_type(term.source_id).is_primitive:
            raise ConfigurationError(
                f"setting 'sort_by' has '{text}', but column '{term.column}' of stream '{columns.stream}' is an "
                "object, an array or a map, which has no order"
            )
        if any(other.source_id == term.source_id for other in terms):
            raise ConfigurationError(f"setting 'sort_by' has the column '{term.column}' twice")
        terms.append(term)
    return terms


def _sort_term(text: str, columns: Columns) -> SortTerm:
    direction, nulls, name = "asc", None, text
    if not columns.has(text) and (found := _ORDERED.fullmatch(text)):
        direction, nulls = (found["direction"] or "asc").lower(), (found["nulls"] or "").lower()
        name = _unquoted(found["column"])
    nulls = nulls or ("first" if direction == "asc" else "last")
    return SortTerm(
        *columns.find(name, setting="sort_by", text=text),
        direction=SortDirection(direction),
        null_order=NullOrder(f"nulls-{nulls}"),
    )


def _unquoted(text: str) -> str:
    if quoted := _QUOTED.fullmatch(text):
        return quoted[1].replace('""', '"') if quoted[1] else quoted[2].replace("``", "`")
    return text.strip()
