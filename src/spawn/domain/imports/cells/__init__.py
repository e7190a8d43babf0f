"""Cells of a row: numbers, dates and their conversion."""
