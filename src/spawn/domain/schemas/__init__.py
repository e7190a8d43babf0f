"""Governed schemas: parsing, validation and evolution."""
