"""Embedded store: one DuckDB file, one writer, and one journal that all tables derive from."""
