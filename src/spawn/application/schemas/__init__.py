"""Use cases of schemas: activation and adoption."""
