"""What happens to a record between the answer and the pipe: conversions, filters, added and dropped fields."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any

from icetap.rest import dates
from icetap.rest.failures import UnreadableStreamError
from icetap.rest.jsonpath import lists_of_objects
from icetap.rest.templates import render

if TYPE_CHECKING:
    from icetap.rest.incremental import Incremental
    from icetap.rest.jsonpath import JSONPath

Conversion = str | Sequence[str]
"""`decimal`, or the format (or formats) of a time; see `icetap.rest.dates`."""


def converted(
    record: Mapping[str, Any], conversions: Mapping[str, Conversion], *, where: str
) -> dict[str, Any]:
    """Return a record with some fields converted: times to ISO 8601 in UTC, texts of numbers to exact decimals.

    Raises:
        UnreadableStreamError: When a value is of another format; names the field.
    """
    changed = dict(record)
    for name, conversion in conversions.items():
        value = changed.get(name)
        if value is None:
            continue
        try:
            changed[name] = _converted(value, conversion)
        except (ValueError, InvalidOperation):
            formats = conversion if isinstance(conversion, str) else " or ".join(conversion)
            raise UnreadableStreamError(
                f"{where}: the field '{name}' holds a value that is not of the format {formats}"
            ) from None
    return changed


def refuse_other_place(path: JSONPath, document: Any, values: Sequence[Any], *, keys: Sequence[str]) -> None:
    """Refuse an answer that has records, but not where they are looked for.

    Args:
        path: Where they are looked for.
        document: The answer.
        values: What is there.
        keys: Names that a record has; of a record that is the whole answer one of them has to be there.

    Raises:
        UnreadableStreamError: With the place where the answer has records.
    """
    is_whole = len(values) == 1 and values[0] is document
    is_envelope = is_whole and isinstance(document, dict) and bool(keys) and not set(keys) & set(document)
    if not is_envelope and (values or path.leads_somewhere(document)):
        return
    other = next(iter(lists_of_objects(document)), None)
    if other is not None:
        raise UnreadableStreamError(
            f"the answer has {'no record' if is_envelope else 'nothing'} at '{path.text}', but records at '{other}'. "
            "Is that where this stream's records are?"
        )


def all_conversions(
    declared: Mapping[str, str], incremental: Incremental | None, properties: Mapping[str, Any] | None
) -> dict[str, Conversion]:
    """Return the declared conversions, and that of a replication key which becomes a time on the way."""
    found: dict[str, Conversion] = dict(declared)
    if incremental is None or incremental.replication_key is None or not incremental.is_time:
        return found
    column = (properties or {}).get(incremental.replication_key)
    becomes_time = column is None or column.get("format") == "date-time"
    if becomes_time and not set(incremental.record_format) <= {"iso8601", "date"}:
        found.setdefault(incremental.replication_key, incremental.record_format)
    return found


def _converted(value: Any, conversion: Conversion) -> Any:
    if conversion == "decimal":
        number = value if isinstance(value, Decimal | int) else Decimal(str(value))
        if not Decimal(number).is_finite():
            raise ValueError(conversion)
        return number
    found = dates.read(value, (conversion,) if isinstance(conversion, str) else conversion)
    return dates.write(found, "iso8601") if isinstance(found, datetime) else found


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Keeps records by one field."""

    field: str
    among: Sequence[Any] | None = None
    not_among: Sequence[Any] | None = None
    exists: bool | None = None

    def keeps(self, record: Mapping[str, Any]) -> bool:
        """Say whether a record passes."""
        value = record.get(self.field)
        if self.exists is not None and (value is not None) is not self.exists:
            return False
        if self.among is not None and value not in self.among:
            return False
        return self.not_among is None or value not in self.not_among


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordRules:
    """Declared changes of records, in this order: filter, add, rename, drop."""

    filter: Sequence[Filter] = ()
    add: Mapping[str, Any] = field(default_factory=dict)
    """New fields; values may be templates with the roots `record` and `response` besides the usual ones."""

    rename: Mapping[str, str] = field(default_factory=dict)
    drop: Sequence[str] = ()

    @property
    def is_given(self) -> bool:
        """Whether there is anything to do."""
        return bool(self.filter or self.add or self.rename or self.drop)

    def keeps(self, record: Mapping[str, Any]) -> bool:
        """Say whether a record passes all filters."""
        return all(each.keeps(record) for each in self.filter)

    def applied(self, record: Mapping[str, Any], scope: Mapping[str, Any]) -> dict[str, Any]:
        """Return the changed record."""
        changed = dict(record)
        if self.add:
            changed |= render(self.add, {**scope, "record": record})
        if self.rename:
            changed = {self.rename.get(name, name): value for name, value in changed.items()}
        for name in self.drop:
            changed.pop(name, None)
        return changed
