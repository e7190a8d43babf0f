"""HTTP routes of schema governance."""
