"""What the core asks of the world: protocols and their promises, nothing else."""
