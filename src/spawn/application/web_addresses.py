"""Web addresses in text: URLs, hosts, origins and networks."""

import ipaddress
import re
from typing import Final

import msgspec

from spawn.domain.text import split_url, split_web_url

_SCHEME: Final = re.compile(r"[a-z][a-z0-9+.-]*://")
_SCHEMES_OF_ONE_ADDRESS: Final = ("log:", "http:", "https:")
UNIX: Final = "unix"
"""The name of all clients of a Unix socket, where networks of proxies are expected."""

MAX_SOCKET_PATH_BYTES: Final = 107
"""Longest path of a Unix socket; the kernel stores a zero behind it."""

_LAST_PORT: Final = 65_535
_SOCKET_MODE: Final = re.compile(r"0?[0-7]{3}")
_READ_WRITE: Final = 6
_HOST: Final = re.compile(r"[A-Za-z0-9._-]{1,253}|\[?[0-9a-fA-F:.]{2,45}\]?|\*")


class ListenAddress(msgspec.Struct, frozen=True, kw_only=True):
    """An address to listen on: a host and a port, or the path of a Unix socket."""

    host: str = ""
    port: int = 0
    path: str = ""

    @property
    def is_local(self) -> bool:
        """Whether only this machine can connect."""
        return bool(self.path) or is_loopback(self.host)

    def __str__(self) -> str:
        """Return the address as a setting has it."""
        if self.path:
            return f"{UNIX}:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def is_loopback(host: str) -> bool:
    """Whether a host name or an address is this machine's own."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def parse_web_url(text: str) -> str:
    """Return an http or https URL without a slash at its end.

    Raises:
        ValueError: the text is no such value; the message names the rule.
    """
    parts = split_web_url(text)
    if parts.query or parts.fragment:
        raise ValueError("the URL must not have a query or fragment")
    return text.rstrip("/")


def parse_public_url(text: str) -> str:
    """Return a web URL that may be published: it has no credentials.

    Raises:
        ValueError: the text is no such value; the message names the rule.
    """
    if "@" in split_url(text).netloc:
        raise ValueError("the URL is public and must not contain credentials")
    return parse_web_url(text)


def parse_contact(text: str) -> str:
    """Return a contact: a `mailto:` address or a public URL.

    Raises:
        ValueError: the text is no such value; the message names the rule.
    """
    address = text.removeprefix("mailto:")
    if address != text and re.fullmatch(r"[^\s@<>\"?]{1,64}@[A-Za-z0-9.-]{1,190}", address):
        return text
    return parse_public_url(text)


def parse_host(text: str) -> str:
    """Return a host name or address, without the brackets of IPv6.

    Raises:
        ValueError: the text is no such value; the message names the rule.
    """
    if not _HOST.fullmatch(text) or text == "*":
        raise ValueError("a host name or address is expected")
    return text.strip("[]")


def parse_unix_address(text: str) -> ListenAddress:
    """Return the address of a Unix socket: `unix:` and an absolute path.

    Raises:
        ValueError: the text is no such value; the message names the rule.
    """
    scheme, _, path = text.partition(":")
    if scheme != UNIX or not path.startswith("/") or path.endswith("/") or "\0" in path:
        raise ValueError("a Unix socket is expected, such as unix:/run/spawn/http.sock")
    if len(path.encode()) > MAX_SOCKET_PATH_BYTES:
        raise ValueError(f"the path of the socket exceeds {MAX_SOCKET_PATH_BYTES} bytes")
    return ListenAddress(path=path)


def parse_listen_address(text: str) -> ListenAddress:
    """Return an address to listen on: `host:port`, or `unix:` and an absolute path.

    Raises:
        ValueError: the text is no such value; the message names the rule.
    """
    if text.startswith(f"{UNIX}:"):
        return parse_unix_address(text)
    host, _, port = text.rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or int(port[:6]) > _LAST_PORT:
        raise ValueError("host:port is expected, or unix: and a path")
    if ":" in host and not host.startswith("["):
        raise ValueError("an IPv6 address is written in brackets, such as [::1]:9000")
    return ListenAddress(host=parse_host(host), port=int(port))


def parse_socket_mode(text: str) -> str:
    """Return the permissions of a Unix socket, of three octal digits.

    Raises:
        ValueError: the text is no such value; the message names the rule.
    """
    if not _SOCKET_MODE.fullmatch(text):
        raise ValueError("three octal digits are expected, such as 660")
    if int(text[0]) & _READ_WRITE != _READ_WRITE:
        raise ValueError("the owner must be able to read and write, such as 600")
    return text


def parse_hosts(text: str) -> tuple[str, ...]:
    """Return host names separated by commas.

    Raises:
        ValueError: the text is no such value; the message names the rule.
    """
    hosts = _split_list(text)
    for host in hosts:
        if not _HOST.fullmatch(host):
            raise ValueError(f"{host!r} is not a host name; leave out scheme and port")
    return hosts


def parse_origins(text: str) -> tuple[str, ...]:
    """Return web origins separated by commas; `*` is any.

    Raises:
        ValueError: the text is no such value; the message names the rule.
    """
    origins = _split_list(text)
    for origin in origins:
        if origin != "*" and not _is_origin(origin):
            raise ValueError(f"{origin!r} is not an origin, such as https://desk.example")
    return origins


def _is_origin(text: str) -> bool:
    try:
        parts = split_web_url(text)
    except ValueError:
        return False
    return not (parts.path or parts.query or parts.fragment or "@" in parts.netloc)


def _split_list(text: str) -> tuple[str, ...]:
    return tuple(item.strip() for item in text.split(",") if item.strip())


def parse_publisher_urls(text: str) -> tuple[str, ...]:
    """Return URLs with any scheme, separated by commas.

    A part without a scheme is one more server of the URL before it, unless that has one address.

    Raises:
        ValueError: the text is no such value; the message names the rule.
    """
    urls: list[str] = []
    for part in _split_list(text):
        if _SCHEME.match(part):
            urls.append(part)
        elif urls and not urls[-1].startswith(_SCHEMES_OF_ONE_ADDRESS):
            urls[-1] += f",{part}"
        else:
            raise ValueError("URLs separated by commas are expected, such as log://")
    for number, url in enumerate(urls, start=1):
        try:
            split_url(url)
        except ValueError as failure:
            raise ValueError(f"URL {number}: {failure}") from None
    return tuple(urls)


def parse_networks(text: str) -> tuple[str, ...]:
    """Return IP networks separated by commas.

    Raises:
        ValueError: the text is no such value; the message names the rule.
    """
    networks = _split_list(text)
    for network in networks:
        try:
            ipaddress.ip_network(network)
        except ValueError:
            raise ValueError(f"{network!r} is not a network, such as 10.1.0.0/16") from None
    return networks


def parse_proxies(text: str) -> tuple[str, ...]:
    """Return IP networks separated by commas; `unix` is every client of a Unix socket.

    Raises:
        ValueError: the text is no such value; the message names the rule.
    """
    names = _split_list(text)
    parse_networks(",".join(name for name in names if name != UNIX))
    return names
