"""tap-mssql: Microsoft SQL Server, Azure SQL Database and Managed Instance."""

from __future__ import annotations

from typing import Any, ClassVar

from typing_extensions import override

from icetap.errors import ConfigurationError
from icetap.sql.change_log import CHANGE_LOG_SETTINGS
from icetap.sql.options import STREAM_SETTINGS
from icetap.sql.server import ADDRESS_ALIASES, server_settings
from icetap.sql.tap import SQLTap
from icetap.tap import BATCH_CONFIG_SETTING, ON_REJECTED_SETTING
from tap_mssql.address import AUTH_METHODS, DEFAULT_PORT, ENCRYPT, Address
from tap_mssql.connection import ISOLATION_LEVELS
from tap_mssql.dialect import MSSQLDialect

_SIGN_IN: dict[str, dict[str, Any]] = {
    "instance": {
        "type": ["string", "null"],
        "title": "Instance",
        "description": "A named instance, instead of a port; its port is asked for by UDP 1434. `host` may be "
        "`server\\instance` as well.",
        "examples": ["SQLEXPRESS"],
    },
    "auth_method": {
        "type": "string",
        "enum": list(AUTH_METHODS),
        "default": "password",
        "title": "How to sign in",
        "description": "`password`: a login of the server. `kerberos`: the ticket of this process. `access_token`: the "
        "password (better `password_command`) is a token of Microsoft Entra ID. `active_directory_…`: the driver gets "
        "the token itself.",
    },
    "encrypt": {
        "type": "string",
        "enum": list(ENCRYPT),
        "default": "mandatory",
        "title": "Encryption",
        "description": "`mandatory` (or yes): TLS, and the server's certificate is checked. `optional` (or no): only "
        "if the server insists. `strict`: TDS 8, SQL Server 2022 and later.",
    },
    "trust_server_certificate": {
        "type": "boolean",
        "default": False,
        "title": "Trust any certificate",
        "description": "Encrypts without checking who answers, for servers with a self-signed certificate in a "
        "network that you trust.",
    },
    "hostname_in_certificate": {
        "type": ["string", "null"],
        "title": "Name in the certificate",
        "description": "The name to expect in the server's certificate, where it is not `host`.",
    },
    "server_certificate": {
        "type": ["string", "null"],
        "title": "The server's certificate",
        "description": "A PEM file with the very certificate that the server must show.",
        "examples": ["/etc/icetap/sql-server.pem"],
    },
}

_SESSION: dict[str, dict[str, Any]] = {
    "driver": {
        "type": "string",
        "enum": ["mssql-python", "pyodbc"],
        "default": "mssql-python",
        "title": "Driver",
        "description": "`mssql-python`: Microsoft's driver, which comes with the tap and reads columns. `pyodbc`: any "
        "ODBC driver of this machine; slower, for where the other cannot be used.",
    },
    "odbc_driver": {
        "type": ["string", "null"],
        "title": "ODBC driver",
        "description": "`driver: pyodbc`: the ODBC driver's name or its library's path. Empty takes Microsoft's 18, its "
        "17, or FreeTDS, whichever is there first.",
        "examples": ["ODBC Driver 18 for SQL Server", "/opt/lib/libtdsodbc.so"],
    },
    "application_intent": {
        "type": "string",
        "enum": ["read_write", "read_only"],
        "default": "read_write",
        "title": "Application intent",
        "description": "`read_only` lets an availability group send the tap to a readable secondary.",
    },
    "multi_subnet_failover": {
        "type": "boolean",
        "default": False,
        "title": "Multi-subnet failover",
        "description": "Tries all addresses of an availability group's listener at once.",
    },
    "isolation_level": {
        "type": "string",
        "enum": list(ISOLATION_LEVELS),
        "default": "auto",
        "title": "Isolation level",
        "description": "`auto`: `snapshot` where the database allows it (one moment for a whole stream, waits for "
        "nobody), else `read_committed`. `read_uncommitted` may miss rows, double them, or show what is never committed.",
    },
    "lock_timeout_seconds": {
        "type": "integer",
        "minimum": 0,
        "maximum": 86_400,
        "default": 60,
        "title": "Lock timeout",
        "description": "How long to wait for a writer's lock, in seconds.",
    },
    "query_timeout_seconds": {
        "type": "integer",
        "minimum": 0,
        "maximum": 86_400,
        "default": 0,
        "title": "Query timeout",
        "description": "How long one statement may take, in seconds; 0 means no limit.",
    },
}


class TapMSSQL(SQLTap):
    """Reads tables, views and queries of a SQL Server database."""

    name = "tap-mssql"
    package_name = "icetap-tap-mssql"
    setting_aliases: ClassVar[dict[str, str]] = dict(ADDRESS_ALIASES)

    config_jsonschema: ClassVar[dict] = {  # type: ignore[type-arg]
        "type": "object",
        "properties": {
            **server_settings(scheme="mssql", default_port=DEFAULT_PORT),
            **_SIGN_IN,
            **_SESSION,
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
