"""HTTP routes of data quality."""
