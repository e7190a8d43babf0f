"""A whole deal: construction and operation in one model."""
