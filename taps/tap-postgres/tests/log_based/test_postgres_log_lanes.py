"""Changes take the same ways to the loader as any rows: both lanes, maps, masks, every type."""

from __future__ import annotations

import hashlib

import pyarrow as pa

COLUMNS = {
    "b": ("boolean", "true"),
    "i2": ("smallint", "-32768"),
    "i8": ("bigint", "9223372036854775807"),
    "n": ("numeric(38,10)", "1234567890123456789012345678.0123456789"),
    "bare": ("numeric", "1e50"),
    "f4": ("real", "1.1"),
    "f8": ("double precision", "1e-300"),
    "m": ("money", "-12.34"),
    "t": ("text", "E'ü \\\\ \" \\n'"),
    "c": ("char(5)", "'ab'"),
    "y": ("bytea", "'\\x00ff'"),
    "d": ("date", "'0001-01-01'"),
    "ts": ("timestamp", "'9999-12-31 23:59:59.999999'"),
    "tz": ("timestamptz", "'2026-01-01 00:00:00.000001+05:30'"),
    "ti": ("time", "'23:59:59.999999'"),
    "ttz": ("timetz", "'12:00:00+02'"),
    "iv": ("interval", "'1 mon 2 days 03:04:05.000006'"),
    "u": ("uuid", "'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'"),
    "j": ("json", '\'{"a": 1.10,  "a": 2}\''),
    "jb": ("jsonb", "'[1e3, null]'"),
    "ia": ("int[]", "'{1,NULL,-3}'"),
    "ta": ("text[]", """'{"a,b","q\\"x",NULL,""}'"""),
    "na": ("numeric(6,2)[]", "'{1.10,2}'"),
    "ip": ("inet", "'10.0.0.1'"),
    "r": ("int4range", "'[1,5)'"),
    "bits": ("bit varying(9)", "B'101'"),
    "lsn": ("pg_lsn", "'16/B374D848'"),
}


def test_every_type_has_the_same_value_in_the_log_and_in_a_full_read(log):
    declared = ", ".join(f"{name} {kind}" for name, (kind, _) in COLUMNS.items())
    values = ", ".join(value for _, value in COLUMNS.values())
    source = log(
        f"CREATE TABLE t (id int PRIMARY KEY, {declared})",
        f"INSERT INTO t VALUES (1, {values})",
        "INSERT INTO t VALUES (2)",
    )
    full = source.run()
    source.execute(f"INSERT INTO t VALUES (3, {values})", "INSERT INTO t VALUES (4)")
    logged = source.run()
    values, nulls, logged_values, logged_nulls = (
        {name: value for name, value in record.items() if name in COLUMNS}
        for record in full.records() + logged.records()
    )

    assert logged_values == values
    assert logged_nulls == nulls == dict.fromkeys(COLUMNS)
    assert logged.schema() == full.schema()


def test_the_arrow_lane_carries_what_the_record_lane_does(items, tmp_path):
    lane = {"batch_config": {"encoding": {"format": "arrow"}, "storage": {"root": str(tmp_path / "batches")}}}
    items.run()
    items.execute("UPDATE items SET name = 'x' WHERE id = 1", "DELETE FROM items WHERE id = 2")
    before = items.state
    records = items.run().records()
    items.state = before
    table = items.run(**lane).table()

    assert table.schema.field("_sdc_deleted_at").type == pa.timestamp("us", "UTC")
    assert [row["_sdc_lsn"] for row in table.to_pylist()] == [record["_sdc_lsn"] for record in records]
    assert [(row["id"], row["name"], row["_sdc_deleted_at"] is None) for row in table.to_pylist()] == [
        (1, "x", True),
        (2, None, False),
    ]


def test_stream_maps_see_the_columns_of_the_log(items):
    maps = {"public-items": {"name": "md5(name) if name else None"}}
    items.run(stream_maps=maps)
    items.execute("INSERT INTO items VALUES (3, 'secret')", "DELETE FROM items WHERE id = 1")
    output = items.run(stream_maps=maps)

    assert {"_sdc_deleted_at", "_sdc_lsn", "name"} <= output.schema().keys()
    inserted, deleted = output.records()
    assert inserted["name"] == hashlib.md5(b"secret").hexdigest()
    assert deleted["_sdc_deleted_at"] is not None


def test_masks_hide_values_of_the_log(items):
    masks = {"public-items": {"name": "redact"}}
    items.run(masks=masks)
    items.execute("INSERT INTO items VALUES (3, 'secret')")
    output = items.run(masks=masks)

    assert [record["id"] for record in output.records()] == [3]
    assert "secret" not in str(output.messages)
