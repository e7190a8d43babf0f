"""Comparison of schema versions and migration between them."""
