"""Shopify's objects: queries, columns and records, all of them made from `objects.graphql`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from functools import cache, cached_property
from importlib import resources
from typing import TYPE_CHECKING, Any

from icetap.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

GID = "admin_graphql_api_id"
"""The column with the whole id, as REST calls it; `id` is its number."""

REFERENCE = "AnyRef"
"""A field of this type becomes one column, the number in the other object's id: `customer_id`."""

INNER_PAGE = 25
"""Records of an inner connection that come at once; the product with the outer page must stay below 1,000 points."""

_FIELD = re.compile(r"(\w+)(\(.*\))?: (\[?)(\w+?)(Connection)?\]?")
_NUMBER = re.compile(r"/(\d+)(?:\?.*)?$")
_DECIMAL = {
    "type": ["number", "null"],
    "x-sql-datatype": "decimal",
    "x-sql-datatype-properties": {"precision": 28, "scale": 8},
}
_SCALARS: dict[str, dict[str, Any]] = {
    "ID": {"type": ["integer", "null"]},
    "String": {"type": ["string", "null"]},
    "Int": {"type": ["integer", "null"]},
    "UnsignedInt64": {"type": ["integer", "null"]},
    "Float": {"type": ["number", "null"]},
    "Boolean": {"type": ["boolean", "null"]},
    "DateTime": {"type": ["string", "null"], "format": "date-time"},
    "Decimal": _DECIMAL,
}


@dataclass(frozen=True)
class Field:
    """One field of a type."""

    name: str
    arguments: str
    type_name: str
    is_list: bool
    is_connection: bool
    fragment: str | None = None
    """The type on which alone the field exists."""

    @cached_property
    def column(self) -> str:
        """The column's name, as REST would write it."""
        name = re.sub(r"(?<!^)(?=[A-Z])", "_", self.name).lower()
        return f"{name}_id" if self.type_name == REFERENCE else name

    @cached_property
    def amount_column(self) -> str | None:
        """For sums in two currencies: the column with the amount in the shop's own."""
        return self.column.removesuffix("_set") if self.type_name == "MoneyBag" else None


@cache
def types() -> dict[str, tuple[Field, ...]]:
    """Return the types of `objects.graphql`."""
    text = (resources.files("tap_shopify") / "objects.graphql").read_text("utf-8")
    found: dict[str, list[Field]] = {}
    name, fragment = "", None
    for line in map(str.strip, text.splitlines()):
        if line.startswith("type "):
            name = line.split()[1]
            found[name] = []
        elif line.startswith("... on "):
            fragment = line.split()[2]
        elif line == "}":
            fragment = None
        elif match := _FIELD.fullmatch(line):
            field, arguments, is_list, type_name, connection = match.groups()
            found[name].append(
                Field(field, arguments or "", type_name, bool(is_list), bool(connection), fragment)
            )
    return {name: tuple(fields) for name, fields in found.items()}


def connections(type_name: str) -> list[Field]:
    """Return the fields of a type that are read in pages."""
    return [field for field in types().get(type_name, ()) if field.is_connection]


def fits_bulk(type_name: str) -> bool:
    """Say whether a bulk operation can read a type: it has no connection inside of a plain list."""
    return not any(field.is_list and connections(field.type_name) for field in types()[type_name])


# --- queries --------------------------------------------------------------------------------------------


def selection(type_name: str, *, in_bulk: bool = False) -> str:
    """Return what is asked of a type."""
    return " ".join(_selected(field, in_bulk=in_bulk) for field in types()[type_name])


def _selected(field: Field, *, in_bulk: bool) -> str:
    text = field.name + field.arguments
    if field.type_name not in _SCALARS:
        inner = selection(field.type_name, in_bulk=in_bulk)
        if field.is_connection and in_bulk:
            inner = f"edges {{ node {{ {inner} }} }}"
        elif field.is_connection:
            text += f"(first: {INNER_PAGE})"
            inner = f"nodes {{ {inner} }} pageInfo {{ hasNextPage endCursor }}"
        text += f" {{ {inner} }}"
    return f"... on {field.fragment} {{ {text} }}" if field.fragment else text


# --- columns --------------------------------------------------------------------------------------------


def columns(type_name: str) -> dict[str, dict[str, Any]]:
    """Return the columns of a type as JSON Schema."""
    found: dict[str, dict[str, Any]] = {}
    for field in types()[type_name]:
        if field.name == "id":
            found[GID] = {"type": ["string", "null"]}
        if field.amount_column:
            found[field.amount_column] = _DECIMAL
        found[field.column] = _column(field)
    return found


def _column(field: Field) -> dict[str, Any]:
    one = _SCALARS.get("ID" if field.type_name == REFERENCE else field.type_name)
    if one is None:
        one = {"type": ["object", "null"], "properties": columns(field.type_name)}
    return {"type": ["array", "null"], "items": one} if field.is_list or field.is_connection else one


# --- records --------------------------------------------------------------------------------------------


def record(type_name: str, node: Mapping[str, Any]) -> dict[str, Any]:
    """Return an object as it is emitted; fields that the type does not have keep their names and values.

    Raises:
        DataError: When a number is none.
    """
    found: dict[str, Any] = dict(node)
    for field in types()[type_name]:
        if field.name not in node:
            continue
        value = found.pop(field.name)
        if field.name == "id" and isinstance(value, str):
            found[GID] = value
        found[field.column] = _converted(field, value)
        if field.amount_column and field.amount_column != field.column:
            found[field.amount_column] = _amount(found[field.column])
    return found


def _amount(bag: Any) -> Decimal | None:
    return ((bag or {}).get("shop_money") or {}).get("amount")


def _converted(field: Field, value: Any) -> Any:
    if value is None:
        return None
    if field.is_connection and isinstance(value, dict):
        value = value["nodes"]
    if isinstance(value, list):
        return [_one(field, each) for each in value if each is not None]
    return _one(field, value)


def _one(field: Field, value: Any) -> Any:
    if field.type_name == REFERENCE:
        return number_of(value["id"])
    if field.type_name not in _SCALARS:
        return record(field.type_name, value)
    convert = _CONVERSIONS.get(field.type_name)
    if convert is None or value is None:
        return value
    try:
        return convert(value)
    except (ValueError, TypeError, InvalidOperation):
        raise DataError(
            f"the field '{field.name}' holds a value that is no {field.type_name}. Is 'api_version' one that this tap knows?"
        ) from None


def number_of(gid: str | int) -> int | None:
    """Return the number in an id such as `gid://shopify/Order/5501`; None when it has none."""
    if isinstance(gid, int):
        return gid
    match = _NUMBER.search(gid)
    return int(match[1]) if match else None


def kind_of(gid: str) -> str:
    """Return the type in an id such as `gid://shopify/Order/5501`."""
    return gid.removeprefix("gid://shopify/").partition("/")[0]


def _decimal(value: Any) -> Decimal:
    number = value if isinstance(value, Decimal) else Decimal(str(value))
    if not number.is_finite():
        raise ValueError(value)
    return number


_CONVERSIONS: dict[str, Callable[[Any], Any]] = {
    "ID": number_of,
    "UnsignedInt64": int,
    "Decimal": _decimal,
}


def unfinished(type_name: str, node: Mapping[str, Any]) -> Iterator[tuple[Mapping[str, Any], Field]]:
    """Yield the connections of a node of which there is more, each with the object that it belongs to; inner ones too."""
    for field in types()[type_name]:
        value = node.get(field.name)
        if field.type_name in _SCALARS or not value:
            continue
        if field.is_connection and value["pageInfo"]["hasNextPage"]:
            yield node, field
        inner = value["nodes"] if field.is_connection else value if field.is_list else [value]
        for each in inner:
            if each:
                yield from unfinished(field.type_name, each)
