"""Decisions about the adoption of a version: violations, dry runs, and those of stewards."""
