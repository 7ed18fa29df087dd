"""The settings that only tap-mysql has, and what other makers' taps for MySQL call theirs."""

from __future__ import annotations

from typing import Any

from tap_mysql.server import SSL_MODES
from tap_mysql.zero_dates import POLICIES

_PEM_EXAMPLE = "/etc/mysql/ca.pem"

_TLS_SETTINGS: dict[str, dict[str, Any]] = {
    "ssl_mode": {
        "type": ["string", "null"],
        "enum": [*SSL_MODES, None],
        "title": "TLS",
        "description": "MySQL's own names: `DISABLED`, `PREFERRED` (TLS where the server has it; the default), "
        "`REQUIRED`, `VERIFY_CA` (signed by `ssl_ca`), `VERIFY_IDENTITY` (and for this host).",
        "examples": ["VERIFY_IDENTITY"],
    },
    "ssl_ca": {
        "type": ["string", "null"],
        "title": "Certificate authority",
        "description": "The authority that signed the server's certificate: a file, or its PEM text. Empty takes "
        "the system's.",
        "examples": [_PEM_EXAMPLE],
    },
    "ssl_cert": {
        "type": ["string", "null"],
        "title": "Client certificate",
        "description": "For servers that ask for one: a file, or its PEM text.",
    },
    "ssl_server_name": {
        "type": ["string", "null"],
        "title": "Name in the certificate",
        "description": "VERIFY_IDENTITY: what the server's certificate is checked against, where that is not `host`.",
        "examples": ["db.internal.example.com"],
    },
    "ssl_key": {
        "type": ["string", "null"],
        "secret": True,
        "title": "Client key",
        "description": "The key of the client's certificate: a file, or its PEM text.",
    },
}

_READING_SETTINGS: dict[str, dict[str, Any]] = {
    "unix_socket": {
        "type": ["string", "null"],
        "title": "Unix socket",
        "description": "The file of the server's socket, for a server on this machine.",
        "examples": ["/run/mysqld/mysqld.sock"],
    },
    "filter_dbs": {
        "type": ["string", "array", "null"],
        "items": {"type": "string"},
        "title": "Databases (alias)",
        "description": "Another name for `filter_schemas`; a text lists them with commas.",
        "examples": ["shop,sales"],
    },
    "session_sqls": {
        "type": ["array", "null"],
        "items": {"type": "string", "minLength": 1},
        "title": "Session statements",
        "description": "Statements that each new connection begins with.",
        "examples": [["SET SESSION max_statement_time = 600"]],
    },
    "tinyint1_is_bool": {
        "type": "boolean",
        "default": False,
        "title": "TINYINT(1) as boolean",
        "description": "Columns of type TINYINT(1) become booleans; values other than 0 and 1 are then refused.",
    },
    "zero_date": {
        "type": "string",
        "enum": list(POLICIES),
        "default": "null",
        "title": "Zero and invalid dates",
        "description": "What 0000-00-00, 2024-00-10 or 2017-02-31 becomes: `null` (counted), `epoch` (1970-01-01, "
        "counted), `string` (all dates become texts), `error` (refused).",
    },
}

OWN_SETTINGS: dict[str, dict[str, Any]] = {**_TLS_SETTINGS, **_READING_SETTINGS}

SETTINGS_ELSEWHERE = {
    "ssl": "give 'ssl_mode: REQUIRED', or better 'ssl_mode: VERIFY_IDENTITY' with 'ssl_ca'",
    "check_hostname": "give 'ssl_mode': VERIFY_CA checks who signed the certificate, VERIFY_IDENTITY also the name",
    "verify_mode": "give 'ssl_mode': VERIFY_CA checks who signed the certificate, REQUIRED does not",
    "internal_hostname": "give the name in the certificate as 'ssl_server_name'",
    "engine": "leave it out: the server says what it is",
    "use_gtid": "give 'log_position: gtid', which is the default, or 'log_position: file'",
    "cursorclass": "leave it out: rows are never held in memory",
    "export_batch_rows": "give 'batch_size'",
    "sqlalchemy_options": "give them behind the question mark of 'sqlalchemy_url', or as 'session_sqls'",
    "default_replication_method": "give 'streams: {\"*\": {replication_method: …}}'",
    "default_replication_key": "give 'replication-key' in Meltano's metadata, for the streams that have such a column",
    "stream_options": "give 'streams: {<name>: {where: …}}', one condition instead of 'custom_where_clauses'",
    "driver": "leave it out: there is one driver, which reads columns",
    "start_date": "give 'streams: {<name>: {where: …}}'",
}
"""What taps of other makers have, and what to do instead."""
