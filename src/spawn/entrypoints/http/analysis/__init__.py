"""The calculators and the simulation over HTTP: strict reading, answers in three forms."""
