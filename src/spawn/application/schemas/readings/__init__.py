"""Readings of the registry, on which the decisions of a refresh rest."""
