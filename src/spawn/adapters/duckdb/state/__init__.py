"""State tables, derived from the journal."""
