"""Rates of return."""
