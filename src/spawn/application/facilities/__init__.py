"""Use cases of facilities: their terms, the entries of their ledgers, and what follows."""
