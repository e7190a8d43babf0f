"""Use cases of data quality."""
