"""What a server says of its binary log: settings, position, files; and what must hold for rows to be read from it."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pymysql

from icetap.errors import ConfigurationError, IcetapError
from tap_mysql.log_based.positions import (
    FIRST_OFFSET,
    Coordinates,
    FilePosition,
    MariaPosition,
    MySQLPosition,
    Position,
    maria_position,
    mysql_position,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

Query = Callable[[str], Sequence[tuple[Any, ...]]]
"""Runs a statement on an open connection and returns its rows."""

_VARIABLES = (
    *("version", "server_id", "server_uuid", "server_uid", "hostname", "log_bin", "lower_case_table_names"),
    *("binlog_format", "binlog_row_image", "binlog_row_metadata", "binlog_row_value_options"),
    *(
        "binlog_expire_logs_seconds",
        "expire_logs_days",
        "gtid_mode",
        "log_slave_updates",
        "log_replica_updates",
    ),
)
_PARSE_ERROR = 1064
_DAY_SECONDS = 86_400
LARGE_SERVER_ID = 1 << 31
GRANTS = {
    True: "GRANT REPLICATION SLAVE, BINLOG MONITOR ON *.* TO …",
    False: "GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO …",
}
"""What a reader of the log needs beside SELECT: MariaDB's words and MySQL's."""


@dataclass(frozen=True, slots=True)
class LogServer:
    """The server's variables that matter to its log."""

    variables: Mapping[str, str]

    @classmethod
    def of(cls, query: Query) -> LogServer:
        """Ask an open connection."""
        names = ", ".join(f"'{name}'" for name in _VARIABLES)
        found = query(f"SHOW GLOBAL VARIABLES WHERE Variable_name IN ({names})")
        return cls({str(name).lower(): str(value) for name, value in found})

    @property
    def is_mariadb(self) -> bool:
        """Whether it is MariaDB and not MySQL."""
        return "mariadb" in self.variables.get("version", "").lower()

    @property
    def has_gtids(self) -> bool:
        """Whether each transaction has a GTID: always in MariaDB, in MySQL with `gtid_mode=ON`."""
        return self.is_mariadb or self.variables.get("gtid_mode", "OFF").upper() == "ON"

    @property
    def folds_names(self) -> bool:
        """Whether names of tables differ in more than case."""
        return self.variables.get("lower_case_table_names", "0") != "0"

    @property
    def identity(self) -> str:
        """What tells this server from others: files and offsets hold for it alone."""
        own = self.variables.get("server_uuid") or self.variables.get("server_uid")
        return own or f"{self.variables.get('hostname', '')}:{self.variables.get('server_id', '')}"

    @property
    def kept_seconds(self) -> int:
        """For how long the log is kept; 0 for ever."""
        seconds = self.variables.get("binlog_expire_logs_seconds")
        if seconds and float(seconds):
            return int(float(seconds))
        return int(float(self.variables.get("expire_logs_days", "0")) * _DAY_SECONDS)

    def problems(self) -> Iterator[str]:
        """Yield what keeps rows from being in the log whole, each with the statement that mends it."""
        get = self.variables.get
        if get("log_bin", "OFF").upper() != "ON":
            yield (
                "the server writes no binary log (log_bin is OFF): start it with --log-bin and "
                "--binlog-format=ROW, or choose INCREMENTAL or FULL_TABLE"
            )
            return
        if get("binlog_format", "ROW").upper() != "ROW":
            yield f"binlog_format is {get('binlog_format')}: SET GLOBAL binlog_format = 'ROW', then end the sessions that wrote before"
        image = get("binlog_row_image", "FULL").upper()
        if image not in {"FULL", "FULL_NODUP"}:
            yield f"binlog_row_image is {image}: SET GLOBAL binlog_row_image = 'FULL', then end the sessions that wrote before"
        if "PARTIAL_JSON" in get("binlog_row_value_options", "").upper():
            yield "binlog_row_value_options is PARTIAL_JSON: SET GLOBAL binlog_row_value_options = ''"


def server_id(configured: int | None, *, seed: str, server: LogServer) -> int:
    """Return the number by which the server knows this reader: the setting's, or one that stays the same.

    Args:
        configured: The setting.
        seed: What tells this pipeline from others.
        server: Its own number must be another one.

    Raises:
        ConfigurationError: When the setting is the server's own number.
    """
    own = int(server.variables.get("server_id", "0"))
    if configured is None:
        # The upper half of the range: people number their servers from 1 on.
        number = LARGE_SERVER_ID | zlib.crc32(seed.encode()) & (LARGE_SERVER_ID - 1)
        return number - 1 if number == own else number
    if configured == own:
        raise ConfigurationError(
            f"setting 'server_id' is {configured}, which is the server's own; give a number that no server and no "
            "other reader of this server's log has"
        )
    return configured


class LogPlace:
    """Where the log stands, by an open connection.

    Args:
        query: Runs statements on it.
        server: What the server is.
        by_gtid: Whether positions are GTIDs.
    """

    def __init__(self, query: Query, server: LogServer, *, by_gtid: bool) -> None:
        self._query = query
        self._server = server
        self._by_gtid = by_gtid

    def status(self) -> tuple[Coordinates, str]:
        """Return the end of the log, and MySQL's set of all transactions.

        Raises:
            ConfigurationError: When the right is missing.
        """
        statements = (
            ["SHOW MASTER STATUS"]
            if self._server.is_mariadb
            else ["SHOW BINARY LOG STATUS", "SHOW MASTER STATUS"]
        )
        for statement in statements:
            try:
                rows = self._query(statement)
            except pymysql.ProgrammingError as error:
                if error.args[0] != _PARSE_ERROR:  # before MySQL 8.2, the old name only
                    raise
                continue
            except pymysql.OperationalError as error:
                raise self.missing_right(error) from error
            if rows:
                row = rows[0]
                executed = str(row[4]).replace("\n", "") if len(row) > 4 else ""
                return Coordinates(str(row[0]), int(row[1])), executed
        raise ConfigurationError("the server writes no binary log")

    def missing_right(self, error: Exception) -> IcetapError:
        """Return the error for what the user may not do."""
        return ConfigurationError(
            f"the user may not read the binary log ({error.args[0]}): {GRANTS[self._server.is_mariadb]}"
        )

    def end(self) -> Position:
        """Return the position behind everything that is committed now."""
        at, executed = self.status()
        return self.at(at, executed=executed)

    def at(self, at: Coordinates, *, executed: str = "") -> Position:
        """Return the position at an end of a transaction; of MySQL's, all that are executed must be given."""
        if not self._by_gtid:
            return FilePosition(at)
        if not self._server.is_mariadb:
            return mysql_position(executed)
        ((found,),) = self._query(f"SELECT BINLOG_GTID_POS('{at.file}', {at.offset})")
        return maria_position(str(found or ""))

    def files(self) -> list[tuple[str, int]]:
        """Return the files of the log, oldest first, and their sizes in bytes."""
        try:
            return [(str(row[0]), int(row[1])) for row in self._query("SHOW BINARY LOGS")]
        except pymysql.OperationalError as error:
            raise self.missing_right(error) from error

    def gone(self, position: Position) -> str | None:
        """Say why the log cannot be read from a position; None if it can."""
        files = self.files()
        if isinstance(position, FilePosition):
            return _file_gone(position.at, dict(files))
        if isinstance(position, MariaPosition):
            return self._maria_gone(position, files[0][0])
        return self._mysql_gone(position) if isinstance(position, MySQLPosition) else None

    def _maria_gone(self, position: MariaPosition, oldest: str) -> str | None:
        begins = self.at(Coordinates(oldest, FIRST_OFFSET))
        if not begins_before(begins, position):
            return f"the binary log begins after {begins.text} and is needed from {position.text or 'its beginning'} on"
        ((state,),) = self._query("SELECT @@global.gtid_binlog_state")
        newest = _highest(str(state))
        ahead = [one for one in position.last.values() if one.number > newest.get(one.domain, 0)]
        if ahead:
            return f"the server has not written what the position {position.text} counts as read: was it reset, or is it another one?"
        return None

    def _mysql_gone(self, position: MySQLPosition) -> str | None:
        ((purged, executed),) = self._query("SELECT @@global.gtid_purged, @@global.gtid_executed")
        if not begins_before(mysql_position(str(purged)), position):
            return "the binary log no longer has transactions that are needed (they are in gtid_purged)"
        if not begins_before(position, mysql_position(str(executed))):
            return "the server has not executed what the position counts as read: was it reset, or is it another one?"
        return None


def _file_gone(at: Coordinates, files: Mapping[str, int]) -> str | None:
    if at.file not in files:
        oldest = next(iter(files), "nothing")
        return f"the binary log no longer has the file {at.file}; its oldest one is {oldest}"
    if at.offset > files[at.file]:
        return f"the file {at.file} of the binary log has {files[at.file]} bytes, and {at.offset} were read: it is another server's"
    return None


def _highest(state: str) -> dict[int, int]:
    """Return the last number of each domain of `gtid_binlog_state`, which has one GTID for each server in it."""
    highest: dict[int, int] = {}
    for part in state.split(","):
        if part.strip():
            domain, _, number = (int(each) for each in part.split("-"))
            highest[domain] = max(highest.get(domain, 0), number)
    return highest


def begins_before(earlier: Position, later: Position) -> bool:
    """Say whether everything that one position counts as read is read in the other too."""
    if isinstance(earlier, FilePosition) and isinstance(later, FilePosition):
        return earlier.at.order <= later.at.order
    if isinstance(earlier, MariaPosition) and isinstance(later, MariaPosition):
        return all(
            one.domain in later.last and one.number <= later.last[one.domain].number
            for one in earlier.last.values()
        )
    if isinstance(earlier, MySQLPosition) and isinstance(later, MySQLPosition):
        common = earlier.lower(later)
        return isinstance(common, MySQLPosition) and dict(common.sets) == dict(earlier.sets)
    return False
