"""Data quality: rules, measures and reports."""
