"""The loader: any Singer tap into Apache Iceberg tables."""

from target_iceberg.allocator import keep_memory_flat

keep_memory_flat()
