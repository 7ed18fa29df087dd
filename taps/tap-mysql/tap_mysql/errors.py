"""The server's and the driver's errors as ours: what was found, what to do.

Numbers: https://dev.mysql.com/doc/mysql-errors/8.4/en/, https://mariadb.com/kb/en/mariadb-error-codes/ (read 2026-11-21)
"""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
from typing import TYPE_CHECKING

import pymysql

from icetap.errors import ConfigurationError, IcetapError, RetriableError, SkippableError
from icetap.secrets.redaction import server_words
from icetap.sql.dialect import TableBusyError
from icetap.sql.row_bytes import RowFormatError
from tap_mysql.packets import CutOffError

if TYPE_CHECKING:
    from collections.abc import Iterator

# "Incorrect DATE value: '…'", "Truncated incorrect DOUBLE value: '…'": what is quoted there is data.
_VALUE = re.compile(r"(value:?) '.*'", re.DOTALL)

# Messages that are made of names, or of the statement; a function may signal any other one, with any value in it.
_NAME = r"['`][^'`]*['`]"
_MADE_OF_NAMES = tuple(
    map(
        re.compile,
        (
            rf"Table {_NAME} doesn't exist",
            rf"Unknown column {_NAME} in {_NAME}",
            rf"Column {_NAME} in [\w' ]+ is ambiguous",
            rf"Unknown (?:database|table) {_NAME}",
            rf"[\w, ]+ command denied to user {_NAME}@{_NAME} for (?:table|column|routine|view) .*",
            rf"View {_NAME} references invalid .*",
            rf"Access denied for user {_NAME}@{_NAME}.*",
            r"(?:FUNCTION|PROCEDURE) \S+ does not exist",
            r"You have an error in your SQL syntax;.*",
            r"Lock wait timeout exceeded; try restarting transaction",
            r"Deadlock found when trying to get lock; try restarting transaction",
            r"Query execution was interrupted.*",
            r"Too many connections",
        ),
    )
)
_OF_THE_CLIENT = range(2000, 3000)  # the driver's own numbers

_RUN_AGAIN = "Run again: what was read is kept, and the read goes on there."
_CHECK_SQL = "Check the SQL in 'queries' and 'where'."
_GRANT = "Give the user the right (GRANT SELECT ON database.table TO user), or deselect the stream."
_REPAIR = "Repair the view, the query or the table, or deselect the stream."
_SIGN_IN = "Check the settings 'user' and 'password', and from which host the user may connect."

_BY_NUMBER: dict[int, tuple[type[IcetapError], str]] = {
    **dict.fromkeys((1045, 1698, 1251, 1862, 2059, 2061, 3118), (ConfigurationError, _SIGN_IN)),
    **dict.fromkeys(
        (1044, 1049),
        (ConfigurationError, "Check the setting 'database', and the user's rights on it."),
    ),
    **dict.fromkeys(
        (1130, 1129),
        (ConfigurationError, "The server accepts no connections from this machine: ask who runs it."),
    ),
    3159: (ConfigurationError, "The server wants TLS: set 'ssl_mode' to REQUIRED or stricter."),
    **dict.fromkeys((1142, 1143, 1370, 1345), (SkippableError, _GRANT)),
    1146: (SkippableError, "The table is gone: discover again, or deselect the stream."),
    1356: (
        SkippableError,
        "The view refers to what is gone, or its definer lacks rights: repair it, or deselect the stream.",
    ),
    **dict.fromkeys(
        (1052, 1054, 1055, 1060, 1064, 1109, 1111, 1140, 1149, 1241, 1248, 1305, 1582, 4078),
        (ConfigurationError, _CHECK_SQL),
    ),
    **dict.fromkeys((1227, 1290), (ConfigurationError, "The user lacks a right; see the tap's README.")),
    **dict.fromkeys(
        (1040, 1203, 1226),
        (RetriableError, "The server has too many connections: lower 'max_parallel', or run later."),
    ),
    **dict.fromkeys((1205, 1213), (TableBusyError, "A lock was held by others. " + _RUN_AGAIN)),
    **dict.fromkeys(
        (
            1053,
            1077,
            1079,
            1080,
            1152,
            1158,
            1159,
            1160,
            1161,
            1184,
            1317,
            1927,
            2006,
            2013,
            2055,
        ),
        (RetriableError, _RUN_AGAIN),
    ),
    **dict.fromkeys(
        (2002, 2003),
        (RetriableError, "Check 'host' and 'port', and that the server runs and can be reached."),
    ),
    **dict.fromkeys(
        (1028, 1969, 3024),
        (TableBusyError, "The server's time limit for statements cut the read: raise it for this user."),
    ),
    1412: (RetriableError, "The table was altered after the read began. Run again."),
}


@contextlib.contextmanager
def translated(where: str) -> Iterator[None]:
    """Turn errors of the driver and the wire into ours.

    Args:
        where: The server, as a message may show it.
    """
    try:
        yield
    except pymysql.Error as error:
        raise translation(error, where) from error
    except RuntimeError as error:
        if "pynacl" not in str(error).lower():
            raise
        raise ConfigurationError(
            f"{where}: the user signs in by ed25519, which needs the package PyNaCl: install it beside the tap, "
            "or give the user another plug-in"
        ) from error
    except RowFormatError as error:
        raise RetriableError(f"{where}: the rows could not be read ({error}). {_RUN_AGAIN}") from error
    except (CutOffError, OSError) as error:
        raise RetriableError(f"{where}: the connection was lost ({error}). {_RUN_AGAIN}") from error


def translation(error: pymysql.Error, where: str) -> IcetapError:
    """Return our error for one of the driver's."""
    original = getattr(error, "original_exception", None)
    if isinstance(original, ssl.SSLError):
        reason = (
            getattr(original, "verify_message", None) or getattr(original, "reason", None) or "TLS failed"
        )
        return ConfigurationError(
            f"{where}: {reason}. Check 'ssl_ca' and 'ssl_mode': VERIFY_CA wants the authority that signed the "
            "server's certificate, VERIFY_IDENTITY also its name"
        )
    number = error.args[0] if error.args and isinstance(error.args[0], int) else 0
    text = _VALUE.sub(r"\1 '…'", str(error.args[1]) if len(error.args) > 1 else str(error))
    if number not in _OF_THE_CLIENT:
        text = server_words(text, _MADE_OF_NAMES)
    if number == 2026:  # the client's own: TLS cannot be had
        return ConfigurationError(
            f"{where}: {text}. The server has no TLS: set 'ssl_mode' to DISABLED, or mend it"
        )
    is_of_the_server = number and number not in _OF_THE_CLIENT
    kind, advice = _BY_NUMBER.get(
        number, (SkippableError, _REPAIR) if is_of_the_server else (IcetapError, "")
    )
    if isinstance(original, socket.gaierror) and original.errno == socket.EAI_NONAME:
        kind = ConfigurationError  # no server will answer to that name by waiting
    return kind(f"{where}: {text.rstrip('. ')} ({number}). {advice}".rstrip())
