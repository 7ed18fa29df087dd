"""Iceberg tables: opened or made, laid out, written and committed."""
