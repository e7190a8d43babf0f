"""Workers as subprocesses of the service."""
