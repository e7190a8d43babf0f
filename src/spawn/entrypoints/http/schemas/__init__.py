"""Routes of schema governance."""
