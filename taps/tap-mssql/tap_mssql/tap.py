"""tap-mssql: Microsoft SQL Server, Azure SQL Database and Managed Instance."""

from __future__ import annotations

from typing import ClassVar

from typing_extensions import override

from icetap.errors import ConfigurationError
from icetap.sql.change_log import CHANGE_LOG_SETTINGS
from icetap.sql.options import STREAM_SETTINGS
from icetap.sql.server import ADDRESS_ALIASES, server_settings
from icetap.sql.tap import SQLTap
from icetap.tap import BATCH_CONFIG_SETTING, ON_REJECTED_SETTING
from tap_mssql.address import DEFAULT_PORT, Address
from tap_mssql.dialect import MSSQLDialect
from tap_mssql.settings import OTHER_NAMES, OTHER_NAMES_SETTINGS, OWN_SETTINGS, SETTINGS_ELSEWHERE


class TapMSSQL(SQLTap):
    """Reads tables, views and queries of a SQL Server database."""

    name = "tap-mssql"
    package_name = "icetap-tap-mssql"
    setting_aliases: ClassVar[dict[str, str]] = {**ADDRESS_ALIASES, **OTHER_NAMES}
    settings_elsewhere: ClassVar[dict[str, str]] = SETTINGS_ELSEWHERE

    config_jsonschema: ClassVar[dict] = {  # type: ignore[type-arg]
        "type": "object",
        "properties": {
            **server_settings(scheme="mssql", default_port=DEFAULT_PORT),
            **OWN_SETTINGS,
            **OTHER_NAMES_SETTINGS,
            "on_rejected": ON_REJECTED_SETTING,
            **STREAM_SETTINGS,
            **CHANGE_LOG_SETTINGS,
            "batch_config": BATCH_CONFIG_SETTING,
        },
    }

    @override
    def check_config(self) -> None:
        if self.config.get("odbc_driver") and self.config["driver"] != "pyodbc":
            raise ConfigurationError(
                "setting 'odbc_driver' is given, but 'driver' is mssql-python, which has its own. Set 'driver: pyodbc'"
            )
        Address.from_config(self.config)

    @override
    def make_dialect(self) -> MSSQLDialect:
        return MSSQLDialect(Address.from_config(self.config), self.config)
