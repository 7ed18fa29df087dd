"""A source, the loader's settings, a table and a model of it in DuckDB; `test_random_operations.py` plays with them."""

from __future__ import annotations

import datetime as dt
import json
import random
import string
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import zip_longest
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from icetap.errors import StateError
from icetap.testing.tables import table_findings
from target_iceberg.contracts.renaming import rename_column
from target_iceberg.upkeep.maintenance import Maintenance, MaintenanceOptions

UTC = dt.UTC
INT32 = {"minimum": -(2**31), "maximum": 2**31 - 1}


def decimal(precision: int, scale: int) -> dict:
    properties = {"precision": precision, "scale": scale}
    return {"type": ["null", "number"], "x-sql-datatype": "decimal", "x-sql-datatype-properties": properties}


@dataclass(frozen=True)
class Kind:
    """What a column may hold: how SCHEMA declares it, its type in DuckDB and in Arrow, and values for it."""

    name: str
    declared: dict
    sql: str
    arrow: pa.DataType
    make: Any
    """Makes a JSON value from a random generator."""
    read: Any = None
    """Makes of it what a database holds; None when that is the same."""
    wider: str | None = None
    """The kind that it may be promoted to."""

    def value(self, sent: Any) -> Any:
        return sent if self.read is None else self.read(sent)


def _moment(rng: random.Random) -> str:
    return (
        dt.datetime(2024, 1, 1, tzinfo=UTC)
        + dt.timedelta(hours=rng.randrange(24 * 40), microseconds=rng.choice([0, 1, 999_999]))
    ).isoformat()


KINDS = {
    kind.name: kind
    for kind in (
        Kind("int", {"type": ["null", "integer"], **INT32}, "INTEGER", pa.int32(), lambda rng: rng.randint(-(2**31), 2**31 - 1), wider="long"),
        Kind("long", {"type": ["null", "integer"]}, "BIGINT", pa.int64(), lambda rng: rng.choice([0, -1, 2**53 + 1, -(2**63), rng.randrange(100)])),
        Kind("double", {"type": ["null", "number"]}, "DOUBLE", pa.float64(), lambda rng: rng.choice([0.5, 1e300, rng.random()])),
        Kind("text", {"type": ["null", "string"]}, "VARCHAR", pa.string(), lambda rng: "".join(rng.choices(string.ascii_lowercase + 'üñ"\\\n☃𝄞', k=rng.randrange(6)))),
        Kind("boolean", {"type": ["null", "boolean"]}, "BOOLEAN", pa.bool_(), lambda rng: rng.random() < 0.5),
        Kind("instant", {"type": ["null", "string"], "format": "date-time"}, "TIMESTAMPTZ", pa.timestamp("us", "UTC"), _moment, dt.datetime.fromisoformat),
        Kind("date", {"type": ["null", "string"], "format": "date"}, "DATE", pa.date32(), lambda rng: f"2024-0{rng.randint(1, 3)}-{rng.randint(1, 28):02}", dt.date.fromisoformat),
        Kind("price", decimal(10, 2), "DECIMAL(10,2)", pa.decimal128(10, 2), lambda rng: rng.randrange(10**6) / 100, lambda value: Decimal(repr(value)), "amount"),
        Kind("amount", decimal(20, 2), "DECIMAL(20,2)", pa.decimal128(20, 2), lambda rng: rng.randrange(10**6) / 4, lambda value: Decimal(repr(value))),
        Kind("list", {"type": ["null", "array"], "items": {"type": "integer"}}, "BIGINT[]", pa.list_(pa.int64()), lambda rng: [rng.randrange(9) for _ in range(rng.randrange(3))]),
        Kind("object", {"type": ["null", "object"], "properties": {"a": {"type": "integer"}, "b": {"type": ["null", "string"]}}}, "STRUCT(a BIGINT, b VARCHAR)", pa.struct([("a", pa.int64()), ("b", pa.string())]), lambda rng: {"a": rng.randrange(9), "b": rng.choice([None, "x"])}),
    )
}  # fmt: skip


@dataclass
class Column:
    """A column of the source and where its values are in the table now."""

    kind: Kind
    target: str
    is_declared: bool = True
    targets: dict[str, str] = field(default_factory=dict)
    """Per kind that it has had: the table's column."""


class World:
    """The source, the loader's settings, the table, and the model of it."""

    def __init__(self, lake, *, seed: int) -> None:
        self.lake = lake
        self.rng = random.Random(seed)
        self.columns = {
            name: Column(KINDS[kind], name, targets={kind: name})
            for name, kind in {"n": "int", "name": "text", "at": "instant", "day": "date", "price": "price"}.items()
        }  # fmt: skip
        self.layout: dict[str, Any] = {}
        (lake.folder / "batches").mkdir(mode=0o700)
        self.model = duckdb.connect()
        self.model.execute("SET TimeZone = 'UTC'")
        kinds = ", ".join(f'"{name}" {column.kind.sql}' for name, column in self.columns.items())
        self.model.execute(f"CREATE TABLE model (id BIGINT, {kinds})")
        self.states: dict[int, pa.Table] = {}
        """What the table held at each snapshot that an operation ended with."""
        self.log = Log(self.rng)
        self.version = 0
        self.files = 0
        self.done: list[str] = []

    # --- operations ---

    def insert(self) -> str:
        return self.load([self.row(self.rng.randrange(10**6)) for _ in range(self.rng.choice([1, 4, 25]))])

    def update(self) -> str:
        ids = self.ids(self.rng.choice([1, 5, 30]))
        return self.load([self.row(one) for one in ids]) if ids else self.insert()

    def send_again(self) -> str:
        """Rows as they are stored: nothing may change."""
        before = self.lake.table().current_snapshot()
        rows = self.expected().slice(0, 20).to_pylist()
        declared = {name: column for name, column in self.columns.items() if column.is_declared}
        if len(declared) < len(self.columns) or any(len(one.targets) > 1 for one in declared.values()):
            return "nothing: not every stored value could be sent"
        sent = [
            {"id": row["id"], **{name: as_json(row[column.target]) for name, column in declared.items()}}
            for row in rows
        ]
        told = self.load(sent, transport="record", skip_unchanged=True)
        assert self.lake.table().current_snapshot() == before
        return told

    def delete(self) -> str:
        ids = [*self.ids(self.rng.choice([1, 5, 20])), self.rng.randrange(10**6)]
        moment = "2024-01-01T00:00:00Z"
        return self.load([{**self.row(one, nulls=1.0), "_sdc_deleted_at": moment} for one in ids])

    def mixed(self) -> str:
        """Keys that come, change and go in one load, some of them twice."""
        rows = [self.row(one) for one in self.ids(8)] + [self.row(self.rng.randrange(40)) for _ in range(8)]
        for row in self.rng.sample(rows, 5):
            row["_sdc_deleted_at"] = "2024-01-01T00:00:00Z"
        rows += [self.row(row["id"]) for row in self.rng.sample(rows, 4)]
        return self.load(rows)

    def full_read(self) -> str:
        """A complete full read replaces the content."""
        self.version += 1
        rows = [self.row(self.rng.randrange(60)) for _ in range(self.rng.choice([1, 20, 60]))]
        return self.load(rows, version=self.version, max_delete_ratio=1.0)

    def add_column(self) -> str:
        kind = KINDS[self.rng.choice(list(KINDS))]
        name = f"c{len(self.columns)}"
        self.columns[name] = Column(kind, name, targets={kind.name: name})
        self.model.execute(f'ALTER TABLE model ADD COLUMN "{name}" {kind.sql}')
        return f"{name} {kind.name}; " + self.insert()

    def widen_column(self) -> str:
        found = [(name, one) for name, one in self.columns.items() if one.kind.wider and one.is_declared]
        if not found:
            return self.add_column()
        name, column = self.rng.choice(found)
        column.targets.pop(column.kind.name)
        column.kind = KINDS[column.kind.wider]
        column.targets[column.kind.name] = column.target
        self.model.execute(f'ALTER TABLE model ALTER "{column.target}" TYPE {column.kind.sql}')
        return f"{name} to {column.kind.name}; " + self.insert()

    def turn_column(self) -> str:
        """A number turns to text and back: its values go to a column of their own meanwhile."""
        found = [
            (name, one)
            for name, one in self.columns.items()
            if {"long", "text"} & set(one.targets) and name.startswith("c") and one.is_declared
        ]
        found = [(name, one) for name, one in found if "long" in one.targets]
        if not found:
            name = f"c{len(self.columns)}"
            self.columns[name] = Column(KINDS["long"], name, targets={"long": name})
            self.model.execute(f'ALTER TABLE model ADD COLUMN "{name}" BIGINT')
            return f"{name} long; " + self.insert()
        name, column = self.rng.choice(found)
        column.kind = KINDS["text" if column.kind.name == "long" else "long"]
        if column.kind.name not in column.targets:
            column.targets[column.kind.name] = f"{column.targets['long']}__string"
            self.model.execute(f'ALTER TABLE model ADD COLUMN "{column.targets["text"]}" VARCHAR')
        column.target = column.targets[column.kind.name]
        return f"{name} to {column.kind.name}; " + self.update()

    def drop_or_restore_column(self) -> str:
        # A layout may name a column that was renamed or one that left the SCHEMA, but not one that did both.
        name = self.rng.choice([name for name, one in self.columns.items() if one.target == name] or ["n"])
        self.columns[name].is_declared = not self.columns[name].is_declared
        return f"{name} declared: {self.columns[name].is_declared}; " + self.update()

    def change_partitions(self) -> str:
        wishes = [
            [],
            ["bucket(4, id)"],
            ["day(at)"],
            ["truncate(2, name)"],
            ["day"],
            ["month(at)", "bucket(2, id)"],
        ]
        self.layout["partition_by"] = self.rng.choice(wishes)
        return f"{self.layout['partition_by']}; " + self.mixed()

    def change_order(self) -> str:
        self.layout["sort_by"] = self.rng.choice([[], ["id"], ["name", "id desc"], ["at"]])
        return f"{self.layout['sort_by']}; " + self.insert()

    def rename_column(self) -> str:
        name = self.rng.choice([name for name, one in self.columns.items() if one.is_declared] or ["n"])
        column = self.columns[name]
        kind = next(kind for kind, target in column.targets.items() if target == column.target)
        new = f"r{len(self.done)}"
        rename_column(self.lake.table(), column.target, new)
        self.model.execute(f'ALTER TABLE model RENAME "{column.target}" TO "{new}"')
        self.states = {
            snapshot: state.rename_columns(
                [new if one == column.target else one for one in state.column_names]
            )
            for snapshot, state in self.states.items()
        }
        column.target = column.targets[kind] = new
        return f"{name} to {new}; " + self.update()

    def compact(self) -> str:
        return self.maintain(expire=False, sweep=False)

    def expire(self) -> str:
        return self.maintain(
            compact=False, expire_days=0.0, keep_snapshots=self.rng.choice([1, 3]), orphan_days=1.0
        )

    def rewind(self) -> str:
        """Another engine rolls the table back; the next load goes on from there."""
        table = self.lake.table()
        history = [entry.snapshot_id for entry in ancestors(table)][1:6]
        known = [one for one in history if one in self.states]
        if not known:
            return "nothing to go back to"
        chosen = self.rng.choice(known)
        table.manage_snapshots().rollback_to_snapshot(chosen).commit()
        state = self.states[chosen]  # noqa: F841 - DuckDB finds it by its name
        self.model.execute("DELETE FROM model")
        self.model.execute("INSERT INTO model BY NAME SELECT * FROM state")
        return f"to {chosen}"

    # --- how they are done ---

    def ids(self, count: int) -> list[int]:
        ids = [one for (one,) in self.model.execute("SELECT id FROM model ORDER BY id").fetchall()]
        return self.rng.sample(ids, min(count, len(ids)))

    def row(self, number: int, *, nulls: float = 0.15) -> dict:
        return {"id": number} | {
            name: None if self.rng.random() < nulls else column.kind.make(self.rng)
            for name, column in self.columns.items()
            if column.is_declared
        }

    def load(self, rows: list[dict], *, version: int | None = None, transport: str = "", **config) -> str:
        transport = transport or self.rng.choice(["record", "record", "jsonl", "parquet", "arrow"])
        config = {
            "merge_mode": self.rng.choice(["auto", "copy-on-write", "merge-on-read"]),
            "skip_unchanged": self.rng.random() < 0.7,
            "batch_size_rows": self.rng.choice([3, 10, 1000]),
            "batch_root": str(self.lake.folder / "batches"),
            "streams": {"s": self.layout},
            **config,
        }
        messages = [self.schema(), *self.messages(rows, transport=transport, version=version)]
        if version is not None:
            messages.append({"type": "ACTIVATE_VERSION", "stream": "s", "version": version})
        outcome = self.lake.ok(
            messages, {"type": "STATE", "value": {"bookmarks": {"s": {"n": self.files}}}}, **config
        )
        assert outcome.stream()["rows_rejected"] == 0
        self.apply(rows, is_whole=version is not None)
        return f"{len(rows)} rows by {transport}, {config['merge_mode']}"

    def schema(self) -> dict:
        declared = {name: column.kind.declared for name, column in self.columns.items() if column.is_declared}
        properties = {"id": {"type": "integer"}, **declared}
        return {
            "type": "SCHEMA",
            "stream": "s",
            "schema": {"properties": properties},
            "key_properties": ["id"],
        }

    def messages(self, rows: list[dict], *, transport: str, version: int | None) -> list:
        more = {} if version is None else {"version": version}
        if transport == "record":
            records: list = [{"type": "RECORD", "stream": "s", "record": row, **more} for row in rows]
            if len(rows) > 3:  # a STATE in between, so that a load may have several commits
                records.insert(len(rows) // 2, {"type": "STATE", "value": {"bookmarks": {}}})
            return records
        encoding = {"format": transport}
        return [
            {
                "type": "BATCH",
                "stream": "s",
                "encoding": encoding,
                "manifest": [self.file(part, transport)],
                **more,
            }
            for part in (rows[: len(rows) // 2], rows[len(rows) // 2 :])
            if part
        ]

    def file(self, rows: list[dict], transport: str) -> str:
        self.files += 1
        path = self.lake.folder / "batches" / f"{self.files}.{transport}"
        if transport == "jsonl":
            path.write_text("".join(json.dumps(row) + "\n" for row in rows))
            return path.as_uri()
        names = list(dict.fromkeys(name for row in rows for name in row))
        whole = [{name: row.get(name) for name in names} for row in rows]
        # As a careless tap writes them, with types from the values, or as a careful one does.
        table = (
            pa.Table.from_pylist(whole) if self.rng.random() < 0.5 else self.typed(rows).drop_columns(["_n"])
        )
        if transport == "parquet":
            pq.write_table(table, path, row_group_size=7)
        else:
            with pa.ipc.new_file(str(path), table.schema) as writer:
                writer.write_table(table, max_chunksize=9)
        return path.as_uri()

    def typed(self, rows: list[dict], *, by_target: bool = False) -> pa.Table:
        """Rows as a database would hold them, numbered, under the names of the source or the table."""
        arrays = {"_n": pa.array(range(len(rows))), "id": pa.array([row["id"] for row in rows], pa.int64())}
        for name, column in self.columns.items():
            if column.is_declared:
                values = [None if row.get(name) is None else column.kind.value(row[name]) for row in rows]
                arrays[column.target if by_target else name] = pa.array(values, column.kind.arrow)
        gone = [row.get("_sdc_deleted_at") for row in rows]
        return pa.table({**arrays, "_sdc_deleted_at": pa.array(gone, pa.string())})

    def apply(self, rows: list[dict], *, is_whole: bool) -> None:
        """Do to the model what the load did to the table."""
        incoming = self.typed(rows, by_target=True)  # noqa: F841 - DuckDB finds it by its name
        self.model.execute(
            "DELETE FROM model" + ("" if is_whole else " WHERE id IN (SELECT id FROM incoming)")
        )
        self.model.execute(
            "INSERT INTO model BY NAME SELECT * EXCLUDE (_n, _sdc_deleted_at) FROM (FROM incoming "
            "QUALIFY row_number() OVER (PARTITION BY id ORDER BY _n DESC) = 1) WHERE _sdc_deleted_at IS NULL"
        )

    def maintain(self, **options) -> str:
        chosen = MaintenanceOptions(min_files=2, **options)
        keeper = Maintenance(self.lake.catalog, {**self.lake.config, "streams": {"s": self.layout}}, chosen)
        reports = [keeper.of(self.lake.table(stream)) for stream in ("s", *self.log.streams)]
        assert [one.failure for one in reports] == [None] * len(reports)
        return "; ".join(f"{one.before} -> {one.after}" for one in reports)

    # --- the stream without keys ---

    def append(self) -> str:
        """A run goes on where the last one ended."""
        self.log.write()
        return self.load_log(self.log.cursor)

    def append_again(self) -> str:
        """The state of the last run was lost: the tap begins where that run began, and sends more."""
        self.log.write()
        return self.load_log(self.log.began)

    def load_log(self, began: int | None) -> str:
        rows, bookmark = self.log.since(began)
        properties = {"n": {"type": "integer"}, "v": {"type": "string"}}
        outcome = self.lake.load(
            {"type": "STATE", "value": {"bookmarks": {} if began is None else {"log": at(began)}}},
            {
                "type": "SCHEMA",
                "stream": "log",
                "schema": {"properties": properties},
                "key_properties": [],
                "bookmark_properties": ["n"],
            },
            [{"type": "RECORD", "stream": "log", "record": {"n": n, "v": v}} for n, v in rows],
            {"type": "STATE", "value": {"bookmarks": {"log": at(bookmark)}}},
        )
        if isinstance(outcome.error, StateError):
            assert began != self.log.cursor, "the table is where the tap begins"
            return "refused, as the snapshot to go back to is not known any more"
        if outcome.error:
            raise outcome.error
        self.log.loaded(began, bookmark)
        return f"{len(rows)} rows, {outcome.stream('log')['rows_repeated']} of them known"

    def expected(self) -> pa.Table:
        return self.model.execute("SELECT * FROM model ORDER BY id").to_arrow_table()

    # --- comparison ---

    def check(self, *, readers) -> None:
        table = self.lake.table()
        assert table_findings(table) == []
        expected = self.expected()
        wanted = canonical(expected.to_pylist())
        for name, rows in readers(table).items():
            found = canonical(rows)
            if found != wanted:
                differing = [pair for pair in zip_longest(found, wanted) if pair[0] != pair[1]]
                pytest.fail(f"{name} and the model differ in {len(differing)} rows, at first {differing[:2]}")
        for stream in self.log.streams:
            log = self.lake.table(stream)
            assert table_findings(log) == []
            for name, rows in readers(log, by="n").items():
                assert sorted((row["n"], row["v"]) for row in rows) == self.log.expected(), f"{name}: log"
        if table.metadata.current_snapshot_id:
            self.states[table.metadata.current_snapshot_id] = expected


@dataclass
class Log:
    """A source that only grows, several rows with the same number among them; bookmarks are inclusive."""

    rng: random.Random
    rows: list[tuple[int, str]] = field(default_factory=list)
    cursor: int | None = None
    """Where the next run begins: the bookmark of what is in the table."""
    began: int | None = None
    """Where the last run began."""
    held: int = 0
    """So many of the rows are in the table."""

    @property
    def streams(self) -> list[str]:
        return ["log"] if self.held else []

    def write(self) -> None:
        for _ in range(self.rng.choice([1, 3, 10])):
            last = self.rows[-1][0] if self.rows else 0
            self.rows.append((last + self.rng.choice([0, 0, 1, 5]), self.rng.choice(["a", "b"])))

    def since(self, cursor: int | None) -> tuple[list[tuple[int, str]], int]:
        found = [row for row in self.rows if cursor is None or row[0] >= cursor]
        return found, self.rows[-1][0]

    def loaded(self, began: int | None, bookmark: int) -> None:
        self.began, self.cursor, self.held = began, bookmark, len(self.rows)

    def expected(self) -> list[tuple[int, str]]:
        return sorted(self.rows[: self.held])


def at(value: int) -> dict:
    return {"replication_key": "n", "replication_key_value": value}


def ancestors(table):
    snapshot = table.current_snapshot()
    while snapshot is not None:
        yield snapshot
        parent = snapshot.parent_snapshot_id
        snapshot = table.metadata.snapshot_by_id(parent) if parent is not None else None


def as_json(value: Any) -> Any:
    match value:
        case dt.datetime() | dt.date():
            return value.isoformat()
        case Decimal():
            return float(value)
    return value


def canonical(rows: list[dict]) -> list[dict]:
    return sorted(({name: row[name] for name in sorted(row)} for row in rows), key=lambda row: row["id"])
