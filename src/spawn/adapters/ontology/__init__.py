"""Schema registries: the ontology server over HTTP with its fallbacks, and the bundled schema."""
