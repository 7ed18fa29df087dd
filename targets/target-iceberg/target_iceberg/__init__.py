"""The loader: any Singer tap into Apache Iceberg tables."""
