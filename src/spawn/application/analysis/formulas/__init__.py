"""Formulas of the figures of construction, sizing and deal, as explanations."""
