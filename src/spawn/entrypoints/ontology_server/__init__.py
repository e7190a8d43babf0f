"""A local ontology server."""
