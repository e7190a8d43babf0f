"""Encryption at rest: keys, sealed files, and the extension that lets the engine encrypt."""
