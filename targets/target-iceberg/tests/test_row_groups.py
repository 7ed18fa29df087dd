"""How rows are laid out in a Parquet file: row groups of one size, dictionaries where values repeat."""

from __future__ import annotations

import random
import uuid

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from target_iceberg.tables.writer import ROW_GROUP_ROWS, DataFileWriter, WriterOptions

ROWS = 300_000


@pytest.fixture
def metadata_of(lake, singer):
    """Write columns into a file of a table that has them; its Parquet metadata, and its values."""

    def write(columns, schemas, *, batch_rows):
        lake.ok(singer.schema(properties={"id": {"type": "integer"}, **schemas}))
        table = lake.table()
        ids = pa.array(range(ROWS), pa.int64())
        rows = pa.Table.from_arrays([ids, *columns.values()], names=["id", *columns])
        writer = DataFileWriter(table, schema=table.schema(), options=WriterOptions("row-groups"))
        for batch in rows.to_batches(max_chunksize=batch_rows):
            writer.write(batch)
        (file,) = writer.close()
        found = pq.ParquetFile(file.file_path.removeprefix("file://"))
        assert found.read().to_pydict() == rows.to_pydict()
        return found.metadata

    return write


@pytest.mark.parametrize("batch_rows", [1000, 59_399, 131_072, 299_999])
def test_row_groups_have_one_size_whatever_the_batches(metadata_of, batch_rows):
    found = metadata_of({}, {}, batch_rows=batch_rows)

    sizes = [found.row_group(number).num_rows for number in range(found.num_row_groups)]
    assert sizes == [ROW_GROUP_ROWS, ROW_GROUP_ROWS, ROWS - 2 * ROW_GROUP_ROWS]
    assert all(found.row_group(number).column(0).statistics.has_min_max for number in range(3))


def test_columns_whose_values_hardly_repeat_have_no_dictionary(metadata_of):
    chance = random.Random(0)
    numbers = {
        "many": [chance.randrange(10**9) for _ in range(ROWS)],
        "many_and_nulls": [chance.choice([None, chance.randrange(10**9)]) for _ in range(ROWS)],
        "thousands": [chance.randrange(10_000) for _ in range(ROWS)],
        "few_beside_nulls": [chance.randrange(10**9) if row % 100 == 0 else None for row in range(ROWS)],
    }
    columns = {
        **{name: pa.array(values, pa.int64()) for name, values in numbers.items()},
        "status": pa.array(["open", "paid", None] * (ROWS // 3)),
        "uuid": pa.ExtensionArray.from_storage(
            pa.uuid(), pa.array([uuid.UUID(int=row).bytes for row in range(ROWS)], pa.binary(16))
        ),
    }
    schemas = {
        **{name: {"type": ["null", "integer"]} for name in numbers},
        "status": {"type": ["null", "string"]},
        "uuid": {"type": ["null", "string"], "format": "uuid"},
    }

    group = metadata_of(columns, schemas, batch_rows=50_000).row_group(0)

    with_dictionary = {
        group.column(place).path_in_schema
        for place in range(group.num_columns)
        if group.column(place).has_dictionary_page
    }
    assert with_dictionary == {"thousands", "few_beside_nulls", "status"}
