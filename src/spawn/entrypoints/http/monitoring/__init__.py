"""Health and metrics routes."""
