"""URL of a publisher, with its options in the fragment, which is never sent."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import msgspec

from spawn.domain.errors import InvalidInput
from spawn.domain.text import escape_unprintable, split_url
from spawn.ports.publishers import DeliveryOptions

MAX_NAME_LENGTH = 200
DEFAULT_SUBJECT_PREFIX = "spawn.events"
_FROM_OLDEST_BY_START = {"newest": False, "oldest": True}
_COMMON_OPTIONS = ("name", "start")


class PublisherUrl(msgspec.Struct, frozen=True):
    """Parts of a publisher's URL; `name` holds no secret, `options` are the adapter's own."""

    target: str
    name: str
    from_oldest: bool
    options: Mapping[str, str]

    def delivery_options(self, **options: Any) -> DeliveryOptions:
        """Return the given options with the name and start position of the URL."""
        return DeliveryOptions(name=self.name, from_oldest=self.from_oldest, **options)


def parse_publisher_url(text: str, *adapter_options: str) -> PublisherUrl:
    """Parse a publisher's URL; options are `name`, `start` and those of the adapter.

    Raises:
        InvalidInput: an option is unknown, repeated or out of range.
    """
    try:
        parts = split_url(text)
    except ValueError as failure:
        raise malformed_url_error(f"{str(failure).capitalize()}.") from None
    options = _parse_options(parts.fragment, (*_COMMON_OPTIONS, *adapter_options))
    start = options.pop("start", "newest")
    if start not in _FROM_OLDEST_BY_START:
        raise malformed_url_error(f"start is one of {', '.join(_FROM_OLDEST_BY_START)}.")
    name = options.pop("name", "") or escape_unprintable(_redact_url(text))
    if len(name) > MAX_NAME_LENGTH or not name.isprintable():
        raise malformed_url_error(
            f"A publisher's name has at most {MAX_NAME_LENGTH} printable characters."
        )
    return PublisherUrl(text.partition("#")[0], name, _FROM_OLDEST_BY_START[start], options)


def _parse_options(fragment: str, names: tuple[str, ...]) -> dict[str, str]:
    if not fragment:
        return {}
    try:
        pairs = parse_qsl(fragment, keep_blank_values=True, strict_parsing=True)
    except ValueError:
        raise malformed_url_error(
            "The text after # is not a list of options, such as #name=risk&start=oldest."
        ) from None
    options = dict(pairs)
    unknown = [name for name in options if name not in names]
    if unknown:
        raise malformed_url_error(
            f"There is no option {unknown[0]!r}; the options are {', '.join(names)}."
        )
    if len(options) < len(pairs):
        raise malformed_url_error("An option occurs twice; give each option once.")
    return options


def _redact_url(text: str) -> str:
    """Return the URL without credentials, query and options: each of them may hold a secret."""
    parts = urlsplit(text)
    addresses = (server.rpartition("@")[2] for server in parts.netloc.split(","))
    return f"{parts.scheme}://{','.join(addresses)}{parts.path}"


def parse_subject_prefix(url: str) -> str:
    """Return the prefix of subjects that a broker's URL names, or the default."""
    return unquote(urlsplit(url).path.strip("/")) or DEFAULT_SUBJECT_PREFIX


def malformed_url_error(detail: str) -> InvalidInput:
    """Return the error for a malformed publisher URL."""
    return InvalidInput.at("", "url_malformed", detail)
