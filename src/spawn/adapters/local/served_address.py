"""File beside a store's file with the address at which a process serves it."""

from pathlib import Path
from typing import Final

import msgspec

_SUFFIX: Final = ".serving"


class ServedAddress(msgspec.Struct, frozen=True):
    """Address at which a file is served; after a crash it is out of date.

    `admin_url` is the address for operators, if they have one of their own.
    """

    url: str
    admin_url: str = ""


def find_address_file(store_file: Path) -> Path:
    """Return the path of the address file of a store's file."""
    return store_file.with_name(store_file.name + _SUFFIX)


def read_served_address(store_file: Path | None) -> ServedAddress | None:
    """Return the address written by the process that has the file open."""
    path = None if store_file is None else find_address_file(store_file)
    if path is None or not path.is_file():
        return None
    try:
        return msgspec.json.decode(path.read_bytes(), type=ServedAddress)
    except msgspec.DecodeError:
        return None


class AddressFile:
    """Address file beside a store's file; removed only by the process that wrote it."""

    def __init__(self) -> None:
        self._path: Path | None = None

    def write(self, store_file: Path | None, url: str, admin_url: str = "") -> None:
        """Write the served address; the caller has the file open."""
        if store_file is not None:
            path = find_address_file(store_file)
            path.write_bytes(msgspec.json.encode(ServedAddress(url, admin_url)))
            self._path = path

    def remove(self) -> None:
        """Remove the file, if this process wrote it."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)
