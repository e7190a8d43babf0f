"""Facilities on record: their terms, the facts of their ledgers, and what follows from both."""
