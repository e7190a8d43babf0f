"""The URL of a publisher: where events go, and after `#` how, which is never sent there."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import msgspec

from spawn.domain.errors import InvalidInput
from spawn.ports.publishers import Terms

MAX_NAME = 200
DEFAULT_PREFIX = "spawn.events"
_STARTS = {"newest": False, "oldest": True}
_COMMON = ("name", "start")


class PublisherUrl(msgspec.Struct, frozen=True):
    """A publisher's URL taken apart; `name` holds no secret, `options` are the adapter's own."""

    target: str
    name: str
    from_oldest: bool
    options: Mapping[str, str]

    def terms(self, **more: Any) -> Terms:
        """Terms with what every publisher's URL may say."""
        return Terms(name=self.name, from_oldest=self.from_oldest, **more)


def read_publisher_url(text: str, *known: str) -> PublisherUrl:
    """The parts of a publisher's URL, whose options beside `name` and `start` are the known ones.

    Raises:
        InvalidInput: an option is unknown, repeated or senseless.
    """
    parts = urlsplit(text)
    options = _options(parts.fragment, (*_COMMON, *known))
    start = options.pop("start", "newest")
    if start not in _STARTS:
        raise malformed(f"start is one of {', '.join(_STARTS)}.")
    name = options.pop("name", "") or _plain_name(text)
    if len(name) > MAX_NAME or not name.isprintable():
        raise malformed(f"A publisher's name has at most {MAX_NAME} printable characters.")
    return PublisherUrl(text.partition("#")[0], name, _STARTS[start], options)


def _options(fragment: str, known: tuple[str, ...]) -> dict[str, str]:
    if not fragment:
        return {}
    try:
        pairs = parse_qsl(fragment, keep_blank_values=True, strict_parsing=True)
    except ValueError:
        raise malformed("After # come options, such as #name=risk&start=oldest.") from None
    options = dict(pairs)
    unknown = [name for name in options if name not in known]
    if unknown:
        raise malformed(f"There is no option {unknown[0]!r}; there are {', '.join(known)}.")
    if len(options) < len(pairs):
        raise malformed("An option is given once.")
    return options


def _plain_name(text: str) -> str:
    """The URL without credentials, query and options: any of them may hold a secret."""
    parts = urlsplit(text)
    _, _, place = parts.netloc.rpartition("@")
    return f"{parts.scheme}://{place}{parts.path}"


def subject_prefix(url: str) -> str:
    """The prefix of the subjects that a broker's URL names."""
    return unquote(urlsplit(url).path.strip("/")) or DEFAULT_PREFIX


def malformed(detail: str) -> InvalidInput:
    """The one error about a publisher's URL."""
    return InvalidInput.at("", "url_malformed", detail)
