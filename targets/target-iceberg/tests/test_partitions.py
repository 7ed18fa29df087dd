"""Partitioned tables: settings, evolution, and rows that arrive in many partitions at once."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyiceberg.partitioning import PartitionField, PartitionSpec
from pyiceberg.transforms import UnknownTransform

from icetap.errors import ConfigurationError
from icetap.tables import read_table
from target_iceberg.tables import layout, loaded_table, partitions

EVENTS = {
    "id": {"type": "integer"},
    "name": {"type": ["null", "string"]},
    "at": {"type": ["null", "string"], "format": "date-time"},
}


def event(singer, one, day, **more):
    return singer.record({"id": one, "name": f"n{one}", "at": f"2026-01-{day:02d}T12:00:00Z", **more})


def files(lake, stream="s"):
    return [task.file for task in lake.table(stream).scan().plan_files()]


def by_spec(lake, stream="s"):
    """What partitions each spec has files in, with the number of rows."""
    found: dict = {}
    for one in files(lake, stream):
        partition = found.setdefault(one.spec_id, {})
        key = tuple(one.partition)
        partition[key] = partition.get(key, 0) + one.record_count
    return found


def spec(lake, stream="s"):
    table = lake.table(stream)
    return [
        (field.name, str(field.transform), table.schema().find_column_name(field.source_id))
        for field in table.spec().fields
    ]


def test_a_new_table_gets_the_partitions_of_the_setting(lake, singer):
    lake.ok(
        singer.schema(properties=EVENTS),
        [event(singer, one, one % 3 + 1) for one in range(9)],
        partition_by=["day(at)", "bucket(4, id)", "truncate(1, name)", "name"],
    )
    assert spec(lake) == [
        ("at_day", "day", "at"),
        ("id_bucket_4", "bucket[4]", "id"),
        ("name_trunc_1", "truncate[1]", "name"),
        ("name", "identity", "name"),
    ]
    assert lake.ids() == list(range(9))
    assert len(lake.rows()) == 9
    for one in files(lake):
        rows = pq.read_table(one.file_path.removeprefix("file://"))
        assert {value.day for value in rows["at"].to_pylist()} == {(one.partition[0] - 20454) + 1}
        assert {value[:1] for value in rows["name"].to_pylist()} == {one.partition[2]}
        assert set(rows["name"].to_pylist()) == {one.partition[3]}


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("day(crated)", "no column 'crated'"),
        ("day(nam)", "did you mean 'name'?"),
        ("dya(at)", "no transform 'dya'; did you mean 'day'?"),
        ("day(name)", "has the type string; 'day' takes date, timestamp or timestamptz"),
        ("hour(id)", "'hour' takes timestamp or timestamptz"),
        ("truncate(2, at)", "'truncate' takes int, long, decimal, string or binary"),
        ("bucket(id, 16)", "expected 'bucket(<number from 1>, <column>)'"),
        ("bucket(0, id)", "expected 'bucket(<number from 1>, <column>)'"),
    ],
)
def test_an_entry_that_cannot_be_is_refused_with_what_could(lake, singer, entry, said):
    outcome = lake.load(singer.schema(properties=EVENTS), event(singer, 1, 1), partition_by=[entry])
    assert isinstance(outcome.error, ConfigurationError)
    assert said in str(outcome.error)
    assert lake.rows() == []


def test_columns_go_by_the_streams_name_or_the_tables_in_quotes_where_they_are_odd(lake, singer):
    odd = {**EVENTS, "Order Date": {"type": "string", "format": "date"}, 'say "hi"': {"type": "string"}}
    row = {"Order Date": "2026-03-04", 'say "hi"': "x"}
    lake.ok(
        singer.schema(properties=odd),
        event(singer, 1, 1, **row),
        partition_by=['month("Order Date")', 'say "hi"', 'truncate(1, `say "hi"`)'],
    )
    assert [(transform, column) for _, transform, column in spec(lake)] == [
        ("month", "Order Date"),
        ("identity", 'say "hi"'),
        ("truncate[1]", 'say "hi"'),
    ]
    lake.ok(
        singer.schema("t", properties=odd),
        [singer.record({"id": 1, "at": None, **row}, "t")],
        partition_by=["month(Order Date)"],
        identifier_case="snake",
    )
    assert spec(lake, "t") == [("order_date_month", "month", "order_date")]
    assert lake.rows()[0]["Order Date"].isoformat() == "2026-03-04"
    assert len(lake.rows("t")) == 1


def test_a_nested_property_can_be_partitioned_by(lake, singer):
    address = {"type": "object", "properties": {"zip": {"type": ["null", "string"]}}}
    lake.ok(
        singer.schema(properties={"id": {"type": "integer"}, "address": address}),
        [singer.record({"id": one, "address": {"zip": f"{one}0"}}) for one in (1, 2)],
        singer.record({"id": 3, "address": None}),
        partition_by=["address.zip"],
    )
    assert by_spec(lake) == {0: {("10",): 1, ("20",): 1, (None,): 1}}
    assert [row["id"] for row in lake.rows()] == [1, 2, 3]


def test_a_changed_setting_evolves_the_table_and_old_files_stay(lake, singer):
    head = singer.schema(properties=EVENTS)
    lake.ok(head, [event(singer, one, one + 1) for one in range(4)])
    outcome = lake.ok(head, event(singer, 9, 9), partition_by=["day(at)"])
    assert by_spec(lake) == {0: {(): 4}, 1: {(20462,): 1}}
    assert "new files are partitioned by day(at); files that are there already stay as they are" in str(
        outcome.report
    )
    again = lake.ok(head, event(singer, 10, 9), partition_by=["day(at)"])
    assert "partitioned" not in str(again.report)
    lake.ok(head, event(singer, 11, 9), partition_by=["month(at)", "bucket(2, id)"])
    lake.ok(head, event(singer, 12, 9))
    assert spec(lake) == [("at_month", "month", "at"), ("id_bucket_2", "bucket[2]", "id")]
    lake.ok(head, event(singer, 13, 9), partition_by=["day(at)"])
    assert lake.table().spec().spec_id == 1, "the earlier spec is used again"
    lake.ok(head, event(singer, 14, 9), partition_by=[])
    assert lake.table().spec().spec_id == 0
    assert lake.ids() == [0, 1, 2, 3, 9, 10, 11, 12, 13, 14]
    assert len(lake.rows()) == 10


def test_rows_of_several_specs_are_merged(lake, singer):
    head = singer.schema(properties=EVENTS)
    lake.ok(head, [event(singer, one, one + 1) for one in range(6)])
    lake.ok(head, [event(singer, one, one + 1) for one in range(3, 12)], partition_by=["day(at)"])
    lake.ok(head, [event(singer, one, 20) for one in range(0, 12, 2)], partition_by=["bucket(3, id)"])
    for mode in ("copy-on-write", "merge-on-read"):
        lake.ok(
            head,
            [singer.record({"id": one, "name": mode, "at": None}) for one in (1, 5, 11)],
            merge_mode=mode,
        )
        rows = {row["id"]: row for row in lake.rows()}
        assert sorted(rows) == list(range(12))
        assert {one for one, row in rows.items() if row["name"] == mode} == {1, 5, 11}
        assert {one for one, row in rows.items() if row["at"] and row["at"].day == 20} == set(range(0, 12, 2))


def test_a_table_that_another_engine_partitioned_is_loaded_as_it_is(lake, singer):
    head = singer.schema(properties=EVENTS)
    lake.ok(head, event(singer, 1, 1))
    with lake.table().update_spec() as update:
        update.add_field("name", "truncate[1]", "initial").add_field("id", "bucket[2]", "shard")
    lake.ok(head, [event(singer, one, 2) for one in range(1, 5)])
    assert spec(lake) == [("initial", "truncate[1]", "name"), ("shard", "bucket[2]", "id")]
    assert len(lake.rows()) == 4


def test_a_new_column_can_be_partitioned_by_in_the_run_that_brings_it(lake, singer):
    lake.ok(singer.schema(properties=EVENTS), event(singer, 1, 1))
    lake.ok(
        singer.schema(properties={**EVENTS, "country": {"type": ["null", "string"]}}),
        [event(singer, one, 1, country="pt") for one in (1, 2)],
        partition_by=["country"],
    )
    assert by_spec(lake) == {1: {("pt",): 2}}


def test_rows_without_keys_are_parted_at_the_state_in_each_partition(lake, singer):
    head = singer.schema(properties=EVENTS, keys=[], cursor="id")
    lake.ok(
        head,
        [event(singer, one, one % 2 + 1) for one in range(4)],
        singer.state(s=3),
        [event(singer, one, one % 2 + 1) for one in range(4, 8)],
        partition_by=["day(at)"],
    )
    assert lake.ids() == list(range(8))
    assert lake.snapshots() == 2
    # The tap begins at the STATE: the rows after it come again, the older ones stay.
    lake.ok(
        head, singer.state(s=3), [event(singer, one, one % 2 + 1) for one in range(4, 9)], singer.state(s=8)
    )
    assert lake.ids() == list(range(9))


def test_a_full_read_replaces_all_partitions(lake, singer):
    head = singer.schema(properties=EVENTS, keys=[])
    options = {"load_method": "overwrite", "partition_by": ["day(at)"]}
    first = [event(singer, one, one % 3 + 1, version=1) for one in range(6)]
    lake.ok(head, singer.activate(1), first, singer.activate(1), **options)
    lake.ok(head, singer.activate(2), [event(singer, 7, 7)], singer.activate(2), **options)
    assert lake.ids() == [7]
    assert len(by_spec(lake)[0]) == 1


def test_an_unchanged_full_read_writes_nothing(lake, singer):
    head = singer.schema(properties=EVENTS)
    options = {"load_method": "overwrite", "partition_by": ["day(at)"], "sort_by": ["name"]}
    rows = [event(singer, one, 3 - one % 3) for one in range(6)]
    lake.ok(head, singer.activate(1), rows, singer.activate(1), **options)
    outcome = lake.ok(head, singer.activate(2), rows, singer.activate(2), **options)
    assert lake.snapshots() == 1
    assert outcome.stream()["rows_unchanged"] == 6


def test_the_newest_row_of_a_key_wins_in_a_first_load(lake, singer):
    rows = [event(singer, one % 5, one + 1) for one in range(12)]
    lake.ok(singer.schema(properties=EVENTS), rows, partition_by=["day(at)"])
    assert {row["id"]: row["at"].day for row in lake.rows()} == {2: 8, 3: 9, 4: 10, 0: 11, 1: 12}


def test_long_and_odd_values_make_folders_that_can_be(lake, singer):
    names = [
        "x" * 5000,
        "ü" * 300,
        "",
        ".",
        "..",
        "a/b",
        "a\\b",
        "50%",
        "?#&=",
        None,
        "null",
        "\U0001f600" * 99,
    ]
    rows = [singer.record({"id": one, "name": name}) for one, name in enumerate(names)]
    lake.ok(singer.schema(), rows, partition_by=["name"])
    assert [row["name"] for row in lake.rows()] == names
    assert len(by_spec(lake)[0]) == len(names)


def evolve(lake, *terms):
    with lake.table().update_spec() as update:
        for column, transform in terms:
            update.add_field(column, transform)


@pytest.mark.parametrize("other", ["appends", "evolves-alike", "evolves-otherwise"])
def test_an_evolution_beside_another_commit_is_planned_again(lake, singer, monkeypatch, other):
    head = singer.schema(properties=EVENTS)
    lake.ok(head, event(singer, 1, 1))
    send, came = layout.send_commit, []

    def late(*arguments, **named):
        if not came:
            came.append(other)
            match other:
                case "appends":
                    table = lake.table()
                    table.append(table.scan().to_arrow())
                case "evolves-alike":
                    evolve(lake, ("at", "day"))
                case _:
                    evolve(lake, ("id", "bucket[7]"))
        return send(*arguments, **named)

    monkeypatch.setattr(layout, "send_commit", late)
    lake.ok(head, [event(singer, one, 2) for one in (2, 3)], partition_by=["day(at)"])
    assert came
    assert [transform for _, transform, _ in spec(lake)] == ["day"]
    assert lake.ids() == ([1, 1, 2, 3] if other == "appends" else [1, 2, 3])


@pytest.mark.parametrize("keys", [["id"], []], ids=["keys", "no-keys"])
@pytest.mark.parametrize("partition_by", [None, ["bucket(3, id)"]], ids=["from-none", "from-another"])
def test_rows_staged_before_another_writer_changes_the_partitions_are_committed(
    lake, singer, monkeypatch, keys, partition_by
):
    head = singer.schema(properties=EVENTS, keys=keys, cursor=None if keys else "id")
    lake.ok(head, event(singer, 1, 1), singer.state(s=1), partition_by=partition_by)
    commit, came = loaded_table.commit_change, []

    def late(*arguments, **named):
        if not came:
            came.append("evolved")
            evolve(lake, ("at", "day"))
        return commit(*arguments, **named)

    monkeypatch.setattr(loaded_table, "commit_change", late)
    rows = [event(singer, one, one) for one in (2, 3, 4)]
    lake.ok(head, singer.state(s=1), rows, singer.state(s=4))
    assert came
    assert [row["id"] for row in lake.rows()] == [1, 2, 3, 4]
    table = lake.table()
    for one in files(lake):
        assert len(one.partition) == len(table.specs()[one.spec_id].fields)


def test_a_run_that_ends_early_leaves_a_layout_that_the_next_one_goes_on_with(lake, singer):
    head = singer.schema(properties=EVENTS)
    lake.ok(head, event(singer, 1, 1))
    bad = singer.record({"id": "no number", "at": "2026-01-02T00:00:00Z"})
    stopped = lake.load(head, event(singer, 2, 2), bad, partition_by=["day(at)"], on_rejected="fail")
    assert stopped.error
    assert lake.ids() == [1]
    lake.ok(head, [event(singer, one, one) for one in (2, 3)], partition_by=["day(at)"])
    assert lake.ids() == [1, 2, 3]
    assert len(lake.table().specs()) == 2


def test_a_partition_column_may_be_widened(lake, singer):
    small = {"type": "integer", "minimum": -5, "maximum": 2000}
    price = {"type": "string", "format": "singer.decimal", "precision": 6, "scale": 2}

    def properties(precision, **number):
        return {
            "id": {"type": "integer"},
            "n": {**number, "type": ["null", "integer"]},
            "p": {**price, "precision": precision},
        }

    by = ["n", "truncate(10, p)", "p"]
    narrow = singer.schema(properties=properties(6, minimum=small["minimum"], maximum=small["maximum"]))
    lake.ok(
        narrow, [singer.record({"id": one, "n": one, "p": f"{one}.25"}) for one in (1, 2)], partition_by=by
    )
    wide = singer.schema(properties=properties(20))
    rows = [{"id": 2, "n": 2**40, "p": "123456789012345678.25"}, {"id": 3, "n": None, "p": "3.00"}]
    for mode in ("copy-on-write", "merge-on-read"):
        lake.ok(wide, [singer.record(row) for row in rows], merge_mode=mode, skip_unchanged=False)
        # DuckDB 1.5.5 ends the process where manifests hold decimals of several widths.
        stored = pa.Table.from_batches(read_table(lake.table())).sort_by("id").to_pylist()
        assert [(row["id"], row["n"], str(row["p"])) for row in stored] == [
            (1, 1, "1.25"),
            (2, 2**40, "123456789012345678.25"),
            (3, None, "3.00"),
        ]


def test_a_partitioning_that_makes_a_file_of_every_row_is_refused(lake, singer, monkeypatch):
    monkeypatch.setattr(partitions, "MOST_PARTITIONS", 100)
    outcome = lake.load(singer.schema(), singer.records(range(101)), partition_by=["id"])
    assert "fall into more than 100 partitions (id)" in str(outcome.error)
    assert lake.ids() == []
    assert not list(lake.folder.glob("warehouse/**/*.parquet"))


def test_a_table_partitioned_in_an_unknown_way_is_refused_until_a_setting_says_another(lake, singer):
    head = singer.schema(properties=EVENTS)
    lake.ok(head, event(singer, 1, 1))
    zorder = PartitionField(1, 1000, UnknownTransform("zorder"), "id_zorder")
    old = lake.table()
    lake.catalog.drop_table(old.name())
    lake.catalog.create_table(
        old.name(), old.schema(), partition_spec=PartitionSpec(zorder), properties=old.properties
    )
    outcome = lake.load(head, event(singer, 2, 2))
    assert "by a transform of the column id that this loader does not know" in str(outcome.error)
    assert not list(lake.folder.glob("warehouse/raw/s/data/id_zorder*/**"))
    lake.ok(head, event(singer, 2, 2), partition_by=["day(at)"])
    assert lake.ids() == [2]
