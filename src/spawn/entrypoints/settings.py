"""Settings: the environment, read once, strictly.

A misspelt or malformed variable stops the start with one line that names it.
"""

import difflib
import ipaddress
import re
from collections.abc import Callable, Mapping
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from spawn.application.schemas.activation import SchemaRules
from spawn.domain.errors import InvalidInput
from spawn.domain.schemas.evolution.compatibility import Mode

PREFIX: Final = "SPAWN_"
_SERVICE_URL: Final = "SPAWN_URL"
_SCHEMA_ID: Final = re.compile(r"[a-z][a-z0-9_-]{0,63}")
_PIN: Final = re.compile(r"([a-z][a-z0-9_-]{0,63})@(\d{1,9})")
_PRODUCT_ID: Final = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,98}[a-z0-9])?")
_MAX_OWNER: Final = 200
_HOST: Final = re.compile(r"[A-Za-z0-9._-]{1,253}|\[?[0-9a-fA-F:.]{2,45}\]?|\*")
_LEVELS: Final = ("TRACE", "DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
_ENVIRONMENTS: Final = ("production", "development")
_EXPORTER: Final = "opentelemetry.exporter.otlp.proto.http"
_LOCAL_NAMES: Final = frozenset({"localhost", "127.0.0.1", "::1"})


class SettingsError(Exception):
    """A setting cannot be used; the message is one line that names it."""


class AddressError(Exception):
    """The address of the settings cannot be listened on; the message is one line that says why."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of a service.

    `rate_limit` is requests per second and client, 0 for none. `schema_pin` is (id, version).
    `quality_interval_s` is between two measurements of the data, 0 for none; `freshness_s` and
    `import_freshness_s` are promised ages of the newest change and import, 0 promises nothing.
    `events_url` names the publishers of events; their webhooks' secrets are in a file, and they may
    reach `webhook_allowed_networks` although these are not public. Events are shown for
    `event_retention_days`, 0 for ever.
    Lineage is posted to `openlineage_url` too, with the key that `openlineage_key_file` holds.
    `public_url` is how clients reach the service; its host is allowed beside `allowed_hosts`.
    `product_id` names the data product in its contract, catalogue and lineage, for good; who
    answers for it (`product_owner`, and `product_contact` as a URL) is said only if it is set.
    """

    storage_url: str = "duckdb:///var/spawn.duckdb"
    ontology_url: str = "bundled://"
    ontology_timeout_s: float = 5.0
    schema_id: str = "project_schema"
    schema_pin: tuple[str, int] | None = None
    schema_mode: Mode = Mode.BACKWARD_TRANSITIVE
    schema_refresh_s: float = 60.0
    public_url: str = ""
    product_id: str = "spawn-projects"
    product_owner: str = ""
    product_contact: str = ""
    events_url: tuple[str, ...] = ()
    event_retention_days: float = 0.0
    webhook_secrets_file: str = ""
    webhook_allowed_networks: tuple[str, ...] = ()
    host: str = "127.0.0.1"
    port: int = 8000
    allowed_hosts: tuple[str, ...] = ()
    cors_origins: tuple[str, ...] = ()
    rate_limit: float = 2000.0
    log_level: str = "INFO"
    otlp_endpoint: str = ""
    environment: str = "production"
    openlineage_url: str = ""
    openlineage_key_file: str = ""
    quality_interval_s: float = 300.0
    freshness_s: float = 0.0
    import_freshness_s: float = 0.0

    @property
    def schema_rules(self) -> SchemaRules:
        """What governs the service's schema."""
        return SchemaRules(schema_id=self.schema_id, pin=self.schema_pin, mode=self.schema_mode)

    @property
    def base_url(self) -> str:
        """How clients reach the service: the public URL, or else the address it is bound to."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return self.public_url or f"http://{host}:{self.port}"

    @property
    def event_retention(self) -> timedelta | None:
        """How long events are shown; None for ever."""
        days = self.event_retention_days
        return timedelta(days=days) if days else None

    @property
    def hosts(self) -> frozenset[str]:
        """The host names that requests may be addressed to, lower case, without ports."""
        named = {host.strip("[]").lower() for host in self.allowed_hosts}
        public = urlsplit(self.base_url).hostname or ""
        bound = set() if self.host in {"0.0.0.0", "::"} else {self.host.lower()}  # noqa: S104 - compared, not bound
        return frozenset(named | {public} | bound | _LOCAL_NAMES)

    @property
    def data_path(self) -> Path | None:
        """The directory beside the store's file, for what must survive; None without a file."""
        parts = urlsplit(self.storage_url)
        if parts.scheme != "duckdb":
            return None
        from spawn.adapters.factory import duckdb_path

        return duckdb_path(self.storage_url).parent


def read_settings(environ: Mapping[str, str]) -> Settings:
    """The settings that an environment states; the rest are defaults.

    Raises:
        SettingsError: a variable is unknown or malformed, or they do not fit together.
    """
    values: dict[str, Any] = {}
    for name, text in environ.items():
        if not name.startswith(PREFIX) or name in _OF_THE_CLI:
            continue
        reader = _READERS.get(name.removeprefix(PREFIX))
        if reader is None:
            raise SettingsError(f"{name} is not a setting{_suggestion(name)}")
        try:
            values[name.removeprefix(PREFIX).lower()] = reader(text.strip())
        except ValueError as failure:
            raise SettingsError(f"{name} is malformed: {failure}") from failure
    settings = Settings(**values)
    _check(settings)
    return settings


def shown_url(url: str) -> str:
    """A URL as it may be shown: without the credentials it may hold."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl() if parts.netloc else url


def service_url(environ: Mapping[str, str]) -> str:
    """Where a running service is, for the command line; empty if the environment does not say.

    Raises:
        SettingsError: it is no http or https URL.
    """
    text = environ.get(_SERVICE_URL, "").strip()
    try:
        return _web_url(text) if text else ""
    except ValueError as failure:
        raise SettingsError(f"{_SERVICE_URL} is malformed: {failure}") from failure


def _check(settings: Settings) -> None:
    """What no single variable can say."""
    if not _is_loopback(settings.host) and settings.environment != "development":
        raise SettingsError(
            f"SPAWN_HOST is {settings.host}: without access control the service binds loopback "
            "only, unless SPAWN_ENVIRONMENT=development"
        )
    pin = settings.schema_pin
    if pin is not None and pin[0] != settings.schema_id:
        raise SettingsError(
            f"SPAWN_SCHEMA_PIN names {pin[0]}, but SPAWN_SCHEMA_ID is {settings.schema_id}"
        )
    if settings.otlp_endpoint and not _installed(_EXPORTER):
        raise SettingsError("SPAWN_OTLP_ENDPOINT needs the extra: pip install spawn[otlp]")


def _installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # not even the package that would hold it
        return False


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _suggestion(name: str) -> str:
    known = [PREFIX + key for key in _READERS]
    close = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]}?" if close else f"; there are {', '.join(sorted(known))}"


def _storage_url(text: str) -> str:
    from spawn.adapters.factory import check_store_url

    return _known(text, check_store_url)


def _registry_url(text: str) -> str:
    from spawn.adapters.factory import check_registry_url

    if urlsplit(text).scheme in {"http", "https"}:
        return _web_url(text)
    return _known(text, check_registry_url)


def _known(text: str, check: Callable[[str], None]) -> str:
    """A URL that an adapter stands behind."""
    try:
        check(text)
    except InvalidInput as failure:
        raise ValueError(failure.errors[0].detail) from failure
    return text


def _web_url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("an http or https URL is expected")
    if re.search(r"[\s<>\"\\^`{|}]", text):
        raise ValueError("the URL holds a character that a URL may not")
    if parts.query or parts.fragment:
        raise ValueError("the URL may have no query or fragment")
    return text.rstrip("/")


def _public_url(text: str) -> str:
    if "@" in urlsplit(text).netloc:
        raise ValueError("the URL is told to everyone and may hold no credentials")
    return _web_url(text)


def _product_id(text: str) -> str:
    if not _PRODUCT_ID.fullmatch(text):
        raise ValueError("a product id is up to 100 lower-case letters, digits, '.', '_' and '-'")
    return text


def _owner(text: str) -> str:
    if not 0 < len(text) <= _MAX_OWNER or not text.isprintable():
        raise ValueError(f"a name of 1 to {_MAX_OWNER} printable characters is expected")
    return text


def _contact(text: str) -> str:
    address = text.removeprefix("mailto:")
    if address != text and re.fullmatch(r"[^\s@<>\"?]{1,64}@[A-Za-z0-9.-]{1,190}", address):
        return text
    return _public_url(text)


def _number(minimum: float, maximum: float) -> Callable[[str], float]:
    def read(text: str) -> float:
        if not re.fullmatch(r"\d{1,9}(\.\d{1,6})?", text) or not minimum <= float(text) <= maximum:
            raise ValueError(f"a number {minimum:g} to {maximum:g} is expected")
        return float(text)

    return read


def _port(text: str) -> int:
    if not re.fullmatch(r"\d{1,5}", text) or not 0 <= int(text) <= 65535:  # noqa: PLR2004 - the last port
        raise ValueError("a port 0 to 65535 is expected")
    return int(text)


def _schema_id(text: str) -> str:
    if not _SCHEMA_ID.fullmatch(text):
        raise ValueError("a schema id is lower-case letters, digits, - and _")
    return text


def _pin(text: str) -> tuple[str, int]:
    match = _PIN.fullmatch(text)
    if match is None:
        raise ValueError("a pin is id@version, such as project_schema@3")
    return match[1], int(match[2])


def _mode(text: str) -> Mode:
    return Mode(_one_of(*Mode, fold=str.lower)(text))


def _host(text: str) -> str:
    if not _HOST.fullmatch(text) or text == "*":
        raise ValueError("a host name or address is expected")
    return text.strip("[]")


def _hosts(text: str) -> tuple[str, ...]:
    hosts = _listed(text)
    for host in hosts:
        if not _HOST.fullmatch(host):
            raise ValueError(f"{host!r} is no host name (no scheme, no port)")
    return hosts


def _origins(text: str) -> tuple[str, ...]:
    origins = _listed(text)
    for origin in origins:
        parts = urlsplit(origin)
        if origin != "*" and (parts.scheme not in {"http", "https"} or parts.path or parts.query):
            raise ValueError(f"{origin!r} is no origin, such as https://desk.example")
    return origins


def _listed(text: str) -> tuple[str, ...]:
    return tuple(item.strip() for item in text.split(",") if item.strip())


def _publishers(text: str) -> tuple[str, ...]:
    urls = _listed(text)
    for url in urls:
        if not re.match(r"[a-z][a-z0-9+.-]*://", url):
            raise ValueError("URLs separated by commas are expected, such as log://")
    return urls


def _networks(text: str) -> tuple[str, ...]:
    networks = _listed(text)
    for network in networks:
        try:
            ipaddress.ip_network(network)
        except ValueError:
            raise ValueError(f"{network!r} is no network, such as 10.1.0.0/16") from None
    return networks


def _one_of(*choices: str, fold: Callable[[str], str]) -> Callable[[str], str]:
    def read(text: str) -> str:
        if fold(text) not in choices:
            raise ValueError(f"one of {', '.join(choices)} is expected")
        return fold(text)

    return read


_READERS: Final[Mapping[str, Callable[[str], Any]]] = {
    "STORAGE_URL": _storage_url,
    "ONTOLOGY_URL": _registry_url,
    "ONTOLOGY_TIMEOUT_S": _number(0.1, 60),
    "SCHEMA_ID": _schema_id,
    "SCHEMA_PIN": _pin,
    "SCHEMA_MODE": _mode,
    "SCHEMA_REFRESH_S": _number(0.1, 86_400),
    "PUBLIC_URL": _public_url,
    "PRODUCT_ID": _product_id,
    "PRODUCT_OWNER": _owner,
    "PRODUCT_CONTACT": _contact,
    "EVENTS_URL": _publishers,
    "EVENT_RETENTION_DAYS": _number(0, 36_500),
    "WEBHOOK_SECRETS_FILE": str,
    "WEBHOOK_ALLOWED_NETWORKS": _networks,
    "HOST": _host,
    "PORT": _port,
    "ALLOWED_HOSTS": _hosts,
    "CORS_ORIGINS": _origins,
    "RATE_LIMIT": _number(0, 10_000_000),
    "LOG_LEVEL": _one_of(*_LEVELS, fold=str.upper),
    "OTLP_ENDPOINT": _web_url,
    "ENVIRONMENT": _one_of(*_ENVIRONMENTS, fold=str.lower),
    "OPENLINEAGE_URL": _web_url,
    "OPENLINEAGE_KEY_FILE": str,
    "QUALITY_INTERVAL_S": _number(0, 604_800),
    "FRESHNESS_S": _number(0, 999_999_999),
    "IMPORT_FRESHNESS_S": _number(0, 999_999_999),
}

_OF_THE_CLI: Final = frozenset({_SERVICE_URL})

SETTINGS: Final = tuple(PREFIX + name for name in _READERS)
"""Every variable the service reads."""
