"""The settings that are this tap's own, and what people have in taps of other makers for SQL Server."""

from __future__ import annotations

from typing import Any

from tap_mssql.address import AUTH_METHODS, ENCRYPT
from tap_mssql.connection import ISOLATION_LEVELS

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
        "description": "`encrypt: strict`: a PEM file with the very certificate that the server must show.",
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

OWN_SETTINGS = {**_SIGN_IN, **_SESSION}

OTHER_NAMES = {"cursor_array_size": "batch_size"}
"""Settings that mean the same in other makers' taps for SQL Server."""

OTHER_NAMES_SETTINGS: dict[str, dict[str, Any]] = {
    "cursor_array_size": {
        "type": ["integer", "null"],
        "minimum": 1,
        "maximum": 1_000_000,
        "title": "cursor_array_size (alias)",
        "description": "Another name for `batch_size`, which other taps for SQL Server use.",
    }
}

_BY_THE_DRIVER = "leave it out: the driver and the server agree on it"
_TYPES = "leave it out: each type arrives as README.md says"

SETTINGS_ELSEWHERE = {
    "dialect": "leave it out: it is SQL Server",
    "driver_type": "give 'driver: mssql-python' (the default) or 'driver: pyodbc'",
    "sqlalchemy_url_query": "give 'odbc_driver', 'trust_server_certificate' and 'multi_subnet_failover'",
    "sqlalchemy_eng_params": "leave it out: there is no SQLAlchemy between the tap and the driver",
    "azure_access_tokens": "give 'auth_method: active_directory_default', or 'access_token' with a 'password_command'",
    "filter_tables": "select streams in Meltano ('select: [dbo-orders.*]'), which reads no other ones",
    "filter_dbs": "a tap reads one database: give it as 'database'",
    "hd_jsonschema_types": _TYPES,
    "use_date_datatype": _TYPES,
    "use_singer_decimal": "leave it out: decimals keep all their digits",
    "tds_version": _BY_THE_DRIVER,
    "characterset": _BY_THE_DRIVER,
    "conn_properties": "leave it out: the session is set up as README.md says",
    "default_replication_method": "give 'streams: {\"*\": {replication_method: …}}'",
    "default_replication_key": "give 'replication-key' in Meltano's metadata, for the streams that have such a column",
    "start_date": "give 'streams: {<name>: {where: …}}'",
    "trusted_connection": "give 'auth_method: kerberos'",
    "authentication": "give 'auth_method'",
    "login_timeout": "give 'connect_timeout_seconds'",
    "query_timeout": "give 'query_timeout_seconds'",
    "enable_tds_logging": "leave it out: 'MELTANO_CLI_LOG_LEVEL=debug' tells more",
    "include_schemas_in_destination_stream_name": "leave it out: streams are called 'schema-table'; another name is "
    "'streams.<name>.stream_name'",
}
"""What taps of other makers have, and what to do instead."""
