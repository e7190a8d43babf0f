"""Spawn: a project-finance data product in a box."""

__version__ = "0.1.0"
