"""LOG_BASED by change tracking: what changed since a version, once, as it is now."""

from __future__ import annotations

import pytest

from icetap.errors import ConfigurationError, SkippableError, StateError
from icetap.sql.dialect import Table
from icetap.testing.tds import ServerError
from tap_mssql.change_tracking import changes_sql
from tap_mssql.types import Declared, column

LOG = {"streams": {"dbo-*": {"replication_method": "LOG_BASED"}}}
ON = "ALTER DATABASE CURRENT SET CHANGE_TRACKING = ON (CHANGE_RETENTION = 2 DAYS, AUTO_CLEANUP = ON)"


@pytest.fixture
def tracked(database):
    database.execute(
        ON,
        "CREATE TABLE dbo.t (id int PRIMARY KEY, name nvarchar(20), at datetime2(7))",
        "INSERT INTO dbo.t VALUES (1, N'a', '2024-01-01'), (2, N'b', NULL), (3, N'c', NULL)",
        "ALTER TABLE dbo.t ENABLE CHANGE_TRACKING",
    )
    return database


def seen(out, stream="dbo-t"):
    return [
        (record["id"], record.get("name"), record["_sdc_deleted_at"] is not None)
        for record in out.records(stream)
    ]


def test_the_first_run_reads_everything_and_the_next_one_what_changed(tracked, sync):
    first = sync(tracked, **LOG)
    assert seen(first) == [(1, "a", False), (2, "b", False), (3, "c", False)]
    assert len(first.of("ACTIVATE_VERSION")) == 1
    tracked.execute(
        "INSERT INTO dbo.t VALUES (4, N'd', NULL)",
        "UPDATE dbo.t SET name = N'B' WHERE id = 2",
        "DELETE FROM dbo.t WHERE id = 3",
    )
    second = sync(tracked, state=first.state, **LOG)
    assert sorted(seen(second)) == [(2, "B", False), (3, None, True), (4, "d", False)]
    assert second.of("ACTIVATE_VERSION") == []
    assert sync(tracked, state=second.state, **LOG).records() == []


def test_the_schema_says_that_deletions_and_versions_come(tracked, sync):
    properties = sync(tracked, **LOG).schema("dbo-t")
    assert properties["_sdc_deleted_at"]["type"] == ["string", "null"]
    assert properties["_sdc_change_version"]["type"] == ["integer", "null"]


def test_only_the_last_state_of_a_row_comes(tracked, sync):
    first = sync(tracked, **LOG)
    tracked.execute(
        "INSERT INTO dbo.t VALUES (9, N'x', NULL)",
        "DELETE FROM dbo.t WHERE id = 9",
        "UPDATE dbo.t SET name = N'one' WHERE id = 1",
        "UPDATE dbo.t SET name = N'two' WHERE id = 1",
    )
    assert sorted(seen(sync(tracked, state=first.state, **LOG))) == [(1, "two", False), (9, None, True)]


def test_a_statement_that_failed_changes_nothing_and_those_after_it_are_seen(tracked, sync):
    first = sync(tracked, **LOG)
    with pytest.raises(Exception, match=r"UNIQUE|duplicate key"):
        tracked.execute("INSERT INTO dbo.t VALUES (1, N'again', NULL)")
    tracked.execute("DELETE FROM dbo.t WHERE id = 2", "INSERT INTO dbo.t VALUES (2, N'again', NULL)")
    assert seen(sync(tracked, state=first.state, **LOG)) == [(2, "again", False)]


def test_a_changed_key_is_a_deletion_and_an_insertion(tracked, sync):
    first = sync(tracked, **LOG)
    tracked.execute("UPDATE dbo.t SET id = 30 WHERE id = 3")
    assert sorted(seen(sync(tracked, state=first.state, **LOG))) == [(3, None, True), (30, "c", False)]


def test_keys_of_all_kinds_come_with_their_deletions(database, sync):
    database.execute(
        ON,
        "CREATE TABLE dbo.t (g uniqueidentifier, n decimal(10,2), at datetime2(7), name nvarchar(5), PRIMARY KEY (g, n, at))",
        "ALTER TABLE dbo.t ENABLE CHANGE_TRACKING",
        "INSERT INTO dbo.t VALUES ('6F9619FF-8B86-D011-B42D-00C04FC964FF', 1.50, '2024-01-01T00:00:00.5', N'x')",
    )
    first = sync(database, **LOG)
    database.execute("DELETE FROM dbo.t WHERE n = 1.50")
    (record,) = sync(database, state=first.state, **LOG).records()
    assert (record["g"], str(record["n"]), record["at"], record["name"]) == (
        "6f9619ff-8b86-d011-b42d-00c04fc964ff", "1.50", "2024-01-01T00:00:00.500000", None,
    )  # fmt: skip
    assert record["_sdc_deleted_at"]


def test_changes_travel_in_the_arrow_lane_too(tracked, sync, tmp_path):
    first = sync(tracked, **LOG)
    tracked.execute("DELETE FROM dbo.t WHERE id = 1", "UPDATE dbo.t SET name = N'B' WHERE id = 2")
    table = sync(
        tracked, state=first.state, batch_config={"storage": {"root": str(tmp_path / "b")}}, **LOG
    ).table()
    rows = {row["id"]: row for row in table.to_pylist()}
    assert rows[1]["name"] is None
    assert rows[1]["_sdc_deleted_at"] is not None
    assert (rows[2]["name"], rows[2]["_sdc_deleted_at"]) == ("B", None)


def test_a_truncated_table_is_read_again_as_a_new_version(tracked, sync):
    first = sync(tracked, **LOG)
    tracked.execute("TRUNCATE TABLE dbo.t", "INSERT INTO dbo.t VALUES (7, N'new', NULL)")
    second = sync(tracked, state=first.state, **LOG)
    assert seen(second) == [(7, "new", False)]
    assert second.of("ACTIVATE_VERSION")[-1]["version"] > first.of("ACTIVATE_VERSION")[-1]["version"]


def cleaned_up(database):
    with database.fake.open() as connection:
        database.fake.catalogue.forget(connection, database.fake.catalogue.table("dbo", "t"))


def test_changes_that_were_cleaned_up_mean_that_the_next_run_reads_everything(tracked, fake, sync, caplog):
    first = sync(tracked, **LOG)
    tracked.execute("DELETE FROM dbo.t WHERE id = 1")
    cleaned_up(fake)
    second = sync(tracked, state=first.state, **LOG)
    assert "the next run reads the whole table" in caplog.text
    assert "raise CHANGE_RETENTION" in caplog.text
    third = sync(tracked, state=second.state, **LOG)
    assert seen(third) == [(2, "b", False), (3, "c", False)]
    assert len(third.of("ACTIVATE_VERSION")) == 1


def test_a_clean_up_while_changes_are_read_is_noticed(tracked, fake, sync, monkeypatch):
    first = sync(tracked, **LOG)
    tracked.execute("UPDATE dbo.t SET name = N'A' WHERE id = 1")
    from tap_mssql import change_tracking

    read = change_tracking._read

    def read_late(*arguments):
        yield from read(*arguments)
        tracked.execute("UPDATE dbo.t SET name = N'AA' WHERE id = 1")
        cleaned_up(fake)

    monkeypatch.setattr(change_tracking, "_read", read_late)
    second = sync(tracked, state=first.state, **LOG)
    monkeypatch.undo()
    assert seen(sync(tracked, state=second.state, **LOG)) == [
        (1, "AA", False),
        (2, "b", False),
        (3, "c", False),
    ]


def test_what_changes_during_the_first_read_comes_by_the_log(tracked, sync, monkeypatch):
    from tap_mssql.change_tracking import ChangeTracking

    snapshot = ChangeTracking.snapshot

    def late(self):
        taken = snapshot(self)
        original = taken.__enter__

        def enter():
            made = original()
            tracked.execute("UPDATE dbo.t SET name = N'late' WHERE id = 1", "DELETE FROM dbo.t WHERE id = 2")
            return made

        taken.__enter__ = enter
        return _Entered(taken, enter)

    class _Entered:
        def __init__(self, taken, enter):
            self.taken, self.enter = taken, enter

        def __enter__(self):
            return self.enter()

        def __exit__(self, *raised):
            return self.taken.__exit__(*raised)

    monkeypatch.setattr(ChangeTracking, "snapshot", late)
    out = sync(tracked, **LOG)
    assert sorted(seen(out)) == [(1, "late", False), (1, "late", False), (2, None, True), (3, "c", False)]


def test_without_snapshots_rows_may_come_twice_but_none_is_lost(tracked, fake, sync):
    fake.fake.has_snapshots = False
    fake.execute("ALTER DATABASE CURRENT SET ALLOW_SNAPSHOT_ISOLATION OFF")
    first = sync(tracked, **LOG)
    assert not any("BEGIN TRANSACTION" in sql for sql in fake.fake.statements)
    tracked.execute("UPDATE dbo.t SET name = N'A' WHERE id = 1")
    assert seen(sync(tracked, state=first.state, **LOG)) == [(1, "A", False)]


def test_tables_are_followed_together_from_positions_of_their_own(tracked, sync):
    tracked.execute(
        "CREATE TABLE dbo.u (id int PRIMARY KEY, name nvarchar(5))",
        "ALTER TABLE dbo.u ENABLE CHANGE_TRACKING",
    )
    first = sync(tracked, **LOG)
    tracked.execute("INSERT INTO dbo.u VALUES (1, N'u')")
    state = {"bookmarks": {"dbo-t": first.bookmark("dbo-t")}}
    out = sync(tracked, state=state, **LOG)
    assert seen(out, "dbo-u") == [(1, "u", False)]
    assert seen(out, "dbo-t") == []


@pytest.mark.parametrize(
    ("statements", "says"),
    [
        pytest.param([], "ALTER DATABASE CURRENT SET CHANGE_TRACKING = ON", id="off-in-the-database"),
        pytest.param([ON], r"ALTER TABLE \[dbo\]\.\[t\] ENABLE CHANGE_TRACKING", id="off-for-the-table"),
    ],
)
def test_what_a_dba_has_to_switch_on_is_said(database, sync, statements, says):
    database.execute("CREATE TABLE dbo.t (id int PRIMARY KEY)", *statements)
    with pytest.raises(ConfigurationError, match=says):
        sync(database, **LOG)


def test_a_missing_right_is_told_from_a_missing_switch(tracked, fake, sync):
    fake.fake.catalogue.denied.add(("[dbo].[t]", "VIEW CHANGE TRACKING"))
    with pytest.raises(ConfigurationError, match="GRANT VIEW CHANGE TRACKING"):
        sync(tracked, **LOG)


def test_a_table_without_a_primary_key_is_refused_with_the_way_out(database, sync):
    database.execute(ON, "CREATE TABLE dbo.t (id int)")
    with pytest.raises(ConfigurationError, match="no primary key"):
        sync(database, **LOG)


def test_an_untracked_table_stops_no_other(tracked, sync, caplog):
    caplog.set_level("INFO")
    tracked.execute("CREATE TABLE dbo.untracked (id int PRIMARY KEY)")
    with pytest.raises(SkippableError, match=r"untracked.*ENABLE CHANGE_TRACKING"):
        sync(tracked, **LOG)
    assert "Change log: 0 changes" in caplog.text


def test_a_bookmark_ahead_of_the_database_is_a_restored_database(tracked, sync):
    first = sync(tracked, **LOG)
    bookmark = {**first.bookmark("dbo-t"), "log_position": "999999"}
    with pytest.raises(StateError, match="ahead of the database's"):
        sync(tracked, state={"bookmarks": {"dbo-t": bookmark}}, **LOG)


def test_the_test_command_tells_how_long_changes_are_kept(tracked, command):
    done = command("--test", **tracked.config, **LOG)
    assert done.returncode == 0, done.stdout
    assert b"changes are kept for 2 days" in done.stdout
    assert b"changes are known since version" in done.stdout


def test_a_lost_connection_while_following_is_made_anew(tracked, fake, sync, monkeypatch):
    monkeypatch.setattr("icetap.waiting.FIRST_WAIT_SECONDS", 0.01)
    first = sync(tracked, **LOG)
    tracked.execute("UPDATE dbo.t SET name = N'A' WHERE id = 1")
    fake.fake.fail["CHANGETABLE"] = [
        ServerError(
            1205, "Transaction (Process ID 51) was deadlocked on lock resources with another process."
        )
    ]
    assert seen(sync(tracked, state=first.state, **LOG)) == [(1, "A", False)]


def test_the_statement_for_changes_is_this():
    table = Table("dbo-t", "dbo", "t", "table", "[dbo].[t]", (), key=("id",))
    from icetap.sql.change_log import Followed

    columns = (column("id", Declared("uniqueidentifier", 16)), column("a]b", Declared("nvarchar", 40)))
    assert changes_sql(Followed(table, ("id",), columns)) == (
        "SELECT CAST(c.[icetap operation] AS nchar(1)), CAST([icetap key 0] AS char(36)), CAST([id] AS char(36)), [a]]b] "
        "FROM (SELECT ct.SYS_CHANGE_OPERATION AS [icetap operation], ct.[id] AS [icetap key 0] "
        "FROM CHANGETABLE(CHANGES [dbo].[t], @icetap1) AS ct) AS c "
        "LEFT JOIN [dbo].[t] AS t ON t.[id] = c.[icetap key 0] "
        "WHERE c.[icetap operation] = N'D' OR t.[id] IS NOT NULL"
    )
