"""HTTP routes and HTML pages of data lineage."""
