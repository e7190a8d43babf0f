"""Online schema migration."""
