"""Imports of facilities and of entries of ledgers."""
