"""The service of the HTTP tests, for the clients."""

from tests.http.conftest import discard_access_log, service

__all__ = ["discard_access_log", "service"]
