"""The shortest way to the same bytes: read a table with ADBC's SQLite driver, write it with pyarrow as Parquet zstd.

    python adbc_parquet.py DATABASE TABLE FILE

No types are checked, no bookmark is kept, nothing is committed: it is the floor, not an alternative.
"""

from __future__ import annotations

import sys

import adbc_driver_sqlite
import pyarrow as pa
import pyarrow.parquet as pq
from adbc_driver_manager import AdbcConnection, AdbcStatement


def main() -> None:
    """Copy one table."""
    database, table, target = sys.argv[1:]
    with (
        adbc_driver_sqlite.connect(f"file:{database}?mode=ro") as opened,
        AdbcConnection(opened) as connection,
        AdbcStatement(connection) as statement,
    ):
        statement.set_options(**{"adbc.sqlite.query.batch_rows": "65536"})
        statement.set_sql_query(f'select * from "{table}"')
        handle, _ = statement.execute_query()
        with pa.RecordBatchReader.from_stream(handle) as reader:
            writer = pq.ParquetWriter(target, reader.schema, compression="zstd")
            for batch in reader:
                writer.write_batch(batch)
            writer.close()


if __name__ == "__main__":
    main()
