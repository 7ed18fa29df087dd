"""tap-mysql: MySQL and MariaDB servers."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, ClassVar

from typing_extensions import override

from icetap.errors import ConfigurationError
from icetap.sql.change_log import CHANGE_LOG_SETTINGS
from icetap.sql.options import STREAM_SETTINGS
from icetap.sql.server import ADDRESS_ALIASES, names_listed, server_settings
from icetap.sql.tap import SQLTap
from icetap.tap import BATCH_CONFIG_SETTING, ON_REJECTED_SETTING
from tap_mysql.dialect import MySQLDialect
from tap_mysql.log_based.binary_log import LOG_SETTINGS, LogOptions
from tap_mysql.server import DEFAULT_PORT, Server
from tap_mysql.settings import OWN_SETTINGS, SETTINGS_ELSEWHERE
from tap_mysql.types import TypeOptions
from tap_mysql.zero_dates import ZeroDates

if TYPE_CHECKING:
    from collections.abc import Sequence


class TapMySQL(SQLTap):
    """Reads tables, views and queries of MySQL and MariaDB servers."""

    name = "tap-mysql"
    package_name = "icetap-tap-mysql"
    setting_aliases: ClassVar[dict[str, str]] = ADDRESS_ALIASES
    settings_elsewhere: ClassVar[dict[str, str]] = SETTINGS_ELSEWHERE
    refusal_advice = (
        "Invalid dates follow 'zero_date'. Cast the column in a query or a view, or leave such records out, "
        "counted, with 'on_rejected: skip'."
    )

    config_jsonschema: ClassVar[dict] = {  # type: ignore[type-arg]
        "type": "object",
        "properties": {
            **server_settings(scheme="mysql", default_port=DEFAULT_PORT),
            **OWN_SETTINGS,
            **CHANGE_LOG_SETTINGS,
            **LOG_SETTINGS,
            "on_rejected": ON_REJECTED_SETTING,
            **STREAM_SETTINGS,
            "batch_config": BATCH_CONFIG_SETTING,
        },
    }

    @override
    def check_config(self) -> None:
        if self.config.get("filter_dbs") and self.config.get("filter_schemas"):
            raise ConfigurationError("settings 'filter_schemas' and 'filter_dbs' are one; give one of them")
        _ = self._server

    @functools.cached_property
    def _server(self) -> Server:
        return Server.from_config(self.config)

    @functools.cached_property
    def zeros(self) -> ZeroDates:
        """The policy for zero dates, and the count of them."""
        return ZeroDates(self.config["zero_date"])

    @override
    def make_dialect(self) -> MySQLDialect:
        options = TypeOptions(tinyint1_is_bool=self.config["tinyint1_is_bool"], zeros=self.zeros)
        log = LogOptions.from_config(self.config, where=self._server.where)
        return MySQLDialect(self._server, schemas=self._schemas(), options=options, log=log)

    def _schemas(self) -> Sequence[str]:
        """The databases to read: those that are listed, else the one that is named, else all."""
        listed = names_listed(self.config.get("filter_schemas") or self.config.get("filter_dbs"))
        database = self._server.address.database
        return listed or ([database] if database else [])

    @override
    def run(self) -> None:
        try:
            super().run()
        finally:
            for column, count in self.zeros.counted():
                self.logger.warning(
                    "Column %s: %d zero or invalid dates were sent as %s (zero_date)",
                    column,
                    count,
                    self.zeros.policy,
                )
