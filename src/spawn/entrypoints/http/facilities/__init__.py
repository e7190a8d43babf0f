"""Facilities and their ledgers over HTTP."""
