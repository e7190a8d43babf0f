"""Monte Carlo simulation."""
