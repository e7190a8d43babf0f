"""Domain events and CloudEvents."""
