"""SQL Server's errors by number: what they are for the caller, and what to do next.

https://learn.microsoft.com/en-us/sql/relational-databases/errors-events/database-engine-events-and-errors
(read 2026-11-21)
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from icetap.errors import (
    ConfigurationError,
    IcetapError,
    RetriableError,
    SkippableError,
    StateError,
)
from icetap.secrets.redaction import server_words
from icetap.sql.dialect import TableBusyError


@dataclass(frozen=True, slots=True)
class Known:
    """An error that we know.

    `sign` is a piece of its English text: mssql-python gives no numbers (1.16), and the session speaks English.
    `is_transient` says that a new connection may do what failed on this one.
    """

    number: int
    kind: type[IcetapError]
    sign: str
    advice: str
    is_transient: bool = False


_AGAIN = "The run goes on from its last STATE: run it again if the retries did not help."
_AZURE = "Azure SQL moves or limits the database for a while; the tap tries again, then run it later."
_RIGHTS = "Ask for the rights in README.md, or deselect what may not be read."
_NETWORK = "Check host, port and firewall, and whether the server is up."

KNOWN: tuple[Known, ...] = (
    Known(1205, TableBusyError, "was deadlocked on", _AGAIN, is_transient=True),
    Known(1222, TableBusyError, "Lock request time out", "A writer held its lock for longer than 'lock_timeout_seconds'. With snapshot isolation (README.md) readers wait for nobody.", is_transient=True),
    Known(3960, RetriableError, "aborted due to update conflict", _AGAIN, is_transient=True),
    Known(3961, RetriableError, "has been modified by a DDL statement in another concurrent transaction", "A table was altered during the snapshot; the next attempt sees the new one.", is_transient=True),
    Known(3966, RetriableError, "version store is full", "tempdb ran out of room for row versions. Give it more, or set 'isolation_level: read_committed'.", is_transient=True),
    Known(41332, ConfigurationError, "cannot be accessed or created when the session TRANSACTION ISOLATION LEVEL is set to SNAPSHOT", "Set 'isolation_level: read_committed' for memory-optimized tables."),
    Known(3952, ConfigurationError, "snapshot isolation is not allowed in this database", "Run ALTER DATABASE … SET ALLOW_SNAPSHOT_ISOLATION ON, or set 'isolation_level: read_committed'."),
    Known(18456, ConfigurationError, "Login failed for user", "Check 'user', 'password' and 'auth_method'; the server's own log says more (the error's state)."),
    Known(18452, ConfigurationError, "login is from an untrusted domain", "Sign in with user and password ('auth_method: password'), or from a machine of the domain."),
    Known(18470, ConfigurationError, "the account is disabled", "Ask for the login to be enabled."),
    Known(18486, ConfigurationError, "account is currently locked out", "Ask for the login to be unlocked."),
    Known(18487, ConfigurationError, "password of the account has expired", "Set a new password for the login."),
    Known(18488, ConfigurationError, "password of the account must be changed", "Set a new password for the login."),
    Known(40532, ConfigurationError, "Cannot open server", "Check 'host' and 'user'."),
    Known(40613, RetriableError, "is not currently available", _AZURE, is_transient=True),
    Known(40197, RetriableError, "has encountered an error processing your request", _AZURE, is_transient=True),
    Known(40501, RetriableError, "service is currently busy", _AZURE, is_transient=True),
    Known(10928, RetriableError, "limit for the database is", _AZURE, is_transient=True),
    Known(10929, RetriableError, "is currently too busy to support requests", _AZURE, is_transient=True),
    Known(49918, RetriableError, "Not enough resources to process request", _AZURE, is_transient=True),
    Known(49919, RetriableError, "Too many create or update operations", _AZURE, is_transient=True),
    Known(49920, RetriableError, "Too many operations in progress", _AZURE, is_transient=True),
    Known(40615, ConfigurationError, "is not allowed to access the server", "Add this machine's address to the server's firewall rules."),
    Known(4060, ConfigurationError, "Cannot open database", "Check 'database', and that the login has a user in it (CREATE USER … FOR LOGIN …)."),
    Known(911, ConfigurationError, "does not exist. Make sure that the name is entered correctly", "Check 'database'."),
    Known(229, SkippableError, "permission was denied on the object", _RIGHTS),
    Known(230, SkippableError, "permission was denied on the column", _RIGHTS),
    Known(262, ConfigurationError, "permission denied in database", _RIGHTS),
    Known(297, ConfigurationError, "does not have permission to perform this action", _RIGHTS),
    Known(208, SkippableError, "Invalid object name", "Check the names in 'queries' and 'where', or discover again."),
    Known(207, ConfigurationError, "Invalid column name", "Check the names in 'queries' and 'where', or discover again."),
    Known(102, ConfigurationError, "Incorrect syntax near", "Check the SQL in 'queries' and 'where'."),
    Known(156, ConfigurationError, "Incorrect syntax near the keyword", "Check the SQL in 'queries' and 'where'."),
    Known(1033, ConfigurationError, "ORDER BY clause is invalid in views", "Leave ORDER BY out of the query: the tap orders by the replication key itself."),
    Known(8155, ConfigurationError, "No column name was specified", "Give each expression of the query a name with AS."),
    Known(8156, ConfigurationError, "was specified multiple times", "Give each column of the query a name of its own with AS."),
    Known(1205_0, TableBusyError, "Query timeout expired", "The server took longer than 'query_timeout_seconds'.", is_transient=True),
    Known(22114, StateError, "is not enabled for change tracking", "Run the statements of README.md, 'LOG_BASED'."),
    Known(4998, ConfigurationError, "Change tracking is not enabled", "Run the statements of README.md, 'LOG_BASED'."),
    Known(241, SkippableError, "Conversion failed when converting", "A value cannot become the type that the query or 'where' asks for; use TRY_CONVERT there."),
    Known(8115, SkippableError, "Arithmetic overflow error", "A value is too large for the type that the query asks for; cast to a wider one there."),
    Known(8134, SkippableError, "Divide by zero error", "A view, a query or 'where' divides by zero; use NULLIF there."),
    Known(6005, RetriableError, "SHUTDOWN is in progress", _AGAIN, is_transient=True),
    Known(17142, RetriableError, "server has been paused", _AGAIN, is_transient=True),
)  # fmt: skip
_BY_NUMBER = {known.number: known for known in KNOWN}

_NUMBER = re.compile(r"\((?P<number>-?\d+)\) \(SQL\w*\)")  # pyodbc: "… name 'x'. (208) (SQLExecDirectW)"
_PREFIXES = re.compile(r"^(?:[0-9A-Z]{5}\s)?(?:\s*\[[^\]]*\])+\s*")
# Server errors may repeat the value that did not fit.
_VALUES = re.compile(r"(value(?: is)?|converting the \w+ value) ?[('\"].*?['\")]", re.IGNORECASE | re.DOTALL)

# Messages that are made of names; a procedure, a function or a trigger may raise any other one, with any value in it.
_NAME = r"'[^']*'"
_MADE_OF_NAMES = tuple(
    map(
        re.compile,
        (
            rf"Invalid (?:object|column) name {_NAME}",
            rf"The \w+ permission was denied on the (?:object|column) {_NAME}.*",
            rf"\w+ permission denied in database {_NAME}",
            r"(?:Login failed for user|Cannot open (?:server|database)) .*",
            r"Incorrect syntax near .*",
            rf"(?:Could not find|Cannot find) (?:the )?\w+ (?:procedure )?{_NAME}.*",
            r"Transaction \(Process ID \d+\) was deadlocked on .*",
            r"Lock request time out period exceeded",
            r"Query timeout expired",
        ),
    )
)

_TLS_SIGNS = (
    "certificate verify failed",
    "certificate chain",
    "self-signed",
    "self signed",
    "SSL Provider",
    "hostname mismatch",
)
_TLS = (
    "The server's certificate was not accepted. Give its authority's certificate (its own, if it made it itself) to the "
    "system, or name the PEM file in the environment as SSL_CERT_FILE; give the name that is in it as "
    "'hostname_in_certificate' where that is another one than 'host'. Only in a network that you trust: "
    "'trust_server_certificate: true' encrypts without checking whom."
)
_OLD_TLS = "The server offers only TLS 1.0 or 1.1, which OpenSSL 3 refuses: update the server."
_NO_TLS = (
    "The server offers no encryption, and 'encrypt' asks for it. Give the server a certificate, or, only in a network "
    "that you trust, set 'encrypt: optional'."
)
_LIBRARIES = (
    "The driver's own libraries need libltdl7, libkrb5-3 and libgssapi-krb5-2 (Debian, Ubuntu) or libtool-ltdl and "
    "krb5-libs (Red Hat): install them."
)
_LOST = ("Communication link failure", "Connection is broken", "TCP Provider", "connection is no longer usable", "08S01", "08001", "HYT00", "Login timeout expired", "Unable to complete login process", "error was encountered during handshakes before login")  # fmt: skip


def translated(error: BaseException, *, where: str) -> IcetapError:
    """Return one of our errors for one of a driver's.

    Args:
        error: What the driver raised.
        where: What was done with what, such as `shop on db.example.com:1433`.
    """
    text = " ".join(_said(error).split())
    known = known_error(text)
    if known is not None:
        number = f" (error {known.number})" if known.number < 12_000 or known.number > 12_050 else ""
        return known.kind(f"{where}: {server_words(shown(text), _MADE_OF_NAMES)}{number}. {known.advice}")
    for signs, kind, advice in _SIGNS:
        if any(sign in text for sign in signs):
            return kind(f"{where}: {shown(text)}. {advice}")
    return IcetapError(f"{where}: {server_words(shown(text), _MADE_OF_NAMES)}")


_SIGNS: tuple[tuple[tuple[str, ...], type[IcetapError], str], ...] = (
    (("Encryption not supported on SQL Server",), ConfigurationError, _NO_TLS),
    (("unsupported protocol", "no protocols available", "legacy sigalg"), ConfigurationError, _OLD_TLS),
    (_TLS_SIGNS, ConfigurationError, _TLS),
    (
        ("Failed to load the driver", "libltdl", "file not found"),
        ConfigurationError,
        _LIBRARIES,
    ),
    (
        ("Can't open lib", "Data source name not found"),
        ConfigurationError,
        "Check 'odbc_driver': the name of an installed ODBC driver, or the path of its library.",
    ),
    (_LOST, RetriableError, _NETWORK),
)


def is_transient(error: BaseException) -> bool:
    """Say whether a new connection may do what failed, by what the driver said."""
    text = _said(error)
    known = known_error(text)
    if known is not None:
        return known.is_transient
    if any(sign in text for signs, kind, _ in _SIGNS if kind is ConfigurationError for sign in signs):
        return False
    return any(sign in text for sign in _LOST)


def known_error(text: str) -> Known | None:
    """Return the error of a driver's text: by its number where it has one, else by its words."""
    match = _NUMBER.search(text)
    if match is not None and (found := _BY_NUMBER.get(int(match["number"]))):
        return found
    candidates = [known for known in KNOWN if known.sign in text]
    return max(candidates, key=lambda known: len(known.sign), default=None)


def shown(text: str) -> str:
    """Return a driver's text for people: no prefixes, no values, no full stop at its end."""
    words = text.rpartition("DDBC Error:")[2] or text
    words = _PREFIXES.sub("", _NUMBER.sub("", words).strip()).strip(" ')(\"")
    return _VALUES.sub(r"\1 (left out)", words).removesuffix(".").strip()


def _said(error: BaseException) -> str:
    """Return what a driver said; pyodbc has (SQLSTATE, text), mssql-python one text."""
    parts = [str(part) for part in error.args]
    return " ".join(parts) or str(error)
