"""Opening a database file, for reading only, and reading it as Arrow."""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote, urlsplit

import adbc_driver_sqlite
import pyarrow as pa
from adbc_driver_manager import AdbcConnection, AdbcStatement, Error

from icetap.errors import ConfigurationError, DataError, IcetapError, RetriableError
from icetap.sql.dialect import RefusedValueError
from tap_sqlite.select import SENTINEL_MARK, expected_types, select_sql

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence

    from icetap.sql.dialect import Selection, Value


@dataclass(frozen=True, slots=True)
class DatabaseFile:
    """Which file to open, and how; the only place that knows these settings."""

    path: Path
    attached: Mapping[str, Path]
    immutable: bool
    busy_timeout_ms: int

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> DatabaseFile:
        """Read the settings.

        Raises:
            ConfigurationError: When a file is not there.
        """
        return cls(
            path=existing_file(config["database"], setting="database"),
            attached={
                alias: existing_file(path, setting=f"attach.{alias}")
                for alias, path in (config.get("attach") or {}).items()
            },
            immutable=bool(config.get("immutable")),
            busy_timeout_ms=int(config["busy_timeout_ms"]),
        )

    def uri(self, path: Path) -> str:
        """Return the file's URI: `mode=ro` never creates a file and refuses every write."""
        options = "?mode=ro" + ("&immutable=1" if self.immutable else "")
        return f"file:{quote(str(path))}{options}"

    def open(self) -> Connection:
        """Open the file and begin to read one snapshot of it.

        Raises:
            ConfigurationError: When it is not a database or may not be read.
            RetriableError: When a writer holds its lock for longer than `busy_timeout_ms`.
        """
        with translated(self.path):
            connection = Connection(self.uri(self.path), self.path)
        try:
            connection.rows(f"PRAGMA busy_timeout = {self.busy_timeout_ms}")
            connection.rows("PRAGMA trusted_schema = OFF")
            for alias, path in self.attached.items():
                connection.rows("ATTACH DATABASE ?1 AS " + quoted(alias), (self.uri(path),))
            connection.rows("BEGIN")
            connection.rows("SELECT count(*) FROM sqlite_schema")
        except BaseException:
            connection.close()
            raise
        return connection


def existing_file(text: str, *, setting: str) -> Path:
    """Return the path of a file that exists; `sqlite:///path` and `file:` URLs are understood.

    Raises:
        ConfigurationError: When there is no such file.
    """
    if text.startswith(("sqlite:", "file:")):
        address = urlsplit(text)
        text = unquote(address.path)
        if address.scheme == "sqlite":
            text = text.removeprefix("/")  # sqlite:///relative, sqlite:////absolute
    path = Path(text).expanduser()
    if path.is_dir():
        raise ConfigurationError(f"setting '{setting}': {path} is a folder; give the database file in it")
    if not path.exists():
        raise ConfigurationError(
            f"setting '{setting}': there is no file {path} (seen from {Path.cwd()}). Nothing was created."
        )
    return path.absolute()


def quoted(name: str) -> str:
    """Return a name as an identifier."""
    return '"' + name.replace('"', '""') + '"'


class Connection:
    """One open file in one read transaction.

    The driver is used below its DB-API, whose import takes a second where pandas is installed.
    """

    def __init__(self, uri: str, path: Path) -> None:
        self._database = adbc_driver_sqlite.connect(uri)
        self._adbc = AdbcConnection(self._database)
        self._path = path
        self._running: AdbcStatement | None = None

    def rows(self, sql: str, parameters: Sequence[Value] = ()) -> list[tuple[Any, ...]]:
        """Return a small result as tuples."""
        with translated(self._path), AdbcStatement(self._adbc) as statement:
            result = _executed(statement, sql, parameters).read_all()
            # By position: names of columns may repeat.
            return list(zip(*(column.to_pylist() for column in result.columns), strict=True))

    def read(self, selection: Selection, *, batch_rows: int) -> Generator[pa.RecordBatch, None, None]:
        """Yield the rows of a selection.

        The driver takes a column's type from its first values, so the statement begins with a row of
        our own that has the expected ones; that row is dropped here. Values that do not fit make the
        driver fail later, or turn up as another type at once.
        """
        with translated(self._path), AdbcStatement(self._adbc) as statement:
            self._running = statement
            try:
                statement.set_options(**{"adbc.sqlite.query.batch_rows": str(batch_rows)})
                with _executed(statement, select_sql(selection), selection.parameters) as reader:
                    _check_types(reader.schema, selection)
                    yield from _without_sentinel(reader)
            finally:
                self._running = None

    def export_snapshot(self) -> None:
        """SQLite's read transactions cannot be shared."""

    def cancel(self) -> None:
        """Interrupt what runs; the driver cannot in version 1.13, later ones may."""
        running = self._running
        if running is not None:
            with contextlib.suppress(Error):
                running.cancel()

    def close(self) -> None:
        """Close the file, unless a statement still runs that could not be interrupted."""
        if self._running is not None:
            return
        self._adbc.close()
        self._database.close()


def _executed(statement: AdbcStatement, sql: str, parameters: Sequence[Value]) -> pa.RecordBatchReader:
    statement.set_sql_query(sql)
    statement.prepare()
    if parameters:
        names = [str(number) for number in range(1, len(parameters) + 1)]
        statement.bind(pa.record_batch([pa.array([value]) for value in parameters], names=names))
    handle, _ = statement.execute_query()
    return pa.RecordBatchReader.from_stream(handle)


def _check_types(schema: pa.Schema, selection: Selection) -> None:
    for expected, found in zip(expected_types(selection), schema.types, strict=True):
        if expected is not None and expected != found:
            raise RefusedValueError


def _without_sentinel(reader: pa.RecordBatchReader) -> Generator[pa.RecordBatch, None, None]:
    is_first = True
    for batch in reader:
        rows = batch
        if is_first:
            if batch.columns[-1][0].as_py() != SENTINEL_MARK:
                raise RuntimeError("SQLite returned the rows in another order than they were asked for")
            rows = batch.slice(1)
            is_first = False
        if rows.num_rows:
            yield rows


@contextlib.contextmanager
def translated(path: Path) -> Generator[None, None, None]:
    """Turn the driver's errors into ours: what was found, what to do."""
    try:
        yield
    except (Error, OSError) as error:
        raise _translation(str(error), path) from error


# What the driver puts in front of SQLite's own words; it appends the statement on lines of its own.
_DRIVER_PREFIX = re.compile(
    r"^(?:[A-Z_]+: )?(?:\[SQLite\] )?(?:failed to [a-z ]+: |failed to open '.*?': )?", re.IGNORECASE
)


# "bad JSON path: '…'": what SQLite quotes like this is data; names are in double quotes or in none.
_VALUE = re.compile(r"'.*")


def _translation(text: str, path: Path) -> Exception:
    first_line = text.splitlines()[0]
    if "Type mismatch in column" in first_line:
        return RefusedValueError()
    reason = _VALUE.sub("'…'", _DRIVER_PREFIX.sub("", first_line))
    for sign, kind, advice in _TRANSLATIONS:
        if sign in first_line:
            return kind(f"{path}: {reason}. {advice}")
    return IcetapError(f"{path}: {reason}")


_TRANSLATIONS: tuple[tuple[str, type[IcetapError], str], ...] = (
    ("not a database", ConfigurationError, "It is no SQLite file, or it is encrypted: decrypt a copy first."),
    (
        "is locked",
        RetriableError,
        "A writer held its lock for longer than 'busy_timeout_ms'; run again, or raise the setting.",
    ),
    ("JSON", DataError, "The database could not compute a value of a view or a query: correct its SQL."),
    ("malformed", DataError, "The file is damaged: restore it, or save what is left with `.recover`."),
    (
        "unable to open",
        ConfigurationError,
        (
            "Check that this user may read the file, and may write its folder if the database is in WAL mode; "
            "set 'immutable: true' for a file on read-only media that nobody writes."
        ),
    ),
    ("failed to open", ConfigurationError, "Check that this user may read the file and its folder."),
    (
        "too many columns",
        ConfigurationError,
        "A statement returns 2,000 at most, and columns without a declared type take three: deselect some.",
    ),
    ("no such", ConfigurationError, "Check the names in 'queries' and 'where', or discover again."),
    ("syntax error", ConfigurationError, "Check the SQL in 'queries' and 'where'."),
    ("INVALID_ARGUMENT", ConfigurationError, "Check the SQL in 'queries' and 'where'."),
)
