"""Webhook receiver and secrets file."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.adapters.publishers.receiver import Receiver

OLD_SECRET = "whsec_" + "b2xk" * 8
NEW_SECRET = "whsec_" + "bmV3" * 8


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    await receiver.come_back()
    yield receiver
    await receiver.go_away()


@pytest.fixture
def secrets_file(tmp_path: Path) -> Path:
    path = tmp_path / "secrets"
    path.write_text(f"# for all receivers\n{OLD_SECRET}\n")
    return path
