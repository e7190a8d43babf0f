"""The embedded store: one DuckDB file, one writer, one journal that everything derives from."""
