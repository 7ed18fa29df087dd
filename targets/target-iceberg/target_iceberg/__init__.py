"""The loader: any Singer tap into Apache Iceberg tables."""

from icetap.allocator import keep_memory_flat

keep_memory_flat()  # also in programs other than its own, which import it
