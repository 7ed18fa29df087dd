"""Incoming columns against the table's: what is added, promoted, put aside in a variant column, or refused.

`plan_evolution` compares schemas and changes nothing. `evolve` finds a place for every column: the
table's column when its type takes the values exactly, else the column promoted as Iceberg allows, else a
variant column named after its type (`amount__long`). `freeze` lists every difference as a violation.
The values themselves are cast by `conform`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import pyarrow as pa

from icetap.records.names import plain_identifier, snake_case
from icetap.types import kind_of, promotion, variant_suffix
from target_iceberg.conform import conform_columns, inexact_in_double

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

Policy = Literal["evolve", "freeze"]
MAX_PRECISION = 38


@dataclass(frozen=True, slots=True)
class Evolution:
    """How the columns of a stream go into its table."""

    mapping: dict[str, str]
    """Incoming column -> column of the table."""
    schema: pa.Schema
    """The table's columns when the changes are made: those it has, in their order, then the added."""
    names: dict[str, Any]
    """What the table should remember of names, as JSON; given back to the next `plan_evolution`."""
    add: list[pa.Field] = field(default_factory=list)
    promote: dict[str, pa.DataType] = field(default_factory=dict)
    """Column of the table -> its wider type; structs may have gained members."""
    overflow: dict[str, str] = field(default_factory=dict)
    """Incoming integer column -> the column for those of its values that its double column cannot hold."""
    announcements: list[str] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    """Differences that the policy does not allow; when there are any, nothing may be loaded."""

    @property
    def is_change(self) -> bool:
        """Whether the table's columns must change before rows can be written."""
        return bool(self.add or self.promote)

    @property
    def widened(self) -> list[pa.Field]:
        """The columns to add and those to promote, as the table should have them."""
        return [*(self.schema.field(name) for name in self.promote), *self.add]


def plan_evolution(
    table: pa.Schema,
    incoming: pa.Schema,
    *,
    policy: str = "evolve",
    names: Mapping[str, Any] | None = None,
    identifier_case: str = "keep",
) -> Evolution:
    """Compare a stream's columns with its table's.

    Args:
        table: The table's columns with `icetap.kind` metadata; none for a table to be created.
        incoming: The stream's columns; those that are not nullable are keys.
        policy: `evolve` or `freeze`.
        names: `Evolution.names` as remembered in the table's properties, None at first.
        identifier_case: `keep` or `snake`: how the table's columns are named.
    """
    plan = _Plan(table, policy=policy, names=names or {}, identifier_case=identifier_case)
    targets = plan.names_for(incoming)
    for one in incoming:
        plan.place(one, targets[one.name])
    return plan.evolution()


def with_overflow(evolution: Evolution, batch: pa.RecordBatch, *, policy: str = "evolve") -> Evolution:
    """Return the evolution with a place for integers of this batch that a double column cannot hold.

    It is the same object when every value fits, so the check may be made for every batch.
    """
    missing = [
        name
        for name, target in evolution.mapping.items()
        if name not in evolution.overflow
        and name in batch.schema.names
        and pa.types.is_integer(batch.schema.field(name).type)
        and pa.types.is_floating(evolution.schema.field(target).type)
        and inexact_in_double(batch.column(name)).true_count
    ]
    if not missing:
        return evolution
    plan = _Plan.going_on(evolution, policy=policy)
    for name in missing:
        plan.set_overflow(batch.schema.field(name), evolution.mapping[name])
    return plan.evolution()


def conform(batch: pa.RecordBatch, evolution: Evolution) -> pa.RecordBatch:
    """Return the rows with the table's columns, in the table's order; columns the batch lacks are null.

    Raises:
        pa.ArrowInvalid: When a value does not fit exactly, which `with_overflow` would have shown.
        ValueError: When the evolution was planned without one of the batch's columns.
    """
    return conform_columns(batch, evolution.schema, mapping=evolution.mapping, overflow=evolution.overflow)


class _Plan:
    """Collects the evolution, column by column."""

    def __init__(
        self, table: pa.Schema, *, policy: str, names: Mapping[str, Any], identifier_case: str
    ) -> None:
        self._is_new = not len(table)
        self._fields: dict[str, pa.Field] = {one.name: one for one in table}
        self._frozen = policy == "freeze" and not self._is_new
        self._case = identifier_case
        self._columns: dict[str, str] = dict(names.get("columns", {}))
        self._variants: dict[str, str] = dict(names.get("variants", {}))
        self._mapping: dict[str, str] = {}
        self._overflow: dict[str, str] = {}
        self._add: list[str] = []
        self._promote: dict[str, pa.DataType] = {}
        self._announcements: list[str] = []
        self._violations: list[str] = []

    @classmethod
    def going_on(cls, evolution: Evolution, *, policy: str) -> _Plan:
        """Start from an evolution that is to be extended."""
        plan = cls(evolution.schema, policy=policy, names=evolution.names, identifier_case="keep")
        plan._mapping = dict(evolution.mapping)
        plan._overflow = dict(evolution.overflow)
        plan._add = [one.name for one in evolution.add]
        plan._promote = dict(evolution.promote)
        plan._announcements = list(evolution.announcements)
        plan._violations = list(evolution.violations)
        return plan

    def evolution(self) -> Evolution:
        return Evolution(
            mapping=self._mapping,
            schema=pa.schema(list(self._fields.values())),
            names={"columns": self._columns, "variants": self._variants},
            add=[self._fields[name] for name in self._add],
            promote=self._promote,
            overflow=self._overflow,
            announcements=self._announcements,
            violations=self._violations,
        )

    # --- names ---

    def names_for(self, incoming: pa.Schema) -> dict[str, str]:
        """Choose the column of each incoming one: as remembered, else of the same name, else a free name."""
        for exact in (True, False):
            for one in incoming.names:
                # No engine takes a column without a name.
                wanted = snake_case(one) if self._case == "snake" else one or plain_identifier(one)
                if one not in self._columns and (not exact or wanted in self._fields):
                    self._columns[one] = self._free(wanted, self._columns.values())
        return {one: self._columns[one] for one in incoming.names}

    def _free(self, wanted: str, claimed: Iterable[str]) -> str:
        """Return the table's own spelling of a name, or a name that meets none that is claimed."""
        taken = {name.casefold() for name in (*claimed, *self._variants)}
        candidate, number = wanted, 1
        while candidate.casefold() in taken:
            number += 1
            candidate = f"{wanted}_{number}"
        own = {name.casefold(): name for name in self._fields}
        return own.get(candidate.casefold(), candidate)

    # --- places ---

    def place(self, one: pa.Field, target: str) -> None:
        """Find the column that takes the values of `one`."""
        present = self._fields.get(target)
        if present is None:
            self._new(one, target, why=f"column '{target}' ({_word(one)}) is new")
            self._mapping[one.name] = target
            return
        for name in (target, *self._variants_of(target)):
            if self._takes(self._fields[name], one):
                self._mapping[one.name] = name
                return
        if not one.nullable and _widened(present, one) is None:
            self._violations.append(
                f"key '{target}' is {_word(present)} in the table and {_word(one)} in the stream: a key keeps its "
                "type. Load into another table, or give the old type back"
            )
            self._mapping[one.name] = target
            return
        for name in (target, *self._variants_of(target)):
            if (wider := _widened(self._fields[name], one)) is not None:
                self._change(name, wider)
                self._mapping[one.name] = name
                return
        self._mapping[one.name] = self._new_variant(one, target)

    def _takes(self, present: pa.Field, one: pa.Field) -> bool:
        """Say whether a column takes all values as it is; a change of form is a difference too."""
        if fits(present, one):
            return True
        if not _takes_text(present, one) and not _is_double_of_integers(present, one):
            return False
        self._differ(
            f"column '{present.name}' is {_word(present)} in the table and {_word(one)} in the stream: it takes "
            + ("them as text" if _takes_text(present, one) else "integers while they are exact")
        )
        return True

    def set_overflow(self, one: pa.Field, target: str) -> None:
        """Give the integers that the double column `target` cannot hold a column of their own."""
        for name in self._variants_of(target):
            if fits(self._fields[name], one):
                self._overflow[one.name] = name
                return
        self._overflow[one.name] = self._new_variant(one, target)

    def _variants_of(self, base: str) -> list[str]:
        own = [name for name, of in self._variants.items() if of == base and name in self._fields]
        # A table whose properties were lost still shows its variants by their names.
        claimed = {*self._columns.values(), *self._variants}
        return own + [
            name
            for name, present in self._fields.items()
            if name not in claimed and name.startswith(f"{base}__{variant_suffix(present.type)}")
        ]

    def _new_variant(self, one: pa.Field, base: str) -> str:
        present = self._fields[base]
        variant = one.with_type(_variant_type(present.type, one.type)).with_nullable(True)
        name = self._unused(f"{base}__{variant_suffix(variant.type)}")
        self._variants[name] = base
        self._new(
            variant,
            name,
            why=f"column '{base}' is {_word(present)} in the table and {_word(one)} in the stream: its values "
            f"go to '{name}'",
        )
        return name

    def _unused(self, wanted: str) -> str:
        taken = {name.casefold() for name in (*self._fields, *self._columns.values(), *self._variants)}
        candidate, number = wanted, 1
        while candidate.casefold() in taken:
            number += 1
            candidate = f"{wanted}_{number}"
        return candidate

    def _new(self, one: pa.Field, name: str, *, why: str) -> None:
        # A column cannot be required of rows that are already there.
        nullable = one.nullable or not self._is_new
        self._fields[name] = one.with_name(name).with_nullable(nullable)
        self._add.append(name)
        if not self._is_new:
            self._differ(why)

    def _change(self, name: str, wider: pa.Field) -> None:
        self._differ(f"column '{name}' becomes {_word(wider)}, it was {_word(self._fields[name])}")
        self._fields[name] = wider
        if name not in self._add:
            self._promote[name] = wider.type

    def _differ(self, what: str) -> None:
        (self._violations if self._frozen else self._announcements).append(what)


# --- types ----------------------------------------------------------------------------------------------


def fits(present: pa.Field, one: pa.Field) -> bool:
    """Say whether the column takes every value of the other's type, unchanged in form."""
    wider = _widened(present, one)
    return wider is not None and bool(wider.equals(present, check_metadata=False))


def _widened(present: pa.Field, one: pa.Field) -> pa.Field | None:
    """Return the table's column as it must be to take the other's values too; None when it cannot."""
    old, new = present.type, one.type
    if "json" in {kind_of(present), kind_of(one)} and kind_of(present) != kind_of(one):
        return None
    if pa.types.is_struct(old) and pa.types.is_struct(new):
        kind = _widened_struct(old, new)
    elif pa.types.is_list(old) and pa.types.is_list(new):
        element = _widened(old.value_field, new.value_field)
        kind = None if element is None else pa.list_(element)
    elif pa.types.is_map(old) and pa.types.is_map(new) and old.key_type == new.key_type:
        item = _widened(old.item_field, new.item_field)
        kind = None if item is None else pa.map_(old.key_field, item)
    elif pa.types.is_decimal(old) and pa.types.is_decimal(new):
        kind = _widened_decimal(old, new)
    else:
        kind = promotion(old, new)
    return None if kind is None else present.with_type(kind)


def _widened_struct(old: pa.StructType, new: pa.StructType) -> pa.StructType | None:
    members = {child.name: child for child in old}
    for child in new:
        if child.name not in members:
            members[child.name] = child
            continue
        wider = _widened(members[child.name], child)
        if wider is None:
            return None
        members[child.name] = wider
    return pa.struct(list(members.values()))


def _widened_decimal(old: pa.DataType, new: pa.DataType) -> pa.DataType | None:
    """A decimal keeps its scale; digits before the point may be added up to 38 in all."""
    if new.scale > old.scale:
        return None
    precision = max(old.precision, new.precision - new.scale + old.scale)
    return pa.decimal128(precision, old.scale) if precision <= MAX_PRECISION else None


def _takes_text(present: pa.Field, one: pa.Field) -> bool:
    """A string column takes the text of any scalar; a column of JSON text takes its JSON."""
    if not pa.types.is_string(present.type) or pa.types.is_nested(one.type):
        return False
    return kind_of(present) == "json" or kind_of(one) != "json"


def _is_double_of_integers(present: pa.Field, one: pa.Field) -> bool:
    return bool(pa.types.is_float64(present.type) and pa.types.is_integer(one.type))


def _variant_type(base: pa.DataType, new: pa.DataType) -> pa.DataType:
    """Decimal variants have 38 digits and the wider scale, so that few more are ever needed."""
    if not pa.types.is_decimal(new):
        return new
    scale = max(new.scale, base.scale) if pa.types.is_decimal(base) else new.scale
    if MAX_PRECISION - scale < new.precision - new.scale:
        scale = new.scale
    return pa.decimal128(MAX_PRECISION, scale)


def _word(one: pa.Field) -> str:
    """Name a type in Iceberg's words."""
    kind = one.type
    if kind_of(one) == "json":
        return "JSON text"
    if pa.types.is_nested(kind):
        return str(kind)
    return f"decimal({kind.precision},{kind.scale})" if pa.types.is_decimal(kind) else variant_suffix(kind)
