"""The loader: any Singer tap into Apache Iceberg tables."""

import os

# Arrow's own allocator keeps much of what it has freed: a merge of a million rows held 500 MB with it, and
# holds 350 MB with the system's, in the same time (pyarrow 26, 2026-11-21). Read when pyarrow is imported.
os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
