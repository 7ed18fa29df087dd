"""Another name for a column: the tap's column goes on into it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from pyiceberg.table.snapshots import Operation
from typing_extensions import override

from icetap.errors import ConfigurationError
from icetap.settings import did_you_mean
from icetap.types import schema_from_iceberg
from target_iceberg.contracts.metadata import VALIDITY
from target_iceberg.positions.boundary import NAMES
from target_iceberg.tables.commit import Change, SchemaStage, commit_change, new_run_id
from target_iceberg.tables.loaded_table import KEYS
from target_iceberg.tables.retrying import until_settled

if TYPE_CHECKING:
    from pyiceberg.table import Table

_OWN_PREFIX = "_sdc_"


class RenameStage(SchemaStage):
    """Columns of which one has another name; its field id, and so its values, stay."""

    @override
    def __init__(self, table: Table, old: str, new: str) -> None:
        super().__init__(table)
        with self._transaction.update_schema() as update:
            update.rename_column(old, new)
        self.schema = self._transaction.table_metadata.schema()
        self.columns = schema_from_iceberg(self.schema)


def rename_column(table: Table, old: str, new: str) -> str:
    """Rename a column in one commit, with what the table remembers of names; `table` is fresh afterwards.

    Args:
        table: The table.
        old: The column, by its name in the table or in the source.
        new: Its new name in the table.

    Returns:
        The name that the column had in the table.

    Raises:
        ConfigurationError: When there is no such column, the name is taken, or the column is the loader's own.
        StateError: When other writers commit each time.
    """
    return until_settled(table, lambda: _rename(table, old, new))


def _rename(table: Table, old: str, new: str) -> str:
    names: dict[str, Any] = json.loads(table.properties.get(NAMES, "{}"))
    column = _column(table, old, names.get("columns", {}))
    _check_new_name(table, column, new, names=names)
    keys = [new if key == column else key for key in table.properties.get(KEYS, "").split(",")]
    properties = {NAMES: json.dumps(_renamed(names, column, new))}
    if KEYS in table.properties:
        properties[KEYS] = ",".join(keys)
    head = table.metadata.current_snapshot_id
    change = Change(
        parent=head,
        # It changes no row and is a snapshot all the same: a load that has read this head must not commit on it.
        operation=Operation.REPLACE,
        has_snapshot=head is not None,
        summary={"icetap.run-id": new_run_id()},
        properties=lambda _snapshot_id, _number: properties,
    )
    commit_change(table, change, stage=RenameStage(table, column, new))
    return column


def _column(table: Table, name: str, columns: dict[str, str]) -> str:
    present = [one.name for one in table.schema().fields]
    column = name if name in present else columns.get(name, name)
    where = ".".join(table.name())
    if column not in present:
        raise ConfigurationError(f"table {where} has no column '{name}'{did_you_mean(name, present) or '.'}")
    if column.startswith(_OWN_PREFIX) or column in VALIDITY.names:
        raise ConfigurationError(
            f"column '{column}' of table {where} is the loader's own, which finds it by its name"
        )
    return column


def _check_new_name(table: Table, column: str, new: str, *, names: dict[str, Any]) -> None:
    """Refuse a name that means another column, to an engine that folds case too."""
    if not new.strip() or new == column:
        raise ConfigurationError(f"'{new}' is no new name for column '{column}'")
    if new.startswith(_OWN_PREFIX) or new in VALIDITY.names:
        raise ConfigurationError(f"'{new}' is a name of the loader's own columns; choose another")
    others = {one.name for one in table.schema().fields} - {column}
    claimed = set(names.get("columns", {}).values()) | set(names.get("variants", {}))
    for other in sorted(others | (claimed - {column})):
        if other.casefold() == new.casefold():
            gone = "" if other in others else ", which the source had once"
            raise ConfigurationError(
                f"table {'.'.join(table.name())} has the column '{other}' already{gone}: '{column}' cannot be "
                f"called '{new}'. Choose another name."
            )


def _renamed(names: dict[str, Any], old: str, new: str) -> dict[str, Any]:
    """Return what the table remembers: where the tap's column goes, and what is a variant of what."""
    variants = {
        (new if variant == old else variant): (new if base == old else base)
        for variant, base in names.get("variants", {}).items()
    }
    columns = {own: (new if column == old else column) for own, column in names.get("columns", {}).items()}
    if old not in variants and new not in variants and new not in columns.values():
        columns[old] = new  # a table that remembers nothing: the source calls it so
    return {**names, "columns": columns, "variants": variants}
