"""The HTTP surface: Litestar routes inside one pure-ASGI wrapper."""
