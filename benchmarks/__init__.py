"""Measurements: ratios taken in one run, never assertions on time."""
