"""tap-postgres: PostgreSQL databases."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from typing_extensions import override

from icetap.sql.change_log import CHANGE_LOG_SETTINGS
from icetap.sql.options import STREAM_SETTINGS
from icetap.sql.server import ADDRESS_ALIASES, names_listed, server_settings
from icetap.sql.tap import SQLTap
from icetap.tap import BATCH_CONFIG_SETTING, ON_REJECTED_SETTING
from tap_postgres.dialect import PostgresDialect
from tap_postgres.log_based.settings import LOG_SETTINGS, LogSettings
from tap_postgres.server import DEFAULT_PORT, Server
from tap_postgres.settings import OTHER_NAMES, OTHER_NAMES_SETTINGS, OWN_SETTINGS, SETTINGS_ELSEWHERE
from tap_postgres.types import TypeOptions

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from icetap.sql.dialect import Table
    from icetap.sql.options import StreamOptions


class TapPostgres(SQLTap):
    """Reads tables, views and queries of one PostgreSQL database."""

    name = "tap-postgres"
    package_name = "icetap-tap-postgres"
    setting_aliases: ClassVar[dict[str, str]] = {**ADDRESS_ALIASES, **OTHER_NAMES}
    settings_elsewhere: ClassVar[dict[str, str]] = SETTINGS_ELSEWHERE
    refusal_advice = (
        "For dates and times see 'temporal_overflow', for numbers 'number_as', for arrays 'array_as'; cast the column "
        "in a query; or leave such records out, counted, with 'on_rejected: skip'."
    )

    config_jsonschema: ClassVar[dict] = {  # type: ignore[type-arg]
        "type": "object",
        "properties": {
            **server_settings(scheme="postgresql", default_port=DEFAULT_PORT),
            **OWN_SETTINGS,
            **LOG_SETTINGS,
            **CHANGE_LOG_SETTINGS,
            **OTHER_NAMES_SETTINGS,
            "on_rejected": ON_REJECTED_SETTING,
            **STREAM_SETTINGS,
            "batch_config": BATCH_CONFIG_SETTING,
        },
    }

    @override
    def make_dialect(self) -> PostgresDialect:
        return PostgresDialect(
            Server.from_config(self.config),
            types=TypeOptions(
                number_as=self.config["number_as"],
                temporal_overflow=self.config["temporal_overflow"],
                array_as=self.config["array_as"],
            ),
            schemas=names_listed(self.config.get("filter_schemas")),
            include_partitions=self.config["include_partitions"],
            log=LogSettings.from_config(self.config),
        )

    @override
    def _run(self) -> None:
        try:
            super()._run()
        finally:
            self.report_overflows()

    def report_overflows(self) -> None:
        """Say how many values `temporal_overflow` changed."""
        dialect = self.dialect
        if isinstance(dialect, PostgresDialect):
            became = {"null": "null", "clamp": "the nearest that there is"}.get(
                dialect.types.temporal_overflow
            )
            for column, count in sorted(dialect.types.overflows.items()):
                self.logger.warning(
                    "Column %s: %d dates and times out of range became %s (temporal_overflow)",
                    column,
                    count,
                    became,
                )

    @override
    def _readable(self, tables: Sequence[Table], options: StreamOptions) -> Iterator[Table]:
        dialect = self.dialect
        for table in super()._readable(tables, options):
            if isinstance(dialect, PostgresDialect) and self._is_wanted(table.stream, options):
                relation = dialect.relation(table)
                if relation is not None and relation.is_filtered:
                    self.logger.warning(
                        "Stream %s has row-level security: rows that its policies hide from this user are not read",
                        table.stream,
                    )
            yield table
