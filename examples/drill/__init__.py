"""Drill of live schema evolution: a real service, a real ontology server, eight clients."""
