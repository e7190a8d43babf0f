"""Data lineage."""
