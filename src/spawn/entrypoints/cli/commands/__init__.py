"""Grammar of the commands, and the call of what each does."""
