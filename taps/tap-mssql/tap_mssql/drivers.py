"""The two drivers, behind one small interface: statements, small results, Arrow batches, cancel.

mssql-python brings Microsoft's driver in its wheel and reads columns; pyodbc takes any ODBC driver and reads rows.
Both are used with autocommit: transactions are begun by statements, and end with the connection.
"""

from __future__ import annotations

import contextlib
import importlib
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pyarrow as pa
from typing_extensions import override

from icetap.errors import ConfigurationError
from tap_mssql.address import connection_string

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence

    from icetap.sql.dialect import Value

FETCH_BYTES = 8 * 1024 * 1024
"""About how large one fetch is; the drivers reserve the declared width for each value."""

LONG_START_ROWS = 64
"""Rows of the first fetch with (max) columns, whose size nobody knows before; it doubles while fetches are small."""

PYODBC_ROWS = 10_000
"""More rows at once are no faster."""

_DRIVERS = ("ODBC Driver 18 for SQL Server", "ODBC Driver 17 for SQL Server", "FreeTDS")


class DriverConnection(Protocol):
    """An open connection of one driver; raises the driver's own errors."""

    def execute(self, sql: str) -> None:
        """Run statements that return nothing."""

    def rows(self, sql: str, parameters: Sequence[Value]) -> list[tuple[Any, ...]]:
        """Return a small result."""

    def batches(
        self,
        sql: str,
        parameters: Sequence[Value],
        *,
        types: Sequence[pa.DataType],
        widths: Sequence[int | None],
        most: int,
    ) -> Generator[list[pa.Array], None, None]:
        """Yield a result column by column, `most` rows at once.

        `types` are what the driver makes of each column, `widths` their bytes in its buffers, None for (max).
        """

    def cancel(self) -> None:
        """Stop what runs, from another thread."""

    def close(self) -> None:
        """Close the connection; a transaction that was begun ends with it."""


class FetchSize:
    """How many rows the next fetch asks for."""

    def __init__(self, widths: Sequence[int | None], *, most: int) -> None:
        known = sum(width + 8 for width in widths if width is not None)
        self._most = max(1, min(most, FETCH_BYTES // max(1, known)))
        self.rows = min(self._most, LONG_START_ROWS) if None in widths else self._most

    def learn(self, fetched_bytes: int) -> None:
        """Take the size of the last fetch into account."""
        if fetched_bytes > 2 * FETCH_BYTES:
            self.rows = max(1, self.rows * FETCH_BYTES // fetched_bytes)
        elif fetched_bytes < FETCH_BYTES // 2:
            self.rows = min(self._most, self.rows * 2)


class _Opened:
    """What both drivers do alike: at most one cursor that reads, and an end without complaints.

    Args:
        connection: The driver's own, with autocommit.
        query_seconds: How long a statement may run.
    """

    def __init__(self, connection: Any, *, query_seconds: int) -> None:
        self._connection = connection
        self._connection.timeout = query_seconds
        self._running: Any = None
        self._lock = threading.Lock()

    def execute(self, sql: str) -> None:
        """Run statements that return nothing."""
        self._connection.execute(sql).close()

    def rows(self, sql: str, parameters: Sequence[Value]) -> list[tuple[Any, ...]]:
        """Return a small result."""
        with self._reading(sql, parameters) as cursor:
            return [tuple(row) for row in cursor.fetchall()]

    @contextlib.contextmanager
    def _reading(self, sql: str, parameters: Sequence[Value]) -> Generator[Any, None, None]:
        """Lend a cursor that has run a query."""
        cursor = self._connection.cursor()
        self._running = cursor
        try:
            cursor.execute(sql, *([tuple(parameters)] if parameters else []))
            yield cursor
        finally:
            with self._lock:
                self._running = None
                with contextlib.suppress(Exception):  # a lost connection has no cursors any more
                    cursor.close()

    def cancel(self) -> None:
        """Stop what runs; never a cursor that is being closed."""
        with self._lock:
            if self._running is not None:
                with contextlib.suppress(Exception):  # it may have ended meanwhile
                    self._stop(self._running)

    @staticmethod
    def _stop(cursor: Any) -> None:
        cursor.cancel()

    def close(self) -> None:
        """Close the connection."""
        with contextlib.suppress(Exception):  # it may be lost already
            self._connection.close()


class MssqlPython(_Opened):
    """A connection of mssql-python."""

    def __init__(
        self,
        parts: Mapping[str, str],
        attributes: Mapping[int, bytes],
        *,
        login_seconds: int,
        query_seconds: int,
    ) -> None:
        mssql_python: Any = importlib.import_module("mssql_python")
        mssql_python.pooling(
            enabled=False
        )  # connections are open during a run only, and closed at once after
        connection = mssql_python.connect(
            connection_string(parts), autocommit=True, timeout=login_seconds, attrs_before=dict(attributes)
        )
        super().__init__(connection, query_seconds=query_seconds)

    def batches(
        self,
        sql: str,
        parameters: Sequence[Value],
        *,
        types: Sequence[pa.DataType],
        widths: Sequence[int | None],
        most: int,
    ) -> Generator[list[pa.Array], None, None]:
        """Yield Arrow columns as the driver fills them; with (max) columns, those made of its rows.

        For (max) columns the driver's Arrow reader waits for the network without letting go of Python's lock (1.16):
        nothing else could run meanwhile, not even a signal's handler or the SSH tunnel that the rows come through.
        """
        size = FetchSize(widths, most=most)
        with self._reading(sql, parameters) as cursor:
            if None in widths:
                yield from _columns_of_rows(cursor, types, size)
                return
            while True:
                batch = cursor.arrow_batch(size.rows)
                if not batch.num_rows:
                    return
                size.learn(batch.nbytes)
                yield batch.columns

    @staticmethod
    @override
    def _stop(cursor: Any) -> None:
        """Send an attention signal; the driver has it below its public interface (1.16)."""
        cursor.hstmt._cancel()  # noqa: SLF001 - there is no public way


class Pyodbc(_Opened):
    """A connection of pyodbc, by any ODBC driver."""

    def __init__(
        self,
        parts: Mapping[str, str],
        attributes: Mapping[int, bytes],
        *,
        driver: str | None,
        login_seconds: int,
        query_seconds: int,
    ) -> None:
        pyodbc = _pyodbc()
        pyodbc.pooling = False
        chosen = driver or default_odbc_driver(pyodbc.drivers())
        parts = for_freetds(parts) if is_freetds(chosen) else parts
        text = connection_string({"Driver": chosen, **parts}, doubles_braces=not is_freetds(chosen))
        connection = pyodbc.connect(
            text, autocommit=True, timeout=login_seconds, attrs_before=dict(attributes)
        )
        super().__init__(connection, query_seconds=query_seconds)

    def batches(
        self,
        sql: str,
        parameters: Sequence[Value],
        *,
        types: Sequence[pa.DataType],
        widths: Sequence[int | None],
        most: int,
    ) -> Generator[list[pa.Array], None, None]:
        """Yield columns made of the driver's rows."""
        size = FetchSize(widths, most=min(most, PYODBC_ROWS))
        with self._reading(sql, parameters) as cursor:
            yield from _columns_of_rows(cursor, types, size)


def _columns_of_rows(
    cursor: Any, types: Sequence[pa.DataType], size: FetchSize
) -> Generator[list[pa.Array], None, None]:
    while rows := cursor.fetchmany(size.rows):
        columns = zip(*rows, strict=True)
        arrays = [pa.array(values, kind) for values, kind in zip(columns, types, strict=True)]
        size.learn(sum(array.nbytes for array in arrays))
        yield arrays


def _pyodbc() -> Any:
    try:
        return importlib.import_module("pyodbc")
    except ImportError as error:
        raise ConfigurationError(
            f"setting 'driver: pyodbc' cannot be used here: {error}. It needs the package pyodbc "
            "(icetap-tap-mssql[pyodbc]) and unixODBC (the system's package 'unixodbc'); or use 'driver: mssql-python'"
        ) from None


def default_odbc_driver(installed: Sequence[str]) -> str:
    """Return the newest ODBC driver that is installed, else the one inside of mssql-python's wheel.

    Raises:
        ConfigurationError: When there is none.
    """
    for name in _DRIVERS:
        if name in installed:
            return name
    with contextlib.suppress(ImportError):
        package = importlib.import_module("mssql_python_odbc")
        libraries = Path(package.__path__[0]) / "libs" / "linux"
        found = sorted(libraries.glob("debian_ubuntu/*/lib/libmsodbcsql-*.so*"))
        if found:
            return str(found[-1])
    raise ConfigurationError(
        "no ODBC driver for SQL Server is installed. Install Microsoft's (msodbcsql18) or FreeTDS (tdsodbc), or name "
        "one by its library's path as 'odbc_driver'"
    )


def is_freetds(driver: str) -> bool:
    """Say whether this is FreeTDS, by its name or its library's."""
    return any(word in Path(driver).name.lower() for word in ("freetds", "tdsodbc"))


def for_freetds(parts: Mapping[str, str]) -> dict[str, str]:
    """Return the connection's parts in FreeTDS's words.

    Raises:
        ConfigurationError: When a certificate is to be checked, which FreeTDS's ODBC settings cannot ask for.
    """
    checks = parts["Encrypt"] != "no" and parts["TrustServerCertificate"] != "yes"
    if checks or parts["Encrypt"] == "strict":
        raise ConfigurationError(
            "'odbc_driver: FreeTDS' cannot check the server's certificate. Use Microsoft's driver, or, only in a "
            "network that you trust, set 'trust_server_certificate: true'"
        )
    host, _, port = parts["Server"].partition(",")
    own = {"Server": host, **({"Port": port} if port else {}), "TDS_Version": "7.4", "ClientCharset": "UTF-8"}
    own["Encryption"] = "require" if parts["Encrypt"] == "yes" else "off"
    kept = {
        name: value
        for name, value in parts.items()
        if name in {"Database", "UID", "PWD", "Trusted_Connection"}
    }
    if parts.get("ApplicationIntent"):
        own["ApplicationIntent"] = parts["ApplicationIntent"]
    return {**own, **kept}
