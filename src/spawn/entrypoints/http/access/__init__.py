"""HTTP operations of access."""
