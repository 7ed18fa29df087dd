"""pyiceberg's own `Table.upsert`: 1 table, rows that exist already and have changed; prints the seconds it took.

    python pyiceberg_upsert.py WAREHOUSE PARQUET EVERY

PARQUET holds the table; every row whose id is a multiple of EVERY is changed and upserted.
"""

from __future__ import annotations

import sys
import time

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyiceberg.catalog.sql import SqlCatalog


def main() -> None:
    """Load, change, upsert."""
    warehouse, source, every = sys.argv[1:]
    catalog = SqlCatalog("peer", uri=f"sqlite:///{warehouse}/catalog.db", warehouse=f"file://{warehouse}")
    catalog.create_namespace("raw")
    rows = pq.read_table(source)
    table = catalog.create_table("raw.orders", schema=rows.schema)
    table.append(rows)
    numbers = rows["id"]
    multiple = pc.equal(pc.multiply(pc.divide(numbers, int(every)), int(every)), numbers)
    changed = rows.filter(multiple)
    place = changed.schema.get_field_index("quantity")
    quantity = pc.add(pc.fill_null(changed["quantity"], 0), 1).cast(pa.int64())
    changed = changed.set_column(place, "quantity", quantity)
    started = time.monotonic()
    result = table.upsert(changed, join_cols=["id"])
    print(f"{time.monotonic() - started:.3f} {result.rows_updated} {result.rows_inserted}")


if __name__ == "__main__":
    main()
