"""tap-sqlite: a Singer tap for SQLite database files."""
