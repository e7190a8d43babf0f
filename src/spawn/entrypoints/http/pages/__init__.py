"""Pages that show several nouns together."""
