"""Snapshots of a product, without a service."""

import pytest
from tests.application.product.conftest import SnapshotFactory


@pytest.fixture
def snapshots() -> SnapshotFactory:
    return SnapshotFactory()
