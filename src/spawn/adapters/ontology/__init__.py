"""Schema registries: the ontology server over HTTP with its ladder, and the bundled schema."""
