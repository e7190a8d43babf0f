"""HTTP routes of the calculators and simulations."""
