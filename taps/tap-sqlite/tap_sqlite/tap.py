"""tap-sqlite: SQLite database files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from typing_extensions import override

from icetap.errors import ConfigurationError
from icetap.sql.options import STREAM_SETTINGS, without_log
from icetap.sql.tap import SQLTap
from icetap.tap import BATCH_CONFIG_SETTING, ON_REJECTED_SETTING
from tap_sqlite.catalogue import ROWID, with_rowid
from tap_sqlite.connection import DatabaseFile
from tap_sqlite.dialect import SQLiteDialect

if TYPE_CHECKING:
    from collections.abc import Mapping

    from icetap.sql.dialect import Table


class TapSQLite(SQLTap):
    """Reads tables, views and queries of SQLite database files."""

    name = "tap-sqlite"
    package_name = "icetap-tap-sqlite"
    goes_on_without_streams: ClassVar[bool] = False
    setting_aliases: ClassVar[dict[str, str]] = {"path": "database"}
    refusal_advice = (
        "SQLite stores any value in any column. Set 'type_scan: true' and discover again, so that the column "
        "gets a type that holds them all; or leave such records out, counted, with 'on_rejected: skip'."
    )

    config_jsonschema: ClassVar[dict] = {  # type: ignore[type-arg]
        "type": "object",
        "properties": {
            "database": {
                "type": "string",
                "minLength": 1,
                "title": "Database file",
                "description": "The file, which must exist; it is opened for reading only.",
                "examples": ["/data/shop.db"],
            },
            "path": {
                "type": "string",
                "minLength": 1,
                "title": "Database file (alias)",
                "description": "Another name for `database`.",
            },
            "attach": {
                "type": ["object", "null"],
                "additionalProperties": {"type": "string"},
                "title": "Attached files",
                "description": "More database files by alias; their streams are called `alias-table`.",
                "examples": [{"archive": "/data/archive.db"}],
            },
            "immutable": {
                "type": "boolean",
                "default": False,
                "title": "Immutable",
                "description": "For files on read-only media that nobody writes: no locks, and what is only in "
                "the write-ahead log is not seen.",
            },
            "busy_timeout_ms": {
                "type": "integer",
                "minimum": 0,
                "maximum": 3_600_000,
                "default": 30_000,
                "title": "Busy timeout",
                "description": "How long to wait for a writer's lock, in milliseconds.",
            },
            "type_scan": {
                "type": "boolean",
                "default": False,
                "title": "Look at stored types",
                "description": "Discovery reads all values once and chooses types that hold them; otherwise the "
                "declared types count.",
            },
            "number_as": {
                "type": "string",
                "enum": ["double", "decimal"],
                "default": "double",
                "title": "Declared decimals",
                "description": "What DECIMAL(p,s) becomes: `double`, which is what SQLite stores, or `decimal`, "
                "which refuses values with more digits than declared.",
            },
            "on_rejected": ON_REJECTED_SETTING,
            **without_log(STREAM_SETTINGS),
            "batch_config": BATCH_CONFIG_SETTING,
        },
    }

    @override
    def check_config(self) -> None:
        if not self.config.get("database"):
            raise ConfigurationError("setting 'database' is missing: the path of the SQLite file")
        for alias in self.config.get("attach") or {}:
            if alias.lower() in {"main", "temp"}:
                raise ConfigurationError(
                    f"setting 'attach': the alias '{alias}' is SQLite's own; choose another"
                )

    @override
    def make_dialect(self) -> SQLiteDialect:
        return SQLiteDialect(
            DatabaseFile.from_config(self.config),
            number_as=self.config["number_as"],
            type_scan=self.config["type_scan"],
        )

    @override
    def with_options(self, table: Table, options: Mapping[str, Any]) -> Table:
        return with_rowid(table) if ROWID in (options.get("key_properties") or ()) else table
