"""Which mask applies to which column, and to which part of a nested one."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pyarrow as pa

from icetap.errors import ConfigurationError
from icetap.records.masks.rules import Mask, Rule, is_pattern
from icetap.records.masks.values import KeyedHash
from icetap.types import kind_of

if TYPE_CHECKING:
    from icetap.records.masks.rules import Masks

ELEMENT, VALUE = "[]", ".*"
"""What stands behind a list's path for its elements, and behind a map's for its values."""

ABOUT_CHANGES = "_sdc_"
"""What the columns begin with that say which rows are deleted and in which order changes came."""

_Rank = tuple[bool, bool, bool, int]
_WEAKEST: _Rank = (False, False, False, -1)


@dataclass(frozen=True, slots=True)
class Node:
    """What happens to one column, or to one part of a nested column."""

    mask: Mask | None = None
    parts: Mapping[str, Node] = field(default_factory=dict)
    """By the name of a struct's field; `[]` for a list's elements, `.*` for a map's values."""

    document: Document | None = None
    """Set when the column holds JSON text of which parts are masked."""


@dataclass(frozen=True, slots=True)
class Document:
    """The rules that apply inside of a JSON text, the strongest first."""

    path: str
    rules: tuple[Rule, ...]
    _known: dict[str, Mask | None] = field(default_factory=dict, repr=False, compare=False)

    def mask_of(self, path: str) -> Mask | None:
        """Return the mask of a part by its path from the column on; there are few paths, asked for often."""
        if path not in self._known:
            found = next((rule.mask for rule in self.rules if rule.fits(path)), None)
            if len(self._known) < _MOST_PATHS:
                self._known[path] = found
            return found
        return self._known[path]


_MOST_PATHS = 4096  # of documents whose names are data themselves


@dataclass(frozen=True, slots=True)
class Plan:
    """What happens to the columns of one stream; columns that are not named stay as they are."""

    columns: Mapping[str, Node]
    hashed: KeyedHash | None = field(repr=False)

    @classmethod
    def of(
        cls,
        masks: Masks,
        schema: pa.Schema,
        *,
        stream: str,
        keys: Collection[str] = (),
        cursor: str | None = None,
        defaults: Sequence[Rule] = (),
    ) -> Plan | None:
        """Return the plan for a stream's columns, or None when nothing is masked.

        Args:
            masks: The settings.
            schema: The columns.
            stream: The stream's name.
            keys: Its key columns.
            cursor: Its replication key when the stream is read by it.
            defaults: Rules beside those of the settings, weaker than all of them.

        Raises:
            ConfigurationError: For a mask that does not fit its column's type, key or replication key.
        """
        builder = _Builder(stream, (*masks.of_stream(stream), *defaults), frozenset(keys), cursor)
        columns = {name: node for name, node in map(builder.column, schema) if node is not None}
        if not columns:
            return None
        if len(columns) == len(schema) and all(node.mask is Mask.DROP for node in columns.values()):
            raise ConfigurationError(
                f"setting 'masks' drops every column of stream '{stream}'. Deselect the stream instead."
            )
        return cls(columns, KeyedHash(masks.key) if masks.key is not None else None)

    def schema(self, schema: pa.Schema) -> pa.Schema:
        """Return the columns as they are after masking."""
        fields = (self._masked(each) for each in schema)
        return pa.schema([each for each in fields if each is not None], metadata=schema.metadata)

    def _masked(self, column: pa.Field) -> pa.Field | None:
        node = self.columns.get(column.name)
        return masked_field(column, node) if node else column

    @property
    def names(self) -> frozenset[str]:
        """The columns of which something is masked."""
        return frozenset(self.columns)


def masked_field(column: pa.Field, node: Node) -> pa.Field | None:
    """Return a column as it is after masking; None when it is dropped."""
    match node.mask:
        case Mask.DROP:
            return None
        case Mask.HASH | Mask.PARTIAL:
            return pa.field(column.name, pa.string(), nullable=column.nullable)
        case Mask.REDACT:
            return column.with_nullable(True)
        case Mask.YEAR:
            return column
        case _:
            kind = _masked_type(column.type, node)
            return None if kind is None else column.with_type(kind)


def _masked_type(kind: pa.DataType, node: Node) -> pa.DataType | None:
    """Return a nested type after masking; None when nothing of it is left."""
    if pa.types.is_struct(kind):
        children = [
            masked_field(child, node.parts[child.name]) if child.name in node.parts else child
            for child in kind
        ]
        left = [child for child in children if child is not None]
        return pa.struct(left) if left else None
    if pa.types.is_list(kind) and ELEMENT in node.parts:
        element = masked_field(kind.value_field, node.parts[ELEMENT])
        return None if element is None else pa.list_(element)
    if pa.types.is_map(kind) and VALUE in node.parts:
        item = masked_field(kind.item_field, node.parts[VALUE])
        return None if item is None else pa.map_(kind.key_field, item)
    return kind


# --- making -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Builder:
    stream: str
    rules: Sequence[Rule]
    keys: frozenset[str]
    cursor: str | None

    def column(self, column: pa.Field) -> tuple[str, Node | None]:
        name = column.name
        if name.startswith(ABOUT_CHANGES):
            self._refuse_mask_about_changes(name)
            return name, None
        node = self._node(column, name, _WEAKEST)
        if node is not None and name == self.cursor:
            raise ConfigurationError(
                f"{self._rule_of(name).setting} masks the replication key '{name}' of stream '{self.stream}': its "
                "bookmark would leak or break. Choose another replication key or FULL_TABLE, or except the column: "
                f"'{name}: keep'."
            )
        if node is not None and name in self.keys and node.mask is not Mask.HASH:
            rule = self._rule_of(name)
            raise ConfigurationError(
                f"{rule.setting} is '{rule.mask}', and '{name}' is a key of stream '{self.stream}': rows would lose "
                f"their identity. Use 'hash' for keys, or except the column: '{name}: keep'."
            )
        return name, node

    def _refuse_mask_about_changes(self, name: str) -> None:
        """Refuse a mask that names such a column; patterns leave it alone: deleted rows would come back to life."""
        for rule in self.rules:
            if rule.column == name and rule.mask is not Mask.KEEP:
                raise ConfigurationError(
                    f"{rule.setting} is '{rule.mask}', and '{name}' tells the loader which rows are deleted, or which "
                    "change is the last. It holds nothing personal: take the line out."
                )

    def _rule_of(self, path: str) -> Rule:
        """Return the rule that masks a column, or else something inside of it."""
        wanted = [rule for rule in self.rules if rule.mask is not Mask.KEEP]
        return next((rule for rule in wanted if rule.fits(path)), wanted[0])

    def _node(self, column: pa.Field, path: str, floor: _Rank) -> Node | None:
        """Return what happens to a column whose surrounding column is excepted from rules up to `floor`."""
        rule = next((each for each in self.rules if each.fits(path)), None)
        if rule is not None and rule.rank > floor:
            if rule.mask is Mask.KEEP:
                floor = rule.rank
            elif (misfit := _misfit(column, rule.mask)) is None:
                return Node(rule.mask)
            elif rule.is_default:
                return Node(Mask.REDACT)
            elif not is_pattern(rule.column) or not _is_container(column):
                raise ConfigurationError(
                    f"{rule.setting} is '{rule.mask}', which does not fit '{path}' of stream '{self.stream}' "
                    f"({column.type}): {misfit}"
                )
        if kind_of(column) == "json":
            return self._document(path, floor)
        return self._nested(column, path, floor)

    def _document(self, path: str, floor: _Rank) -> Node | None:
        inside = tuple(rule for rule in self.rules if rule.rank > floor and rule.may_fit_inside(path))
        if all(rule.mask is Mask.KEEP for rule in inside):
            return None
        return Node(document=Document(path, inside))

    def _nested(self, column: pa.Field, path: str, floor: _Rank) -> Node | None:
        parts = {}
        for name, child, child_path in inner_fields(column, path):
            node = self._node(child, child_path, floor)
            if node is not None:
                parts[name] = node
        if not parts:
            return None
        node = Node(parts=parts)
        return node if masked_field(column, node) is not None else Node(Mask.DROP)


def inner_fields(column: pa.Field, path: str) -> Iterator[tuple[str, pa.Field, str]]:
    """Yield the parts of a nested column: name, field, path."""
    kind = column.type
    if pa.types.is_struct(kind):
        for child in kind:
            yield child.name, child, f"{path}.{child.name}"
    elif pa.types.is_list(kind):
        yield ELEMENT, kind.value_field, path + ELEMENT
    elif pa.types.is_map(kind):
        yield VALUE, kind.item_field, path + VALUE


def _is_container(column: pa.Field) -> bool:
    return pa.types.is_nested(column.type) or kind_of(column) == "json"


def _misfit(column: pa.Field, mask: Mask) -> str | None:
    """Say why a mask does not fit a type, with the way out; None when it does."""
    kind = column.type
    if mask in {Mask.REDACT, Mask.DROP}:
        return None
    if mask is Mask.YEAR:
        fits = pa.types.is_date(kind) or pa.types.is_timestamp(kind)
        return None if fits else "it is for dates and instants. Use hash, redact or drop."
    if pa.types.is_nested(kind) or (kind_of(column) == "json" and mask is Mask.PARTIAL):
        return "mask its parts by their paths, or use redact or drop."
    if mask is Mask.PARTIAL and not _has_characters(kind):
        return "it is for texts and numbers. Use hash, redact or drop" + (
            ", or year." if pa.types.is_temporal(kind) else "."
        )
    return None


_Test = Callable[[pa.DataType], bool]
_WITH_CHARACTERS: tuple[_Test, ...] = (
    pa.types.is_string,
    pa.types.is_integer,
    pa.types.is_floating,
    pa.types.is_decimal,
)


def _has_characters(kind: pa.DataType) -> bool:
    return kind == pa.uuid() or any(test(kind) for test in _WITH_CHARACTERS)
