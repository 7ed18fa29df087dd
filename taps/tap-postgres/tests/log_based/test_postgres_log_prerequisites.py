"""What LOG_BASED needs, and what it says when that is not there; nothing that would harm the source is done."""

from __future__ import annotations

import threading
import uuid
from dataclasses import replace

import pytest

from icetap.columnar.sender import Sender
from icetap.errors import ConfigurationError, SkippableError, StateError
from icetap.testing.databases import postgres
from tap_postgres.log_based.change_log import is_visible
from tap_postgres.log_based.checks import log_problem
from tap_postgres.log_based.server_state import ServerFacts

WHOLE = {"*": {"replication_method": "LOG_BASED"}}


def publications(source):
    return source.execute("SELECT pubname::text FROM pg_publication")


# --- tables -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("statements", "message"),
    [
        pytest.param(
            ["CREATE TABLE t (a int)"], 'ALTER TABLE "public"."t" REPLICA IDENTITY FULL', id="no-key"
        ),
        pytest.param(
            ["CREATE TABLE t (a int PRIMARY KEY)", "ALTER TABLE t REPLICA IDENTITY NOTHING"],
            "identifies changed rows by nothing",
            id="identity-nothing",
        ),
        pytest.param(["CREATE UNLOGGED TABLE t (a int PRIMARY KEY)"], "unlogged table", id="unlogged"),
    ],
)
def test_a_table_whose_changes_the_log_cannot_tell_is_refused_and_nothing_is_made(log, statements, message):
    """A publication with such a table would make the application's own updates of it fail."""
    source = log(*statements)

    with pytest.raises(ConfigurationError, match=message):
        source.run()
    assert publications(source) == []
    assert source.execute("SELECT * FROM pg_replication_slots WHERE database = current_database()") == []


def test_what_has_no_log_is_read_by_another_method_when_all_are_log_based(items, caplog):
    items.execute("CREATE VIEW v AS SELECT * FROM items", "CREATE MATERIALIZED VIEW m AS SELECT 1 AS id")
    streams = {**WHOLE, "by_id": {"replication_key": "id"}}
    queries = [{"name": "by_id", "sql": "SELECT id FROM items", "replication_key": "id"}]

    catalog = items.discover(streams=streams, queries=queries)
    first = items.run(streams=streams, queries=queries, catalog=catalog)
    again = items.run(streams=streams, queries=queries, catalog=catalog)

    assert len(first.records("public-items")) == len(first.records("public-v")) == 2
    assert [len(again.records(name)) for name in ("public-items", "public-v", "public-m")] == [0, 2, 1]
    assert again.state["bookmarks"]["by_id"]["replication_key_value"] == 2
    assert (
        "Stream public-v: a view has no change log for LOG_BASED, so it is read by FULL_TABLE" in caplog.text
    )
    assert (
        "Stream by_id: a query has no change log for LOG_BASED, so it is read by INCREMENTAL" in caplog.text
    )
    assert items.execute("SELECT tablename::text FROM pg_publication_tables") == [("items",)]


def test_a_view_that_is_log_based_by_its_name_is_refused(items):
    items.execute("CREATE VIEW v AS SELECT 1 AS a")

    with pytest.raises(SkippableError, match="only tables have a change log"):
        items.run(streams={**WHOLE, "public-v": {"replication_method": "LOG_BASED"}})


def test_a_new_table_without_key_is_left_out_and_the_others_are_followed(items, caplog):
    """It may come at any time: under `"*": LOG_BASED` it must not stop what has run for months."""
    items.run(streams=WHOLE)
    items.execute("CREATE TABLE keyless (a int)", "INSERT INTO items VALUES (9, 'new')")

    with pytest.raises(SkippableError, match=r"1 stream could not be read.*keyless.*REPLICA IDENTITY FULL"):
        items.run(streams=WHOLE)
    assert "Stream public-keyless is left out" in caplog.text

    items.execute("ALTER TABLE keyless REPLICA IDENTITY FULL", "INSERT INTO keyless VALUES (1)")
    again = items.run(streams=WHOLE)
    assert len(again.records("public-items")) == 1
    assert len(again.records("public-keyless")) == 1


def test_a_key_that_the_log_does_not_have_is_refused(items):
    items.execute("ALTER TABLE items ALTER name SET NOT NULL")
    options = {"*": {"replication_method": "LOG_BASED", "key_properties": ["name"]}}

    with pytest.raises(ConfigurationError, match="by id, and the stream has name"):
        items.run(streams=options)


def test_a_part_of_a_partitioned_table_is_refused(log):
    source = log(
        "CREATE TABLE p (id int PRIMARY KEY) PARTITION BY RANGE (id)",
        "CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10)",
    )

    with pytest.raises(SkippableError, match="Select the whole instead"):
        source.run(include_partitions=True)


def test_a_row_filter_is_refused(items):
    options = {"*": {"replication_method": "LOG_BASED", "where": "id > 1"}}

    with pytest.raises(ConfigurationError, match="'where', which a change log cannot apply"):
        items.run(streams=options)


def test_a_table_whose_rows_are_hidden_from_the_user_is_refused(items):
    user = new_user(items)
    items.execute("ALTER TABLE items ENABLE ROW LEVEL SECURITY", f"GRANT SELECT ON items TO {user}")

    with pytest.raises(ConfigurationError, match="row-level security"):
        items.run(user=user, password="secret")


# --- rights -----------------------------------------------------------------------------------------------


def new_user(source, options=""):
    name = f"reader_{uuid.uuid4().hex[:8]}"
    source.execute(
        f"CREATE ROLE {name} LOGIN PASSWORD 'secret' {options}", f"GRANT USAGE ON SCHEMA public TO {name}"
    )
    return name


def test_a_user_who_may_not_make_the_publication_is_told_what_a_dba_runs(items):
    user = new_user(items, "REPLICATION")
    items.execute(f"GRANT SELECT ON items TO {user}")
    settings = {"user": user, "password": "secret"}

    with pytest.raises(ConfigurationError, match=r"has to run: (CREATE PUBLICATION .*);") as caught:
        items.run(**settings)
    assert "permission denied for database" in str(caught.value)
    assert "Grant the user SELECT" not in str(caught.value)
    statement = str(caught.value).partition("has to run: ")[2]
    items.execute(statement)

    assert len(items.run(**settings).records()) == 2
    items.execute("INSERT INTO items VALUES (3, 'x')")
    assert len(items.run(**settings).records()) == 1


def test_a_user_who_may_not_replicate_is_told_what_a_dba_runs(items):
    user = new_user(items)
    items.execute(f"GRANT SELECT ON items TO {user}", "CREATE PUBLICATION icetap FOR TABLE items")

    with pytest.raises(ConfigurationError, match=rf'ALTER ROLE "{user}" REPLICATION'):
        items.run(user=user, password="secret")


def test_a_role_that_only_reads_may_own_what_it_publishes(items):
    user = new_user(items, "REPLICATION")
    items.execute(
        f"GRANT CREATE ON DATABASE {items.database.name} TO {user}",
        f"ALTER TABLE items OWNER TO {user}",
        f"ALTER ROLE {user} SET default_transaction_read_only = on",
    )

    assert len(items.run(user=user, password="secret").records()) == 2


def test_create_replication_off_makes_nothing(items):
    with pytest.raises(ConfigurationError, match="CREATE PUBLICATION"):
        items.run(create_replication=False)
    items.execute("CREATE PUBLICATION icetap FOR TABLE items")
    with pytest.raises(ConfigurationError, match="pg_create_logical_replication_slot"):
        items.run(create_replication=False)
    items.execute(f"SELECT pg_create_logical_replication_slot('{items.slot}', 'pgoutput')")

    assert len(items.run(create_replication=False).records()) == 2


@pytest.mark.parametrize(
    ("publication", "message"),
    [
        pytest.param("FOR TABLE items WITH (publish = 'insert')", "does not tell all changes", id="kinds"),
        pytest.param("FOR TABLE items WHERE (id > 1)", "filters rows", id="rows"),
        pytest.param("FOR TABLE items (id)", "leaves out columns.*: name", id="columns"),
    ],
)
def test_a_publication_that_leaves_something_out_is_refused(items, publication, message):
    items.execute(f"CREATE PUBLICATION icetap {publication}")

    with pytest.raises(ConfigurationError, match=message):
        items.run()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        pytest.param({"version": 120022}, "from PostgreSQL 13 on", id="too-old"),
        pytest.param(
            {"is_standby": True, "version": 150004}, "read replica from PostgreSQL 16 on", id="replica"
        ),
        pytest.param({"wal_level": "replica"}, "wal_level = logical", id="log"),
        pytest.param({}, None, id="good"),
    ],
)
def test_a_server_whose_log_cannot_be_read_is_told(changed, message):
    facts = ServerFacts(150000, "logical", False, "1", "u", "d", True, False, 0, 10)
    problem = log_problem(replace(facts, **changed))

    assert problem is None if message is None else message in problem


def test_a_publication_of_all_tables_serves(items):
    items.execute("CREATE PUBLICATION everything FOR ALL TABLES")

    assert len(items.run(publication_name="everything").records()) == 2
    assert publications(items) == [("everything",)]


def test_a_slot_of_another_database_is_left_alone(items, database):
    other = database(f"SELECT pg_create_logical_replication_slot('{items.slot}', 'pgoutput')")

    with pytest.raises(
        ConfigurationError, match=rf"in the database '{other.name}'.*Give another 'replication_slot_name'"
    ):
        items.run()


# --- servers of the test's own ----------------------------------------------------------------------------


def test_a_slot_that_lost_its_log_is_told_apart_and_made_anew_by_a_full_run(tight_server, sync, command):
    source = tight_server("CREATE TABLE t (id int PRIMARY KEY)", "INSERT INTO t VALUES (1)")
    run = {"replication_slot_name": "tight", "streams": WHOLE}
    state = sync(source, **run).state
    for _ in range(4):
        source.execute(
            "SELECT pg_switch_wal()", "SELECT pg_logical_emit_message(false, '', 'x')", "CHECKPOINT"
        )

    with pytest.raises(StateError, match=r"has lost its log.*--full-refresh"):
        sync(source, state=state, **run)
    tested = command("--test", **source.config, **run)
    assert tested.returncode == 1
    assert b"has lost its log" in tested.stdout

    assert len(sync(source, **run).records()) == 1


def test_a_second_slot_for_a_new_stream_is_missing(tight_server, sync):
    source = tight_server("CREATE TABLE t (id int PRIMARY KEY)")
    run = {"replication_slot_name": "only", "streams": WHOLE}
    state = sync(source, **run).state
    source.execute(
        "CREATE TABLE late (id int PRIMARY KEY)",
        "SELECT pg_create_logical_replication_slot('of_others', 'pgoutput')",
    )

    with pytest.raises(ConfigurationError, match="2 of max_replication_slots = 2 are taken"):
        sync(source, state=state, **run)


def test_a_server_that_is_restarted_while_it_is_followed_is_asked_again(
    tight_server, sync, monkeypatch, caplog
):
    monkeypatch.setattr("icetap.waiting.FIRST_WAIT_SECONDS", 0.3)
    source = tight_server("CREATE TABLE t (id int PRIMARY KEY)")
    run = {"replication_slot_name": "restarted", "streams": WHOLE}
    state = sync(source, **run).state
    process = source.server.process

    def restart() -> None:
        source.execute("INSERT INTO t VALUES (1)")
        process.stop()
        process.start()
        source.execute("INSERT INTO t VALUES (2)")

    timer = threading.Timer(0.7, restart)
    timer.start()
    output = sync(source, state=state, idle_exit_seconds=3, **run)
    timer.join()

    assert [record["id"] for record in output.records()] in ([1, 2], [1, 1, 2])
    assert "attempt 2 of" in caplog.text


def test_a_server_that_is_restarted_during_the_first_read_is_read_on(tight_server, sync, monkeypatch):
    monkeypatch.setattr("tap_postgres.chunks.CHUNK_BYTES", 100_000)
    monkeypatch.setattr("icetap.waiting.FIRST_WAIT_SECONDS", 0.3)
    source = tight_server(
        "CREATE TABLE t (id int PRIMARY KEY, pad text)",
        "INSERT INTO t SELECT i, repeat('x', 100) FROM generate_series(1, 5000) AS i",
        "ANALYZE t",
    )
    write, calls = Sender.write, []

    def restarting(self, batch):
        calls.append(batch.num_rows)
        if len(calls) == 2:
            source.server.process.stop()
            source.server.process.start()
            source.execute("DELETE FROM t WHERE id = 1")
        return write(self, batch)

    monkeypatch.setattr(Sender, "write", restarting)
    output = sync(source, replication_slot_name="first", streams=WHOLE)
    living = {record["id"] for record in output.records() if record["_sdc_deleted_at"] is None}
    gone = {record["id"] for record in output.records() if record["_sdc_deleted_at"] is not None}

    assert living - gone == set(range(2, 5001))


def test_a_server_without_a_logical_log_says_how_to_turn_it_on(sync, source_of):
    with postgres(options={"wal_level": "replica"}) as server:
        name = server.new_database()
        server.execute(name, "CREATE TABLE t (id int PRIMARY KEY)")
        with pytest.raises(ConfigurationError, match="ALTER SYSTEM SET wal_level = logical"):
            sync(source_of(server, name), streams=WHOLE)


# --- what a person is told --------------------------------------------------------------------------------


def test_the_test_tells_of_slot_and_publication(items, command):
    settings = {**items.database.config, **items.settings()}
    before = command("--test", **settings)
    items.run()
    items.execute("INSERT INTO items SELECT i, repeat('x', 1000) FROM generate_series(10, 2000) AS i")
    after = command("--test", **settings)

    assert before.returncode == after.returncode == 0
    assert b"the next run makes it" in before.stdout
    assert b"the next run adds" in before.stdout
    assert b"MiB behind, holds" in after.stdout
    assert b"has every selected table" in after.stdout
    assert publications(items) == [("icetap",)]


def test_the_test_changes_nothing_and_names_every_table_that_lacks_an_identity(log, command):
    source = log("CREATE TABLE a (i int)", "CREATE TABLE b (i int)", "CREATE VIEW v AS SELECT 1 AS x")
    tested = command("--test", **source.database.config, **source.settings())

    assert tested.returncode == 1
    assert tested.stdout.count(b"REPLICA IDENTITY FULL") == 2
    assert b"ok    stream 'public-v': readable, FULL_TABLE" in tested.stdout
    assert publications(source) == []


@pytest.mark.parametrize(
    ("snapshot", "xid", "visible"),
    [
        pytest.param("100:105:101,103", 99, True, id="older"),
        pytest.param("100:105:101,103", 102, True, id="ended"),
        pytest.param("100:105:101,103", 103, False, id="running"),
        pytest.param("100:105:101,103", 105, False, id="later"),
        pytest.param("4294967290:4294967300:4294967298", 2, False, id="running-beyond-the-turn"),
        pytest.param("4294967290:4294967300:", 4294967295, True, id="before-the-turn"),
        pytest.param("4294967290:4294967300:", 5, False, id="later-beyond-the-turn"),
    ],
)
def test_a_snapshot_shows_what_had_ended(snapshot, xid, visible):
    assert is_visible(snapshot, xid) is visible
