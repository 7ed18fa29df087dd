"""pyodbc: by Microsoft's driver of mssql-python's wheel, and by FreeTDS; the same rows as by mssql-python."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

import pytest

from icetap.errors import ConfigurationError, SkippableError
from icetap.testing.odbc import driver_library
from icetap.testing.servers import LEDGER
from icetap.testing.tds import ServerError
from tap_mssql.drivers import default_odbc_driver

pytestmark = pytest.mark.servers

FREETDS = (os.environ.get("ICETAP_TEST_FREETDS", ""), "/usr/lib/x86_64-linux-gnu/odbc/libtdsodbc.so", "/usr/lib/aarch64-linux-gnu/odbc/libtdsodbc.so")  # fmt: skip

COLUMNS = (
    "id int PRIMARY KEY, t tinyint, b bigint, y bit, d decimal(38,10), m money, f float, r real, c char(3), v varchar(20), "
    "n nvarchar(20), x nvarchar(max), bn binary(3), vb varbinary(max), g uniqueidentifier, day date, tm time(7), "
    "dt datetime, sdt smalldatetime, d2 datetime2(7), off datetimeoffset(7), rv rowversion"
)
VALUES = (
    "1, 255, -9223372036854775808, 1, -1234567890123456789012345678.0123456789, 1.5, 0.1, 0.5, 'a', 'é€', N'é☃𝄞', "
    "N'long', 0x00FF10, 0x0102, '6F9619FF-8B86-D011-B42D-00C04FC964FF', '0001-01-01', '23:59:59.9999999', "
    "'2024-01-01T00:00:00.003', '2024-01-01T00:01:00', '9999-12-31T23:59:59.9999999', '2024-05-05 12:34:56.1234567 +05:30'"
)
NAMES = [part.split()[0] for part in COLUMNS.split(", ") if not part.endswith("rowversion")]


@pytest.fixture(params=["microsoft", "freetds"])
def driver(request, database):
    """The settings for one ODBC driver; skips, aloud, what this machine does not have."""
    try:
        ctypes.CDLL("libodbc.so.2")
    except OSError:
        LEDGER.missing["pyodbc"] = "unixODBC (libodbc.so.2) is not installed"
        pytest.skip("unixODBC (libodbc.so.2) is not installed")
    if request.param == "microsoft":
        return {"driver": "pyodbc", "odbc_driver": str(driver_library())}
    found = next((path for path in FREETDS if path and Path(path).exists()), None)
    if found is None:
        LEDGER.missing["FreeTDS"] = "libtdsodbc.so is not installed"
        pytest.skip("libtdsodbc.so is not installed")
    return {"driver": "pyodbc", "odbc_driver": found}


def test_every_type_arrives_as_by_the_other_driver(database, driver, sync, tmp_path):
    literals = ", ".join(NAMES)
    database.execute(
        f"CREATE TABLE dbo.t ({COLUMNS})",
        f"INSERT INTO dbo.t ({literals}) VALUES ({VALUES})",
        "INSERT INTO dbo.t (id) VALUES (2)",
    )
    arrow = {"batch_config": {"storage": {"root": str(tmp_path / "b")}}}
    assert sync(database, **driver).records() == sync(database).records()
    assert sync(database, **driver, **arrow).table().equals(sync(database, **arrow).table())


def test_incremental_reads_and_positions_bind_their_values(database, driver, sync):
    database.execute(
        "CREATE TABLE dbo.t (g uniqueidentifier, n nvarchar(5), at datetime2(7), PRIMARY KEY (g, n))"
    )
    database.execute(
        "INSERT INTO dbo.t VALUES ('6F9619FF-8B86-D011-B42D-00C04FC964FF', N'a', '2024-01-01'), "
        "('6F9619FF-8B86-D011-B42D-00C04FC964FF', N'b', '2024-01-02T00:00:00.5')"
    )
    options = {"dbo-t": {"replication_method": "INCREMENTAL", "replication_key": "at", "lookback_seconds": 1}}
    first = sync(database, streams=options, **driver)
    assert [
        record["n"] for record in sync(database, state=first.state, streams=options, **driver).records()
    ] == ["b"]
    position = {"version": 5, "position": {"g": "6F9619FF-8B86-D011-B42D-00C04FC964FF", "n": "a"}}
    resumed = sync(database, state={"bookmarks": {"dbo-t": position}}, **driver)
    assert [record["n"] for record in resumed.records()] == ["b"]


def test_changes_are_followed(database, driver, sync):
    log = {"streams": {"dbo-t": {"replication_method": "LOG_BASED"}}}
    database.execute(
        "ALTER DATABASE CURRENT SET CHANGE_TRACKING = ON",
        "CREATE TABLE dbo.t (id int PRIMARY KEY)",
        "ALTER TABLE dbo.t ENABLE CHANGE_TRACKING",
        "INSERT INTO dbo.t VALUES (1)",
    )
    first = sync(database, **log, **driver)
    database.execute("DELETE FROM dbo.t WHERE id = 1")
    (record,) = sync(database, state=first.state, **log, **driver).records()
    assert record["id"] == 1
    assert record["_sdc_deleted_at"]


def test_errors_are_known_by_their_numbers_in_any_language(fake, driver, sync):
    fake.execute("CREATE TABLE dbo.t (id int PRIMARY KEY)")
    fake.fake.fail["FROM [dbo].[t]"] = [
        ServerError(1205, "Die Transaktion wurde als Deadlockopfer ausgewählt.") for _ in range(9)
    ]
    with pytest.raises(SkippableError, match=r"1205\)\. The run goes on from its last STATE"):
        sync(fake, max_retries=0, **driver)
    fake.fake.fail.clear()
    with pytest.raises(ConfigurationError, match="'password'"):
        sync(fake, password="wrong", **driver)


def test_without_an_installed_driver_the_one_of_the_wheel_is_taken():
    assert default_odbc_driver([]).endswith(driver_library().name)
    assert default_odbc_driver(["FreeTDS"]) == "FreeTDS"
