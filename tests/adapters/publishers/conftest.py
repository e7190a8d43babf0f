"""Webhook receiver, secrets file and addresses of names."""

import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

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


class AddressBook:
    """Addresses of the names of `.example`, in place of a name server; other hosts have theirs."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.look_up: Callable[[str], list[str]] = lambda _name: ["127.0.0.1"]
        self._look_up_other = socket.getaddrinfo

    def getaddrinfo(self, host: Any, port: Any, *args: Any, **options: Any) -> list[Any]:
        name = host.decode() if isinstance(host, bytes) else host
        if not str(name).removesuffix(".").endswith(".example"):
            return list(self._look_up_other(host, port, *args, **options))
        self.names.append(name)
        return [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port or 0))
            for address in self.look_up(name)
        ]


@pytest.fixture
def address_book(monkeypatch: pytest.MonkeyPatch) -> AddressBook:
    address_book = AddressBook()
    monkeypatch.setattr(socket, "getaddrinfo", address_book.getaddrinfo)
    return address_book
