"""Parts that the memory and the DuckDB store share."""
