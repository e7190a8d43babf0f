"""Backups of the store."""
