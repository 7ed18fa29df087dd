"""Incoming columns against the table's: what is added, promoted, put aside in a variant column, or refused.

`plan_evolution` compares schemas and changes nothing. `evolve` finds a place for every column: the
table's column when its type takes the values exactly, else the column promoted as Iceberg allows, else a
variant column named after its type (`amount__long`). `freeze` lists every difference as a violation.
`discard` changes nothing: columns without a place are left out, values that do not fit become null, and
both are counted. The values themselves are cast by `conform`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from icetap.records.names import plain_identifier, snake_case
from icetap.types import kind_of, promotion, variant_suffix
from target_iceberg.contracts.column_rules import ColumnRules
from target_iceberg.contracts.conform import conform_columns, inexact_in_double
from target_iceberg.contracts.lenient import Losses

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

MAX_PRECISION = 38
EVOLVE = ColumnRules()


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
    discarded: frozenset[str] = frozenset()
    """Incoming columns that are left out."""
    nulling: frozenset[str] = frozenset()
    """Incoming columns of another type than the table's: their values that do not fit become null."""
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
    rules: ColumnRules = EVOLVE,
    names: Mapping[str, Any] | None = None,
    identifier_case: str = "keep",
) -> Evolution:
    """Compare a stream's columns with its table's.

    Args:
        table: The table's columns with `icetap.kind` metadata; none for a table to be created.
        incoming: The stream's columns; those that are not nullable are keys.
        rules: What a difference does, column by column.
        names: `Evolution.names` as remembered in the table's properties, None at first.
        identifier_case: `keep` or `snake`: how the table's columns are named.
    """
    plan = _Plan(table, rules=rules, names=names or {}, identifier_case=identifier_case)
    targets = plan.names_for(incoming)
    for one in incoming:
        plan.place(one, targets[one.name])
    return plan.evolution()


def with_overflow(evolution: Evolution, batch: pa.RecordBatch, *, rules: ColumnRules = EVOLVE) -> Evolution:
    """Return the evolution with a place for integers of this batch that a double column cannot hold.

    It is the same object when every value fits, so the check may be made for every batch.
    """
    missing = [
        name
        for name, target in evolution.mapping.items()
        if name not in evolution.overflow
        and name not in evolution.nulling
        and name in batch.schema.names
        and pa.types.is_integer(batch.schema.field(name).type)
        and pa.types.is_floating(evolution.schema.field(target).type)
        and inexact_in_double(batch.column(name)).true_count
    ]
    if not missing:
        return evolution
    plan = _Plan.going_on(evolution, rules=rules)
    for name in missing:
        plan.set_overflow(batch.schema.field(name), evolution.mapping[name])
    return plan.evolution()


def conform(batch: pa.RecordBatch, evolution: Evolution, *, losses: Losses | None = None) -> pa.RecordBatch:
    """Return the rows with the table's columns, in the table's order; columns the batch lacks are null.

    What `discard` leaves out is added to `losses`.

    Raises:
        pa.ArrowInvalid: When a value does not fit exactly, which `with_overflow` would have shown.
        ValueError: When the evolution was planned without one of the batch's columns.
    """
    losses = losses or Losses()
    for name in evolution.discarded.intersection(batch.schema.names):
        losses.discard(name, batch.column(name))
    return conform_columns(
        batch.select([name for name in batch.schema.names if name not in evolution.discarded]),
        evolution.schema,
        mapping=evolution.mapping,
        overflow=evolution.overflow,
        nulling=evolution.nulling,
        losses=losses,
    )


class _Plan:
    """Collects the evolution, column by column."""

    def __init__(
        self, table: pa.Schema, *, rules: ColumnRules, names: Mapping[str, Any], identifier_case: str
    ) -> None:
        self._is_new = not len(table)
        self._fields: dict[str, pa.Field] = {one.name: one for one in table}
        self._rules = rules
        self._case = identifier_case
        self._columns: dict[str, str] = dict(names.get("columns", {}))
        self._variants: dict[str, str] = dict(names.get("variants", {}))
        self._mapping: dict[str, str] = {}
        self._overflow: dict[str, str] = {}
        self._add: list[str] = []
        self._promote: dict[str, pa.DataType] = {}
        self._discarded: set[str] = set()
        self._nulling: set[str] = set()
        self._announcements: list[str] = []
        self._violations: list[str] = []

    @classmethod
    def going_on(cls, evolution: Evolution, *, rules: ColumnRules) -> _Plan:
        """Start from an evolution that is to be extended."""
        plan = cls(evolution.schema, rules=rules, names=evolution.names, identifier_case="keep")
        plan._mapping = dict(evolution.mapping)
        plan._overflow = dict(evolution.overflow)
        plan._add = [one.name for one in evolution.add]
        plan._promote = dict(evolution.promote)
        plan._discarded = set(evolution.discarded)
        plan._nulling = set(evolution.nulling)
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
            discarded=frozenset(self._discarded),
            nulling=frozenset(self._nulling),
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
            if self._has_no_place(one):
                self._leave_out(one)
                return
            self._new(one, target, source=one.name, why=f"column '{target}' ({_word(one)}) is new")
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
        if self._rules.policy_of(one.name) == "discard" and one.nullable:
            self._mapping[one.name] = target
            self._null_what_does_not_fit(one, target)
            return
        for name in (target, *self._variants_of(target)):
            if (wider := _widened(self._fields[name], one)) is not None:
                self._change(name, wider, source=one.name)
                self._mapping[one.name] = name
                return
        self._mapping[one.name] = self._new_variant(one, target)

    def _has_no_place(self, one: pa.Field) -> bool:
        """Whether a column that the table does not have is left out; keys never are."""
        if not one.nullable:
            return False
        discards = self._rules.policy_of(one.name) == "discard"
        return self._rules.leaves_out(one.name) or (discards and not self._is_new)

    def _leave_out(self, one: pa.Field) -> None:
        self._discarded.add(one.name)
        self._columns.pop(one.name, None)
        # What the owner leaves out by name is no news, only counted.
        if not self._is_new and not self._rules.leaves_out(one.name):
            self._announcements.append(
                f"column '{one.name}' ({_word(one)}) is not in the table: it is left out (schema_policy: discard)"
            )

    def _null_what_does_not_fit(self, one: pa.Field, target: str) -> None:
        self._nulling.add(one.name)
        self._announcements.append(
            f"column '{target}' is {_word(self._fields[target])} in the table and {_word(one)} in the stream: "
            "what does not fit is left out (schema_policy: discard)"
        )

    def _takes(self, present: pa.Field, one: pa.Field) -> bool:
        """Say whether a column takes all values as it is; a change of form is a difference too."""
        if fits(present, one):
            return True
        if not _takes_text(present, one) and not _is_double_of_integers(present, one):
            return False
        self._differ(
            f"column '{present.name}' is {_word(present)} in the table and {_word(one)} in the stream: it takes "
            + ("them as text" if _takes_text(present, one) else "integers while they are exact"),
            source=one.name,
        )
        return True

    def set_overflow(self, one: pa.Field, target: str) -> None:
        """Give the integers that the double column `target` cannot hold a column of their own."""
        for name in self._variants_of(target):
            if fits(self._fields[name], one):
                self._overflow[one.name] = name
                return
        if self._rules.policy_of(one.name) == "discard":
            self._null_what_does_not_fit(one, target)
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
            source=one.name,
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

    def _new(self, one: pa.Field, name: str, *, source: str, why: str) -> None:
        # A column cannot be required of rows that are already there.
        nullable = one.nullable or not self._is_new
        self._fields[name] = one.with_name(name).with_nullable(nullable)
        self._add.append(name)
        if not self._is_new:
            self._differ(why, source=source)

    def _change(self, name: str, wider: pa.Field, *, source: str) -> None:
        self._differ(
            f"column '{name}' becomes {_word(wider)}, it was {_word(self._fields[name])}", source=source
        )
        self._fields[name] = wider
        if name not in self._add:
            self._promote[name] = wider.type

    def _differ(self, what: str, *, source: str) -> None:
        is_frozen = not self._is_new and self._rules.policy_of(source) == "freeze"
        (self._violations if is_frozen else self._announcements).append(what)


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
