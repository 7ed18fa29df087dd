"""dlt: one table of a SQLite file, or of the database at a URL, into Iceberg on local disk.

python dlt_iceberg.py DATABASE TABLE FOLDER BACKEND
"""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Load one table, replacing what is there."""
    database, table, folder, backend = sys.argv[1:]
    os.environ["DLT_DATA_DIR"] = f"{folder}/dlt"
    os.environ["RUNTIME__DLTHUB_TELEMETRY"] = "false"
    import dlt
    from dlt.sources.sql_database import sql_table

    address = database if "://" in database else f"sqlite:///{database}"
    source = sql_table(address, table=table, backend=backend, reflection_level="full_with_precision")
    pipeline = dlt.pipeline(
        "bench",
        destination=dlt.destinations.filesystem(bucket_url=f"file://{folder}/lake"),
        dataset_name="raw",
        pipelines_dir=f"{folder}/pipelines",
    )
    pipeline.run(source, table_format="iceberg", write_disposition="replace")
    print(dlt.__version__)


if __name__ == "__main__":
    main()
