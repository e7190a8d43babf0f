"""Access tokens (JWT) of an OpenID Connect issuer."""
