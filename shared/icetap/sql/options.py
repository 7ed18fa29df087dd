"""Options of streams: `streams: {"<name or glob>": {…}}` and `queries: […]`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from icetap import stream_options
from icetap.errors import ConfigurationError
from icetap.settings import did_you_mean
from icetap.sql.queries import BOOKMARK_NAMES, is_one_condition, parameters_in, without_semicolon

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

NULL_CURSORS = ("first_run", "always", "never")

_STREAM_OPTIONS: dict[str, dict[str, Any]] = {
    "where": {
        "type": "string",
        "title": "Row filter",
        "description": "An SQL condition; only rows for which it is true are read.",
    },
    "key_properties": {
        "type": "array",
        "items": {"type": "string"},
        "title": "Key",
        "description": "The columns that identify a row, instead of the primary key.",
    },
    "rename": {
        "type": "object",
        "additionalProperties": {"type": "string", "minLength": 1},
        "title": "Column names",
        "description": "New names of columns: {from: to}.",
    },
    "stream_name": {
        "type": "string",
        "minLength": 1,
        "title": "Stream name",
        "description": "The stream's name, instead of the table's.",
    },
    "replication_method": {
        "type": "string",
        "enum": ["FULL_TABLE", "INCREMENTAL", "LOG_BASED"],
        "title": "Replication method",
        "description": "FULL_TABLE reads everything each time, INCREMENTAL what came since, LOG_BASED every change "
        "from the database's log.",
    },
    "replication_key": {
        "type": "string",
        "title": "Replication key",
        "description": "The column that grows with each change.",
    },
    "null_cursor": {
        "type": "string",
        "enum": list(NULL_CURSORS),
        "title": "Rows without a cursor",
        "description": "When rows whose replication key is NULL are read: `first_run` (default), `always`, `never`.",
    },
    "lookback_seconds": {
        "type": "integer",
        "minimum": 0,
        "title": "Lookback",
        "description": "How far before the bookmark a run reads again, in seconds; in units for numbers. "
        "300 for timestamps of streams with a key, else 0.",
    },
}

STREAM_SETTINGS: dict[str, dict[str, Any]] = {
    "streams": {
        "type": ["object", "null"],
        "additionalProperties": {"type": "object", "properties": _STREAM_OPTIONS},
        "title": "Options of streams",
        "description": "By the table's name or a glob. A name beats a glob, a later glob beats an earlier "
        "one, Meltano's metadata beats both.",
        "examples": [{"orders": {"where": "total > 0"}, "log_*": {"replication_method": "FULL_TABLE"}}],
    },
    "queries": {
        "type": ["array", "null"],
        "items": {
            "type": "object",
            "required": ["name", "sql"],
            "properties": {
                "name": {
                    "type": "string",
                    "minLength": 1,
                    "title": "Stream name",
                    "description": "The stream's name.",
                },
                "sql": {
                    "type": "string",
                    "minLength": 1,
                    "title": "SQL",
                    "description": "One SELECT. `:bookmark` (or `:last_pull`) stands for the replication "
                    "key's last value.",
                },
                "key_properties": _STREAM_OPTIONS["key_properties"],
                "replication_key": _STREAM_OPTIONS["replication_key"],
                "initial_value": {
                    "type": ["string", "integer", "number"],
                    "title": "Initial value",
                    "description": "What `:bookmark` is in the first run.",
                },
            },
        },
        "title": "Own queries",
        "description": "Queries that become streams.",
        "examples": [
            [
                {
                    "name": "new_orders",
                    "sql": "SELECT id, total, created FROM orders WHERE created >= :bookmark",
                    "key_properties": ["id"],
                    "replication_key": "created",
                    "initial_value": "2026-01-01 00:00:00",
                }
            ]
        ],
    },
    "null_cursor": {**_STREAM_OPTIONS["null_cursor"], "default": "first_run"},
    "lookback_seconds": {**_STREAM_OPTIONS["lookback_seconds"], "type": ["integer", "null"]},
    "batch_size": {
        "type": "integer",
        "minimum": 1,
        "maximum": 1_000_000,
        "default": 65_536,
        "title": "Batch size",
        "description": "Rows in a block; fewer where rows are wide, so that memory stays flat.",
    },
}
"""The settings that every SQL tap has."""


def without_log(settings: Mapping[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return the settings for a database that has no change log."""
    method = {
        **_STREAM_OPTIONS["replication_method"],
        "enum": ["FULL_TABLE", "INCREMENTAL"],
        "description": "FULL_TABLE reads everything each time, INCREMENTAL what came since.",
    }
    each = {"type": "object", "properties": {**_STREAM_OPTIONS, "replication_method": method}}
    return {**settings, "streams": {**settings["streams"], "additionalProperties": each}}


@dataclass(frozen=True, slots=True)
class QueryOptions:
    """One entry of `queries`."""

    name: str
    sql: str
    key_properties: tuple[str, ...]
    replication_key: str | None
    initial_value: str | int | float | None

    @property
    def asks_for_bookmark(self) -> bool:
        """Whether the SQL itself compares with the bookmark."""
        return bool(parameters_in(self.sql) & BOOKMARK_NAMES)

    @property
    def options(self) -> dict[str, Any]:
        """What the entry says of the stream, as the options of any stream."""
        given = {"key_properties": self.key_properties, "replication_key": self.replication_key}
        return {name: value for name, value in given.items() if value}


def queries_from_config(config: Mapping[str, Any]) -> list[QueryOptions]:
    """Return the setting `queries`, checked.

    Raises:
        ConfigurationError: For unknown options or parameters, and for a bookmark without a start.
    """
    known = STREAM_SETTINGS["queries"]["items"]["properties"]
    queries = []
    for number, entry in enumerate(config.get("queries") or []):
        where = f"setting 'queries', entry {number + 1}"
        _refuse_unknown(entry, known, where=where)
        query = QueryOptions(
            name=entry["name"],
            sql=without_semicolon(entry["sql"]),
            key_properties=tuple(entry.get("key_properties") or ()),
            replication_key=entry.get("replication_key"),
            initial_value=entry.get("initial_value"),
        )
        if unknown := sorted(parameters_in(query.sql) - BOOKMARK_NAMES):
            raise ConfigurationError(
                f"{where} ('{query.name}') has the parameter ':{unknown[0]}'; "
                "only ':bookmark' and its alias ':last_pull' exist"
            )
        if query.asks_for_bookmark and query.replication_key is None:
            raise ConfigurationError(
                f"{where} ('{query.name}') uses ':bookmark' but names no 'replication_key' to take it from"
            )
        if query.asks_for_bookmark and query.initial_value is None:
            raise ConfigurationError(
                f"{where} ('{query.name}') uses ':bookmark' but has no 'initial_value' for the first run: give "
                "what it stands for then, such as '1970-01-01T00:00:00Z' or 0"
            )
        queries.append(query)
    return queries


class StreamOptions(stream_options.StreamOptions):
    """The options of tables and queries."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__(config, known=_STREAM_OPTIONS)
        for pattern, options in self.entries.items():
            if not is_one_condition(options.get("where") or ""):
                raise ConfigurationError(
                    f"setting 'streams', entry '{pattern}': the parentheses of 'where' do not match; expected one condition"
                )


def renamed(names: Sequence[str], rename: Mapping[str, str], *, stream: str) -> dict[str, str]:
    """Return the new name of each column.

    Raises:
        ConfigurationError: When a column of `rename` does not exist or two columns meet.
    """
    for old in rename:
        if old not in names:
            raise ConfigurationError(
                f"option 'rename' of stream '{stream}' names the column '{old}', "
                f"which does not exist{did_you_mean(old, names)}"
            )
    new_names = {name: rename.get(name, name) for name in names}
    seen: dict[str, str] = {}
    for old, new in new_names.items():
        other = seen.get(new.casefold())
        if other is not None and (old in rename or other in rename):
            moved, stays = (old, other) if old in rename else (other, old)
            raise ConfigurationError(
                f"option 'rename' of stream '{stream}' gives '{moved}' the name '{new}', "
                f"which '{stays}' has already"
            )
        seen[new.casefold()] = old
    return new_names


def _refuse_unknown(options: Mapping[str, Any], known: Mapping[str, Any], *, where: str) -> None:
    unknown = sorted(set(options) - set(known))
    if unknown:
        name = unknown[0]
        raise ConfigurationError(f"{where} has no option '{name}'{did_you_mean(name, known)}")
