"""A short way from a database: read a table with connectorx, in batches, write it with pyarrow as Parquet zstd.

    python connectorx_parquet.py URL TABLE FILE

Decimals are cut to ten places, as connectorx does; no bookmark is kept, nothing is committed: it is the floor, not an
alternative.
"""

from __future__ import annotations

import sys

import connectorx
import pyarrow.parquet as pq

BATCH_ROWS = 65_536


def main() -> None:
    """Copy one table."""
    url, table, target = sys.argv[1:]
    reader = connectorx.read_sql(
        url, f"select * from {table}", return_type="arrow_stream", batch_size=BATCH_ROWS
    )
    writer = pq.ParquetWriter(target, reader.schema, compression="zstd")
    for batch in reader:
        writer.write_batch(batch)
    writer.close()


if __name__ == "__main__":
    main()
