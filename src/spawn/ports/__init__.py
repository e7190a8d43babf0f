"""Protocols that adapters implement for the application, and the values they exchange."""
