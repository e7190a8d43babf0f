"""Keys of encrypted stores in tests, which need the extra of encryption."""

from typing import Final

import duckdb
import pytest

from spawn.adapters.encryption.encryption_key import EncryptionKey
from spawn.adapters.encryption.engine_extension import find_engine_extension

KEY: Final = EncryptionKey(b"0123456789abcdef" * 4)
OTHER_KEY: Final = EncryptionKey(b"fedcba9876543210" * 4)

needs_encryption: Final = pytest.mark.skipif(
    find_engine_extension(duckdb.__version__) is None,
    reason="the extra encryption is not installed",
)
