"""Fixtures of the tests of archives."""

from tests.adapters.archives.fixtures import certificates, folder, prefix, proxy, s3_port

__all__ = ["certificates", "folder", "prefix", "proxy", "s3_port"]
