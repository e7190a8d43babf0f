"""Local ontology server for development and drills."""
