"""The HTTP application: Litestar routes behind one ASGI middleware."""
