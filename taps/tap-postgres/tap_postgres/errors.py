"""What PostgreSQL says, as errors that a person can act on, by SQLSTATE.

https://www.postgresql.org/docs/current/errcodes-appendix.html (read 2026-11-21)
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from icetap.errors import ConfigurationError, IcetapError, RetriableError, SkippableError
from icetap.secrets.redaction import server_words
from icetap.sql.dialect import TableBusyError

if TYPE_CHECKING:
    from collections.abc import Sequence

_SEVERITY = re.compile(r"(?:ERROR|FATAL|PANIC):\s+(.*)")
# From the first quote to the last one before PostgreSQL's own words go on: a value may hold quotes and ends of lines.
_QUOTED = re.compile(r'".*"(?= (?:is|are|for|of|has|in|at|does|must|cannot|out)\b)|".*')
# Messages that are made of names alone; a function may raise any other one, with any value in it.
_NAME = r'(?:"[^"]*"|[\w.$-]+)'
_THING = "(?:relation|table|view|column|schema|type|function|role|database|publication|replication slot)"
_MADE_OF_NAMES = tuple(
    map(
        re.compile,
        (
            rf"permission denied for (?:\w+ ){{1,2}}{_NAME}",
            rf"{_THING} {_NAME}(?:\([\w ,.\[\]]*\))?(?: of relation {_NAME})? does not exist",
            r"operator does not exist: [\w .\[\]]+ \S+ [\w .\[\]]+",
            rf"syntax error at or near {_NAME}",
            rf"could not obtain lock on relation {_NAME}",
            r"(?:canceling statement|terminating connection) due to [a-z -]+",
            r"could not serialize access due to [a-z ]+",
            r"the database system is [a-z ]+",
            r"deadlock detected",
            r"sorry, too many clients already",
        ),
    )
)
_ADVICE: Sequence[tuple[str, type[IcetapError], str]] = (
    ("42501", SkippableError, "Grant the user SELECT on it (and USAGE on its schema), or deselect it."),
    (
        "42P01",
        SkippableError,
        "It is gone since discovery, or was renamed: discover again, or deselect the stream.",
    ),
    (
        "42703",
        SkippableError,
        "It is gone since discovery, or was renamed: discover again, or deselect the column.",
    ),
    (
        "42883",  # no such function or operator for these types
        SkippableError,
        "Run again if the type of a column changed meanwhile; else correct the SQL of 'where' or 'queries'.",
    ),
    ("42", ConfigurationError, "Correct the SQL of 'where' or 'queries', or discover again."),
    ("28", ConfigurationError, "Check 'user', 'password' and the server's pg_hba.conf."),
    ("3D000", ConfigurationError, "Check 'database'."),
    (
        "57014",
        SkippableError,
        "Raise 'statement_timeout_seconds', or the limit that the role or the server sets.",
    ),
    (
        "55P03",
        TableBusyError,
        "Somebody holds a lock, such as an ALTER TABLE that waits; look at pg_stat_activity.",
    ),
    ("55006", RetriableError, "Another session uses it at the moment."),
    ("40P01", TableBusyError, "Two sessions waited for each other; the read is begun again."),
    (
        "40001",
        RetriableError,
        "On a read replica: set hot_standby_feedback = on there, or raise max_standby_streaming_delay.",
    ),
    (
        "53300",
        RetriableError,
        "The server has no connection left: lower 'max_parallel', or raise max_connections.",
    ),
    ("53100", RetriableError, "The server's disk is full."),
    ("53", RetriableError, "The server lacks memory or another resource."),
    ("57P", RetriableError, "The server was stopped, or an administrator ended the session."),
    ("57", RetriableError, "An administrator or the server's settings ended the session."),
    ("08001", TableBusyError, "The server of a foreign table cannot be reached."),
    ("08", TableBusyError, "The connection was lost: this one, or that to the server of a foreign table."),
    (
        "25P",
        RetriableError,
        "The server ended a session that waited; raise its idle_in_transaction_session_timeout.",
    ),
    ("58", RetriableError, "The server could not read its files; look at its log."),
    ("XX", SkippableError, "The server found its data damaged, or has a fault; look at its log."),
    ("22", SkippableError, "The database could not compute a value of a view, a query or a condition."),
    ("HV", SkippableError, "The foreign server is away, or the foreign table does not fit it."),
)
_LOST = (
    "server closed the connection",
    "no connection to the server",
    "connection not open",
    "connection is closed",
    "connection has been closed",
    "could not receive data",
    "could not send data",
    "Connection reset",
    "SSL SYSCALL",
    "SSL error",
    "terminating connection",
    "timed out",
    "Broken pipe",
    "lost synchronization",
    "unexpected EOF",
)
_SIGN_IN = (
    "authentication failed",
    "no pg_hba.conf entry",
    "does not exist",
    "is not permitted to log in",
    "permission denied for database",
    "no password supplied",
    "invalid connection option",
    "invalid URI",
    "invalid sslmode",
    "certificate verify failed",
    "does not match host name",
    "server does not support SSL",
    "root certificate file",
    "certificate file",
    "private key file",
    "failed to resolve host",
    "invalid value",
    "no such database",
    "no such user",
    "SASL authentication",
    "channel binding",
    "authentication method",
    "server requested",
)
_NAMES_ARE_DOWN = "Temporary failure in name resolution"  # EAI_AGAIN: the name may well be right


def connect_error(text: str, *, where: str) -> IcetapError:
    """Return the error of a failed sign-in: libpq gives its words alone, without a SQLSTATE."""
    said = _first_line(text)
    if any(words in said for words in _SIGN_IN) and _NAMES_ARE_DOWN not in said:
        return ConfigurationError(
            f"cannot sign in to {where}: {said}. Check 'host', 'port', 'database', 'user', 'password' and 'sslmode'."
        )
    return RetriableError(
        f"cannot connect to {where}: {said}. Check that the server runs and can be reached."
    )


def statement_error(text: str, sqlstate: str | None, *, where: str) -> IcetapError:
    """Return the error of a failed statement.

    Args:
        text: What the driver says; it may hold the statement, which is left out.
        sqlstate: Five characters, None when the connection broke.
        where: The database, for the message.

    Where masks hide values, its words are told only if they are made of names alone.
    """
    said = _first_line(text)
    if not sqlstate:
        if any(words in text for words in _LOST):
            return RetriableError(f"the connection to {where} was lost: {said}")
        return IcetapError(f"{where}: {server_words(said, _MADE_OF_NAMES)}")
    if sqlstate.startswith(("22", "23", "P0")):
        said = _QUOTED.sub('"…"', said)  # these name values
    said = server_words(said, _MADE_OF_NAMES)
    for prefix, kind, advice in _ADVICE:
        if sqlstate.startswith(prefix):
            return kind(f"{where} said: {said} (SQLSTATE {sqlstate}). {advice}")
    return SkippableError(f"{where} said: {said} (SQLSTATE {sqlstate}).")


def _first_line(text: str) -> str:
    found = _SEVERITY.search(text)
    line = found[1] if found else text.removeprefix("connection failed: ")
    return line.partition("\n")[0].strip().rstrip(".")
