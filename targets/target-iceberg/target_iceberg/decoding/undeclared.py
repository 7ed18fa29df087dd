"""Fields that no SCHEMA declared: found by looking at the values, at any depth."""

from __future__ import annotations

import re
from typing import Any

import pyarrow as pa

from icetap.types import infer_field, json_field, kind_of
from target_iceberg.decoding.json_text import NumberText

Path = tuple[str, ...]
_NOT_INTEGER = re.compile(r"[.eENI]")


class Learned:
    """The fields found so far, by path; their types widen until every value seen fits."""

    def __init__(self) -> None:
        self._paths: set[Path] = set()

    def touches(self, column: str) -> bool:
        """Say whether a column, or a field inside it, was found and not declared."""
        return any(path[0] == column for path in self._paths)

    def widen(self, field: pa.Field, value: Any, *, path: Path = ()) -> pa.Field:
        """Return the field so that it has a place for everything in `value`.

        Declared fields keep their types; undeclared ones are added, and become text or JSON text when
        their values are of several types. Only null so far is the Arrow type null.
        """
        if value is None:
            return field
        if path in self._paths:
            return _joined(field, _inferred(field.name, value))
        kind = field.type
        if pa.types.is_struct(kind) and isinstance(value, dict):
            return field.with_type(self._widen_struct(kind, value, path=path))
        if pa.types.is_map(kind) and isinstance(value, dict):
            item = kind.item_field
            for one in value.values():
                item = self.widen(item, one, path=(*path, "value"))
            return field.with_type(pa.map_(kind.key_field, item))
        if pa.types.is_list(kind) and isinstance(value, list):
            element = kind.value_field
            for one in value:
                element = self.widen(element, one, path=(*path, "element"))
            return field.with_type(pa.list_(element))
        return field

    def widen_column(self, field: pa.Field | None, found: pa.Field) -> pa.Field:
        """Return the column for a file's column of this name, whose type stands for all its values.

        Args:
            field: The column so far; a declared one keeps its type. None when there is none.
            found: The file's column.
        """
        if field is None:
            self._paths.add((found.name,))
            return found
        return _joined(field, found) if (field.name,) in self._paths else field

    def _widen_struct(self, kind: pa.StructType, value: dict[str, Any], *, path: Path) -> pa.StructType:
        children = {child.name: child for child in kind}
        for name, one in value.items():
            if name in children:
                children[name] = self.widen(children[name], one, path=(*path, name))
            else:
                self._paths.add((*path, name))
                children[name] = _inferred(name, one)
        return pa.struct(list(children.values()))


def _inferred(name: str, value: Any) -> pa.Field:
    if value is None:
        return pa.field(name, pa.null())
    if isinstance(value, NumberText) and not _NOT_INTEGER.search(value.text):
        return infer_field(name, 0) if value.text == "-0" else _text_field(name)
    return infer_field(name, value)


def _joined(field: pa.Field, other: pa.Field) -> pa.Field:
    """Return one field for values of both types; the order in which they came does not matter."""
    if pa.types.is_null(other.type) or field.equals(other, check_metadata=True):
        return field
    if pa.types.is_null(field.type):
        return other
    if "json" in {kind_of(field), kind_of(other)}:
        return json_field(field.name)
    if {field.type, other.type} == {pa.int64(), pa.float64()}:
        return field.with_type(pa.float64())
    return _text_field(field.name)


def _text_field(name: str) -> pa.Field:
    return infer_field(name, 2**64)  # no number type holds it, so that it is text with all its digits
