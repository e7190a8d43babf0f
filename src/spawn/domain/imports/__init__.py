"""Import mappings and rows."""
