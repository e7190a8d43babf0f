"""An ontology server of an organisation's own, in the standard library alone."""
