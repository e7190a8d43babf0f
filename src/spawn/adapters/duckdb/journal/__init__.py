"""The journal: append, recovery and group commit."""
