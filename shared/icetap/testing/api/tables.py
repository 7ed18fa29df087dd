"""Records of a fake API, and the usual ways of handing them out in pages."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from icetap.testing.api.server import Call

Record = dict[str, Any]


class Table:
    """Records by their key; `order` says how the API sorts them."""

    def __init__(self, records: Iterable[Record] = (), *, key: str = "id", order: str | None = None) -> None:
        self.key = key
        self.order = order
        self.records: dict[Any, Record] = {}
        self.empty_page_at: int | None = None
        """This page (from 1) is empty, and the rest comes after it: the API filters after it has paged."""

        for record in records:
            self.put(record)

    def put(self, record: Record) -> None:
        """Add a record, or replace the one with its key."""
        self.records[record[self.key]] = record

    def delete(self, key: Any) -> None:
        """Remove a record."""
        del self.records[key]

    def rows(self, keep: Callable[[Record], bool] = lambda _: True) -> list[Record]:
        """Return the records in the API's order."""
        found = [record for record in self.records.values() if keep(record)]
        if self.order:
            name = self.order.lstrip("-")
            found.sort(
                key=lambda record: (record[name], record[self.key]), reverse=self.order.startswith("-")
            )
        return found

    def page(self, number: int, size: int, keep: Callable[[Record], bool] = lambda _: True) -> list[Record]:
        """Return a page by its number, from 1."""
        if self.empty_page_at is not None:
            if number == self.empty_page_at:
                return []
            number -= number > self.empty_page_at
        return self.rows(keep)[(number - 1) * size : number * size]

    def since(
        self, call: Call, *, param: str, field: str, of: Callable[[str], Any] = str
    ) -> Callable[[Record], bool]:
        """Return the filter `field >= param`, if the request has that parameter."""
        text = call.param(param)
        if not text:
            return lambda _: True
        start = of(text)
        return lambda record: record[field] is not None and record[field] >= start


def by_cursor(
    rows: Sequence[Record], *, after: str | None, size: int, key: str = "id"
) -> tuple[list[Record], bool]:
    """Return the page after a key, and whether there is more.

    Raises:
        KeyError: When no record has that key (any more).
    """
    start = 0
    if after is not None:
        keys = [str(row[key]) for row in rows]
        if after not in keys:
            raise KeyError(after)
        start = keys.index(after) + 1
    return list(rows[start : start + size]), len(rows) > start + size


def instant(text: str) -> datetime:
    """Read a time as requests have it."""
    return datetime.fromisoformat(text)


def without(record: Mapping[str, Any], *names: str) -> Record:
    """Return a record without some fields."""
    return {name: value for name, value in record.items() if name not in names}
