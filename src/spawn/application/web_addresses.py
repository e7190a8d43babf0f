"""Web addresses in text: URLs, hosts, origins and networks."""

import ipaddress
import re
from typing import Final

from spawn.domain.text import split_url, split_web_url

_SCHEME: Final = re.compile(r"[a-z][a-z0-9+.-]*://")
_SCHEMES_OF_ONE_ADDRESS: Final = ("log:", "http:", "https:")
_HOST: Final = re.compile(r"[A-Za-z0-9._-]{1,253}|\[?[0-9a-fA-F:.]{2,45}\]?|\*")


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
