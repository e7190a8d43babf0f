"""URL of a NATS publisher: servers, credentials, files for TLS, subjects and stream."""

from urllib.parse import SplitResult, unquote, urlsplit

import msgspec

from spawn.adapters.publishers.url import (
    PublisherUrl,
    malformed_url_error,
    parse_publisher_url,
    parse_subject_prefix,
)
from spawn.domain.text import check_address

DEFAULT_PORT = 4222
MAX_SERVERS = 16
SUBJECT_LAYOUTS = ("type", "type.id")
"""Layouts of a subject after its prefix; the first is the default."""

_ENCRYPTED_SCHEME = "nats+tls"
_FILE_OPTIONS = ("creds", "cert", "key", "ca")
_TLS_OPTIONS = ("cert", "key", "ca")
_TOKEN_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")


class NatsCredentials(msgspec.Struct, frozen=True, kw_only=True):
    """Credentials for the CONNECT of a client: a user and a password, or a token, or none."""

    user: str | None = None
    password: str | None = None
    token: str | None = None


class NatsUrl(msgspec.Struct, frozen=True, kw_only=True):
    """Parts of a NATS publisher's URL.

    `servers` are tried in random order. `files` are paths by option: `creds` with a user's JWT and
    seed, `cert` and `key` of the client, `ca` with the authorities that may sign the server's
    certificate. `stream` is None where any stream with the subject will do.
    """

    publisher_url: PublisherUrl
    servers: tuple[str, ...]
    is_encrypted: bool
    credentials: NatsCredentials
    files: dict[str, str]
    prefix: str
    has_id_in_subject: bool
    stream: str | None


def parse_nats_url(text: str) -> NatsUrl:
    """Parse `nats[+tls]://[user:password@]host[:port][,host[:port]…]/subject.prefix#options`.

    Raises:
        InvalidInput: the URL is malformed.
    """
    publisher_url = parse_publisher_url(text, "stream", "subject", *_FILE_OPTIONS)
    parts, options = urlsplit(publisher_url.target), publisher_url.options
    if parts.query:
        raise malformed_url_error("A NATS URL is nats://host:port/subject.prefix and has no query.")
    servers, credentials = _parse_servers(parts)
    is_encrypted = parts.scheme == _ENCRYPTED_SCHEME
    files = {name: options[name] for name in _FILE_OPTIONS if name in options}
    _check_files(files, credentials, is_encrypted=is_encrypted)
    layout = options.get("subject", SUBJECT_LAYOUTS[0])
    if layout not in SUBJECT_LAYOUTS:
        raise malformed_url_error(f"subject is one of {', '.join(SUBJECT_LAYOUTS)}.")
    return NatsUrl(
        publisher_url=publisher_url,
        servers=servers,
        is_encrypted=is_encrypted,
        credentials=credentials,
        files=files,
        prefix=_parse_prefix(publisher_url.target),
        has_id_in_subject=layout != SUBJECT_LAYOUTS[0],
        stream=_parse_stream(options.get("stream")),
    )


def format_token(text: str) -> str:
    """Return a text as one token of a subject; every other character is percent-encoded."""
    return "".join(
        character
        if character in _TOKEN_CHARACTERS
        else "".join(f"%{byte:02X}" for byte in character.encode())
        for character in text
    )


def _parse_servers(parts: SplitResult) -> tuple[tuple[str, ...], NatsCredentials]:
    """Return the servers without credentials, and the credentials that they share."""
    servers, credentials = [], set[NatsCredentials]()
    for text in parts.netloc.replace("%2C", ",").replace("%2c", ",").split(","):
        user_info, _, address = text.rpartition("@")
        servers.append(_parse_server(address))
        if user_info:
            credentials.add(_parse_credentials(user_info))
    if len(credentials) > 1:
        raise malformed_url_error("The servers of a NATS URL share one user and password.")
    if len(servers) > MAX_SERVERS:
        raise malformed_url_error(f"A NATS URL has at most {MAX_SERVERS} servers.")
    return tuple(servers), credentials.pop() if credentials else NatsCredentials()


def _parse_server(address: str) -> str:
    from httpx import URL, InvalidURL  # a start without such a publisher does without

    try:
        check_address(address)
        # The A-labels of an international name: the library's resolver encodes it by IDNA 2003,
        # which makes another domain of one with ß, ς or a joiner.
        address = URL(f"nats://{address}").netloc.decode("ascii")
    except (ValueError, InvalidURL) as failure:
        raise malformed_url_error(
            "A NATS URL is nats://host:port/subject.prefix, with a comma between several servers:"
            f" {failure}."
        ) from None
    has_port = address.rpartition("]")[2].count(":") == 1
    return address if has_port else f"{address}:{DEFAULT_PORT}"


def _parse_credentials(text: str) -> NatsCredentials:
    """Decode the user and the password, or the token if there is no password."""
    user, colon, password = text.partition(":")
    if not colon:
        return NatsCredentials(token=unquote(user))
    return NatsCredentials(user=unquote(user), password=unquote(password))


def _parse_prefix(target: str) -> str:
    prefix = parse_subject_prefix(target)
    if not all(token and _TOKEN_CHARACTERS.issuperset(token) for token in prefix.split(".")):
        raise malformed_url_error(
            "A subject's prefix is words of letters, digits, - and _ joined by dots."
        )
    return prefix


def _parse_stream(text: str | None) -> str | None:
    if text is not None and not (text and _TOKEN_CHARACTERS.issuperset(text)):
        raise malformed_url_error("A stream's name is letters, digits, - and _.")
    return text


def _check_files(
    files: dict[str, str], credentials: NatsCredentials, *, is_encrypted: bool
) -> None:
    empty = [name for name, path in files.items() if not path]
    if empty:
        raise malformed_url_error(f"The option {empty[0]} names no file.")
    if ("cert" in files) != ("key" in files):
        raise malformed_url_error("cert and key name the files of one client: give both.")
    if not is_encrypted and any(name in files for name in _TLS_OPTIONS):
        raise malformed_url_error(f"cert, key and ca need {_ENCRYPTED_SCHEME}://.")
    if "creds" in files and credentials != NatsCredentials():
        raise malformed_url_error("Give credentials in the URL or a creds file, not both.")
