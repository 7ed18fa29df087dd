"""DDL in the middle: a SCHEMA before the first record that needs it, and the table read again where rows changed silently."""

from __future__ import annotations

import json

import pytest

from icetap.errors import SkippableError
from tap_postgres.tap import TapPostgres


def order(output):
    """SCHEMAs with their columns and RECORDs with their values, as they came."""
    found = []
    for message in output.messages:
        if message["type"] == "SCHEMA":
            found.append(
                sorted(name for name in message["schema"]["properties"] if not name.startswith("_sdc"))
            )
        elif message["type"] == "RECORD":
            found.append({k: v for k, v in message["record"].items() if not k.startswith("_sdc")})
    return found


def test_a_column_that_was_added_before_the_run_has_no_value_in_earlier_records(items):
    items.run()
    items.execute(
        "INSERT INTO items VALUES (3, 'before')",
        "ALTER TABLE items ADD COLUMN n int",
        "INSERT INTO items VALUES (4, 'after', 7)",
    )

    assert order(items.run()) == [
        ["id", "n", "name"],
        {"id": 3, "name": "before", "n": None},
        {"id": 4, "name": "after", "n": 7},
    ]


def test_a_column_that_is_added_during_the_run_comes_with_a_new_schema(items):
    items.run()
    output = items.run_with(
        "INSERT INTO items VALUES (3, 'before')",
        "ALTER TABLE items ADD COLUMN n int",
        "INSERT INTO items VALUES (4, 'after', 7)",
    )
    assert order(output) == [
        ["id", "name"],
        {"id": 3, "name": "before"},
        ["id", "n", "name"],
        {"id": 4, "name": "after", "n": 7},
    ]
    assert order(items.run())[1:] == [], "nothing of an empty new column has to be read again"


def test_a_column_that_is_dropped_during_the_run_is_null_from_then_on(items):
    items.run()
    output = items.run_with("ALTER TABLE items DROP COLUMN name", "INSERT INTO items VALUES (4)")

    assert order(output)[-1] == {"id": 4, "name": None}
    items.execute("INSERT INTO items VALUES (5)")
    assert order(items.run()) == [["id"], {"id": 5}]


@pytest.mark.parametrize(
    ("statement", "records"),
    [
        pytest.param(
            "ALTER TABLE items ADD COLUMN n int DEFAULT 5",
            [{"id": 1, "name": "one", "n": 5}, {"id": 2, "name": "two", "n": 5}],
            id="added-with-a-default",
        ),
        pytest.param(
            "ALTER TABLE items RENAME name TO title",
            [{"id": 1, "title": "one"}, {"id": 2, "title": "two"}],
            id="renamed",
        ),
        pytest.param(
            "ALTER TABLE items ALTER name TYPE bytea USING name::bytea",
            [{"id": 1, "name": "b25l"}, {"id": 2, "name": "dHdv"}],
            id="another-type",
        ),
    ],
)
def test_rows_that_ddl_changed_silently_are_read_again_as_a_new_version(items, statement, records):
    old = items.run().of("RECORD")[0]["version"]
    items.execute(statement)
    output = items.run()

    assert order(output)[1:] == records
    assert [message["version"] > old for message in output.of("ACTIVATE_VERSION")] == [True]
    assert items.run().records() == []


def test_a_column_is_renamed_during_the_run(items):
    items.run()
    output = items.run_with("ALTER TABLE items RENAME name TO title", "INSERT INTO items VALUES (4, 'after')")

    assert order(output)[-2:] == [["id", "name", "title"], {"id": 4, "name": None, "title": "after"}]
    assert order(items.run()) == [
        ["id", "title"],
        {"id": 1, "title": "one"},
        {"id": 2, "title": "two"},
        {"id": 4, "title": "after"},
    ]


def test_a_type_changes_during_the_run(items):
    items.run()
    output = items.run_with(
        "INSERT INTO items VALUES (3, '7')",
        "DELETE FROM items WHERE id < 3",
        "ALTER TABLE items ALTER name TYPE int USING name::int",
        "INSERT INTO items VALUES (4, 8)",
    )

    assert order(output)[1] == {"id": 3, "name": "7"}
    assert order(output)[-1] == {"id": 4, "name": 8}
    types = [message["schema"]["properties"]["name"]["type"] for message in output.of("SCHEMA")]
    assert types == [["string", "null"], ["integer", "null"]]


def test_a_column_that_was_selected_later_is_read_for_all_rows(items):
    items.run(streams={"*": {"replication_method": "LOG_BASED"}}, catalog=catalog(items, name=False))
    first = items.run(catalog=catalog(items, name=False))
    again = items.run(catalog=catalog(items, name=True))

    assert first.records() == []
    assert order(again)[1:] == [{"id": 1, "name": "one"}, {"id": 2, "name": "two"}]


def test_a_new_column_is_left_alone_where_the_catalog_leaves_columns_out(items):
    items.run(catalog=catalog(items, name=False))
    items.execute("ALTER TABLE items ADD COLUMN secret text", "INSERT INTO items VALUES (3, 'x', 'y')")

    assert order(items.run(catalog=catalog(items, name=False)))[1:] == [{"id": 3}]


def test_another_table_that_takes_the_name_is_read_anew(items):
    old = items.run().of("RECORD")[0]["version"]
    items.execute(
        "CREATE TABLE fresh (id int PRIMARY KEY, name text)",
        "INSERT INTO fresh VALUES (7, 'seven')",
        "INSERT INTO items VALUES (3, 'lost')",
        "ALTER TABLE items RENAME TO stale",
        "ALTER TABLE fresh RENAME TO items",
        "INSERT INTO items VALUES (8, 'eight')",
    )
    output = items.run(streams={"public-items": {"replication_method": "LOG_BASED"}})
    records = [record["id"] for record in output.records("public-items")]

    assert records == [7, 8]
    assert output.of("ACTIVATE_VERSION", "public-items")[0]["version"] > old


def test_the_replication_key_of_other_taps_is_accepted(items):
    """People have `replication-key: _sdc_lsn` in their metadata, which only a log has."""
    given = catalog(items, name=True)
    given["streams"][0]["metadata"][-1]["metadata"] |= {
        "replication-method": "LOG_BASED",
        "replication-key": "_sdc_lsn",
    }

    assert len(items.run(catalog=given, streams={}).records()) == 2


def test_the_log_is_kept_for_a_stream_that_cannot_be_read_for_a_while(items):
    items.execute("CREATE TABLE other (id int PRIMARY KEY)")
    everything = TapPostgres(config={**items.database.config, **items.settings()}).catalog.to_dict()
    for stream in everything["streams"]:
        stream["metadata"].append({"breadcrumb": [], "metadata": {"selected": True}})
    items.run(catalog=everything)
    items.execute("INSERT INTO items VALUES (3, 'kept')", "ALTER TABLE items RENAME TO hidden")
    for number in range(2):
        items.execute(f"INSERT INTO other VALUES ({number})")
        output = items.run(catalog=everything, may_fail=True)
        assert isinstance(output.error, SkippableError)
        assert [record["id"] for record in output.records("public-other")] == [number]
        items.state = json.loads(json.dumps(output.state, default=float))
    items.execute("ALTER TABLE hidden RENAME TO items")

    assert [record["id"] for record in items.run(catalog=everything).records("public-items")] == [3]


def catalog(source, *, name):
    """A catalog as Meltano writes it, with a column selected or not."""
    made = TapPostgres(config={**source.database.config, **source.settings()}).catalog.to_dict()
    (stream,) = [each for each in made["streams"] if each["tap_stream_id"] == "public-items"]
    known = {("properties", "id"): True, ("properties", "name"): name, (): True}
    stream["schema"]["properties"].pop("secret", None)
    stream["metadata"] = [
        {"breadcrumb": list(path), "metadata": {"selected": is_selected}}
        for path, is_selected in known.items()
    ]
    made["streams"] = [stream]
    return made
