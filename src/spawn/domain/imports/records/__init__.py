"""Rows of a file as facilities, or as entries of ledgers."""
