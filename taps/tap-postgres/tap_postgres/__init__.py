"""Reads tables, views and queries of PostgreSQL databases."""
