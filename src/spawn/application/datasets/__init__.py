"""Datasets that can be downloaded: their columns, their rows and the formats of a file."""
