"""The settings that only tap-postgres has."""

from __future__ import annotations

from typing import Any

from tap_postgres.overflow import POLICIES

SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")

_TLS_SETTINGS: dict[str, dict[str, Any]] = {
    "sslmode": {
        "type": "string",
        "enum": list(SSL_MODES),
        "default": "prefer",
        "title": "TLS",
        "description": "Whether the connection is encrypted, and what of the server's certificate is checked, in "
        "libpq's words. `verify-full` is what keeps others from reading along.",
    },
    "ssl_certificate_authority": {
        "type": ["string", "null"],
        "title": "Certificate authority",
        "description": "Who signed the server's certificate: a file, the PEM text itself, or `system` for those that "
        "this machine trusts.",
        "examples": ["/etc/ssl/db-ca.pem"],
    },
    "ssl_client_certificate": {
        "type": ["string", "null"],
        "title": "Client certificate",
        "description": "The certificate that this client shows: a file, or the PEM text itself.",
    },
    "ssl_client_private_key": {
        "type": ["string", "null"],
        "secret": True,
        "title": "Client key",
        "description": "The key of the client's certificate: a file of mode 0600, or the PEM text itself.",
    },
}

_READING_SETTINGS: dict[str, dict[str, Any]] = {
    "include_partitions": {
        "type": "boolean",
        "default": False,
        "title": "Partitions as streams",
        "description": "Makes the parts of partitioned tables streams of their own, beside the whole.",
    },
    "temporal_overflow": {
        "type": "string",
        "enum": list(POLICIES),
        "default": "refuse",
        "title": "Dates and times out of range",
        "description": "What becomes of `infinity`, of years that are not from 1 to 9999, and of `24:00`: `refuse` (see "
        "`on_rejected`), `null` or `clamp` to the nearest that there is, both counted; or all dates and times as "
        "PostgreSQL's own texts (`string`).",
    },
    "number_as": {
        "type": "string",
        "pattern": r"^(string|decimal\((3[0-8]|[12]?\d), ?(3[0-8]|[12]?\d)\))$",
        "default": "string",
        "title": "Numbers of any size",
        "description": "What `numeric` without precision, or with more than 38 digits, becomes: `string`, which keeps "
        "every digit, or `decimal(p,s)`, which refuses values that do not fit.",
        "examples": ["decimal(38,9)"],
    },
    "array_as": {
        "type": "string",
        "enum": ["list", "json"],
        "default": "list",
        "title": "Arrays",
        "description": "`list` keeps the type of the elements and refuses arrays of several dimensions; `json` takes "
        "them all, as JSON text.",
    },
    "statement_timeout_seconds": {
        "type": "integer",
        "minimum": 0,
        "maximum": 2_000_000,
        "default": 0,
        "title": "Statement timeout",
        "description": "How long one statement may take in the server, in seconds; 0 is without end.",
    },
    "lock_timeout_seconds": {
        "type": "integer",
        "minimum": 0,
        "maximum": 2_000_000,
        "default": 60,
        "title": "Lock timeout",
        "description": "How long to wait for a lock, such as that of an ALTER TABLE, before the read is tried again, in "
        "seconds; 0 is without end.",
    },
}

OWN_SETTINGS: dict[str, dict[str, Any]] = {**_TLS_SETTINGS, **_READING_SETTINGS}

OTHER_NAMES = {
    "dbname": "database",
    "ssl_mode": "sslmode",
    "replication_max_run_seconds": "max_run_seconds",
    "replication_idle_exit_seconds": "idle_exit_seconds",
    "itersize": "batch_size",
}
"""Settings that mean the same in other makers' taps for PostgreSQL."""

_TEXTS = frozenset({"dbname", "ssl_mode"})
OTHER_NAMES_SETTINGS: dict[str, dict[str, Any]] = {
    alias: {
        **({"type": ["string", "null"]} if alias in _TEXTS else {"type": ["integer", "null"], "minimum": 1}),
        "title": f"{alias} (alias)",
        "description": f"Another name for `{name}`, which other taps for PostgreSQL use.",
    }
    for alias, name in OTHER_NAMES.items()
}

_NO_LIMIT = "rows are not limited; look at a few with `icetap preview`, or filter with 'streams.<name>.where'"
_PLACE = "give the place of the server to read from as 'host' and 'port'"

SETTINGS_ELSEWHERE = {
    "ssl": "give 'sslmode: require', or better 'sslmode: verify-full'",
    "ssl_enable": "give 'sslmode', which says the same: 'disable' or one of the others",
    "ssl_client_certificate_enable": "leave it out: 'ssl_client_certificate' alone says it",
    "ssl_storage_directory": "leave it out: PEM texts are handed to the driver in memory",
    "dates_as_string": "give 'temporal_overflow: string' if it was true, else leave it out",
    "json_as_object": "leave it out: JSON arrives as JSON text, which keeps every digit",
    "default_replication_method": "give 'streams: {\"*\": {replication_method: …}}'",
    "default_replication_key": "give 'replication-key' in Meltano's metadata, for the streams that have such a column",
    "stream_options": "give 'streams: {<name>: {where: …}}', one condition instead of 'custom_where_clauses'",
    "max_record_count": _NO_LIMIT,
    "limit": _NO_LIMIT,
    "filter_dbs": "a tap reads one database: give it as 'database'",
    "logical_poll_total_seconds": "give 'max_run_seconds'",
    "break_at_end_lsn": "leave it out: a run ends at what was committed when it reached the log",
    "debug_lsn": "leave it out: each change comes with its place in the log, '_sdc_lsn'",
    "wal2json_message_format": "leave it out: changes come from pgoutput, which every server has",
    "tap_id": "leave it out: 'replication_slot_name' tells pipelines apart",
    "use_secondary": _PLACE,
    "secondary_host": _PLACE,
    "secondary_port": _PLACE,
    "include_schemas_in_destination_stream_name": "leave it out: streams are called 'schema-table'; another name is "
    "'streams.<name>.stream_name'",
}
"""What taps of other makers have, and what to do instead."""
