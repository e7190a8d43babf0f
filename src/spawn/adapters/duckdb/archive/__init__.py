"""Archive of a journal: backup, verification, restore."""
