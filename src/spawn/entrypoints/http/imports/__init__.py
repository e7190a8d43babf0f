"""HTTP routes of imports."""
