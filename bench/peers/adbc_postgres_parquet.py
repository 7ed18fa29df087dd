"""The shortest way from PostgreSQL: read a table with ADBC's driver, write it with pyarrow as Parquet zstd.

    python adbc_postgres_parquet.py URL TABLE FILE

Decimals stay texts, as the driver gives them; no bookmark is kept, nothing is committed: it is the floor, not an alternative.
"""

from __future__ import annotations

import sys

import adbc_driver_postgresql
import pyarrow as pa
import pyarrow.parquet as pq
from adbc_driver_manager import AdbcConnection, AdbcStatement


def main() -> None:
    """Copy one table."""
    url, table, target = sys.argv[1:]
    with (
        adbc_driver_postgresql.connect(url) as opened,
        AdbcConnection(opened) as connection,
        AdbcStatement(connection) as statement,
    ):
        statement.set_sql_query(f'select * from "{table}"')
        handle, _ = statement.execute_query()
        with pa.RecordBatchReader.from_stream(handle) as reader:
            plain = pa.schema(pa.field(field.name, _plain(field.type)) for field in reader.schema)
            writer = pq.ParquetWriter(target, plain, compression="zstd")
            for batch in reader:
                arrays = [_storage(array) for array in batch.columns]
                writer.write_batch(pa.RecordBatch.from_arrays(arrays, schema=plain))
            writer.close()


def _plain(kind: pa.DataType) -> pa.DataType:
    return kind.storage_type if isinstance(kind, pa.BaseExtensionType) else kind


def _storage(array: pa.Array) -> pa.Array:
    return array.storage if isinstance(array, pa.ExtensionArray) else array


if __name__ == "__main__":
    main()
