"""Random tables with random masks, and their rows as the two lanes have them: Arrow batches and dict records."""

from __future__ import annotations

import datetime as dt
import json
import random
import string
import uuid
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from icetap.columnar.lines import record_lines
from icetap.records.masks import Masks
from icetap.records.masks.arrow import masked_batch
from icetap.records.masks.dicts import masked_jsonschema, masked_record
from icetap.records.masks.documents import json_text
from icetap.records.masks.plan import Plan, inner_fields
from icetap.records.masks.streams import stream_columns
from icetap.types import KIND, TIME, TIMESTAMP, TIMESTAMPTZ, kind_of, singer_from_schema

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MASK_KEY = "a key for tests alone"
NULLS = 0.2
_LETTERS = string.ascii_letters + string.digits + " .-+@\"\\/'\n\tçãé日本🙂"
_NAMES = ("email", "Phone", "name with space", "zip", "a.b", "note", "größe", "[x]")


def _text(rng: random.Random) -> str:
    number = rng.randrange(10**4)
    texts = (
        "".join(rng.choices(_LETTERS, k=number % 12)),
        f"{rng.choice(['ana', 'joão', 'x'])}{number % 50}@example.com",
        f"+55 11 9{number:04}-{number:04}",
        rng.choice(["", "a", "1234", "12345", "@", "a@b", "a@b.c", " a@b.c"]),
    )
    return rng.choice(texts)


def _instant(rng: random.Random) -> dt.datetime:
    base = dt.datetime(1, 1, 1) + dt.timedelta(days=rng.randrange(3_652_000))  # noqa: DTZ001 - the zone comes later
    return base + dt.timedelta(microseconds=rng.randrange(86_400_000_000))


def _document(rng: random.Random, depth: int = 3) -> Any:
    made: list[Callable[[], Any]] = [
        lambda: _text(rng),
        lambda: rng.randrange(-(10**20), 10**20),
        lambda: Decimal(rng.randrange(10**6)).scaleb(-2),
        lambda: rng.choice([True, False, None, "2024-05-06", "2024-05-06T07:08:09+02:00"]),
    ]
    if depth:
        made.append(lambda: [_document(rng, depth - 1) for _ in range(rng.randrange(3))])
        made.append(lambda: {name: _document(rng, depth - 1) for name in rng.sample(_NAMES, 3)})
    return rng.choice(made)()


_SCALARS: dict[str, tuple[pa.DataType, Callable[[random.Random], Any]]] = {
    "bool": (pa.bool_(), lambda rng: rng.random() < 0.5),
    "int": (pa.int32(), lambda rng: rng.randrange(-(2**31), 2**31)),
    "long": (pa.int64(), lambda rng: rng.choice([rng.randrange(-(2**63), 2**63), rng.randrange(100)])),
    "double": (pa.float64(), lambda rng: rng.choice([rng.uniform(-1e9, 1e9), 0.5, 42.0, 1e22, 5e-324])),
    "decimal": (pa.decimal128(18, 4), lambda rng: Decimal(rng.randrange(-(10**17), 10**17)).scaleb(-4)),
    "date": (pa.date32(), lambda rng: _instant(rng).date()),
    "timestamp": (TIMESTAMP, _instant),
    "timestamptz": (TIMESTAMPTZ, lambda rng: _instant(rng).replace(tzinfo=dt.UTC)),
    "time": (TIME, lambda rng: _instant(rng).time()),
    "uuid": (pa.uuid(), lambda rng: uuid.UUID(int=rng.getrandbits(128))),
    "string": (pa.string(), _text),
    "binary": (pa.binary(), lambda rng: rng.randbytes(rng.randrange(9))),
}
_DATES = {"date", "timestamp", "timestamptz"}
_WITHOUT_PARTIAL = {"bool", "time", "binary", *_DATES}


@dataclass(frozen=True)
class MaskedTable:
    """A random table with the masks of its columns."""

    name: str
    schema: pa.Schema
    rows: list[dict[str, Any]]
    masks: dict[str, str]

    @property
    def config(self) -> dict[str, Any]:
        """The settings of its masks."""
        return {"masks": {self.name: self.masks}, "mask_key": MASK_KEY}

    @property
    def batch(self) -> pa.RecordBatch:
        """All rows, not masked."""
        arrays = [_array([row[column.name] for row in self.rows], column.type) for column in self.schema]
        return pa.RecordBatch.from_arrays(arrays, schema=self.schema)

    def masked(self, *, cut: int = 0) -> pa.RecordBatch:
        """All rows but the first ones, masked column-wise: also batches that are slices of others are."""
        plan = self._plan(self.schema)
        batch = self.batch.slice(cut)
        return batch if plan is None else masked_batch(batch, plan, plan.schema(self.schema))

    def record_schema(self) -> dict[str, Any]:
        """The JSON Schema that a tap of dict records would declare; JSON documents are objects there."""
        schema = singer_from_schema(self.schema)
        for column in self.schema:
            if kind_of(column) == "json":
                schema["properties"][column.name] = {}
        return schema

    def masked_records(self) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """Return JSON Schema and records of the dict lane, masked value by value."""
        declared = self.record_schema()
        columns = stream_columns(declared, keys=("id",))
        plan = self._plan(columns)
        records = list(self._records())
        if plan is None:
            return declared, records
        return masked_jsonschema(declared, plan), [masked_record(each, plan, columns) for each in records]

    def _records(self) -> Iterator[dict[str, Any]]:
        documents = [column.name for column in self.schema if kind_of(column) == "json"]
        for block in record_lines(self.batch, stream=""):
            for line in block.to_pybytes().splitlines():
                record = json.loads(line, parse_float=Decimal)["record"]
                for name in documents:
                    if record[name] is not None:
                        record[name] = json.loads(record[name], parse_float=Decimal)
                yield record

    def _plan(self, schema: pa.Schema) -> Plan | None:
        return Plan.of(Masks.from_config(self.config), schema, stream=self.name, keys=("id",))


def random_table(seed: int, *, rows: int = 40) -> MaskedTable:
    """Make a table of one to ten columns, nested ones too, with masks that fit them; the same for a seed."""
    rng = random.Random(seed)  # noqa: S311 - nothing is kept secret with it
    fields = [pa.field("id", pa.int64(), nullable=False)]
    makers: dict[str, Callable[[], Any]] = {}
    masks = {"id": "hash"} if rng.random() < 0.3 else {}
    for number in range(rng.randrange(1, 11)):
        name = f"c{number}_{rng.choice(_NAMES)}"
        field, make = _column(rng, name, depth=2)
        fields.append(field)
        makers[name] = make
        masks |= dict(_masks(rng, field, name))
    made = [{"id": number, **{name: make() for name, make in makers.items()}} for number in range(rows)]
    return MaskedTable(f"t{seed}", pa.schema(fields), made, masks)


def _column(rng: random.Random, name: str, *, depth: int) -> tuple[pa.Field, Callable[[], Any]]:
    shape = rng.choice(["scalar", "scalar", "struct", "list", "map", "json"]) if depth else "scalar"
    if shape == "json" and depth == 2:  # in nested columns, foreign tables have texts there
        return pa.field(name, pa.string(), metadata={KIND: b"json"}), _or_null(
            rng, lambda: json_text({part: _document(rng) for part in rng.sample(_NAMES, 3)})
        )
    if shape == "struct":
        parts = [_column(rng, f"p{number}", depth=depth - 1) for number in range(rng.randrange(1, 4))]
        kind = pa.struct([part for part, _ in parts])
        return pa.field(name, kind), _or_null(rng, lambda: {part.name: make() for part, make in parts})
    if shape == "list":
        element, make = _column(rng, "element", depth=depth - 1)
        return pa.field(name, pa.list_(element)), _or_null(
            rng, lambda: [make() for _ in range(rng.randrange(4))]
        )
    if shape == "map":
        value, make = _column(rng, "value", depth=0)
        kind = pa.map_(pa.field("key", pa.string(), nullable=False), value)
        return pa.field(name, kind), _or_null(
            rng, lambda: [(key, make()) for key in rng.sample(_NAMES, rng.randrange(3))]
        )
    # pyarrow makes no UUIDs inside of nested values.
    kind, value_of = _SCALARS[rng.choice([each for each in _SCALARS if depth == 2 or each != "uuid"])]
    return pa.field(name, kind), _or_null(rng, lambda: value_of(rng))


def _array(values: list[Any], kind: pa.DataType) -> pa.Array:
    if kind != pa.uuid():
        return pa.array(values, kind)
    stored = pa.array([None if value is None else value.bytes for value in values], pa.binary(16))
    return pa.ExtensionArray.from_storage(kind, stored)


def _or_null(rng: random.Random, make: Callable[[], Any]) -> Callable[[], Any]:
    return lambda: None if rng.random() < NULLS else make()


def _masks(rng: random.Random, field: pa.Field, path: str) -> Iterator[tuple[str, str]]:
    """Yield masks for a column or its parts, of each kind that fits."""
    if rng.random() < 0.25:
        return
    if kind_of(field) == "json":
        if rng.random() < 0.3:
            yield path, rng.choice(["hash", "redact", "drop"])
        for part in rng.sample(_NAMES, 2):
            yield f"{path}.{part}", rng.choice(["hash", "partial", "redact", "year", "drop"])
        return
    if pa.types.is_nested(field.type) and rng.random() < 0.8:
        for _, child, inner in inner_fields(field, path):
            yield from _masks(rng, child, inner)
        return
    yield path, rng.choice(list(_fitting(field.type)))


def _fitting(kind: pa.DataType) -> Iterator[str]:
    yield from ("redact", "drop")
    name = next((name for name, (known, _) in _SCALARS.items() if known == kind), None)
    if name is not None:
        yield from ("hash", "hash")
        if name in _DATES:
            yield "year"
        if name not in _WITHOUT_PARTIAL:
            yield from ("partial", "partial")
