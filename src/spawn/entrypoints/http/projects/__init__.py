"""HTTP routes of projects."""
