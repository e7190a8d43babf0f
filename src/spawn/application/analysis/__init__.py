"""Use cases of analysis: calculators and simulations."""
