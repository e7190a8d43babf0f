"""Contract suite of the storage ports."""
