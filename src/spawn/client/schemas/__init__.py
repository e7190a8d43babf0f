"""Schemas, contracts and consumers of a service as typed values."""
