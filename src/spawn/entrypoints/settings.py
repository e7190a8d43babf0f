"""Settings from environment variables, validated once at the start.

A misspelt or malformed variable stops the start with one line that names it.
"""

import difflib
import re
from collections.abc import Callable, Collection, Mapping
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Final, Literal
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta, inspect

from spawn.adapters.encryption.encryption_key import MIN_SECRET_BYTES, EncryptionKey
from spawn.adapters.encryption.engine_extension import PACKAGE as _ENGINE_EXTENSION
from spawn.application.product.snapshot import parse_owner, parse_product_id
from spawn.application.schemas.activation import (
    SchemaPolicies,
    SchemaPolicy,
    build_policies,
    parse_schema_id,
    parse_schema_pin,
    parse_schema_policies,
)
from spawn.application.traffic.traffic_control import Budget
from spawn.application.web_addresses import (
    UNIX,
    ListenAddress,
    is_loopback,
    parse_contact,
    parse_host,
    parse_hosts,
    parse_listen_address,
    parse_networks,
    parse_origins,
    parse_proxies,
    parse_public_url,
    parse_publisher_urls,
    parse_socket_mode,
    parse_unix_address,
    parse_web_url,
)
from spawn.domain.errors import InvalidInput
from spawn.domain.json_tokens import Token
from spawn.domain.schemas.evolution.compatibility import CompatibilityMode
from spawn.domain.struct_reader import (
    TokenReader,
    compile_reader,
    folded_reader,
    number_text_reader,
    read_string,
    text_reader,
)

PREFIX: Final = "SPAWN_"
_SERVICE_URL_VARIABLE: Final = "SPAWN_URL"
_KEY_VARIABLE: Final = "SPAWN_KEY"
_KEY_FILE_VARIABLE: Final = "SPAWN_KEY_FILE"
_OIDC_PACKAGE: Final = "joserfc"
_OTLP_EXPORTER: Final = "opentelemetry.exporter.otlp.proto.http"
_WILDCARD_ADDRESSES: Final = frozenset({"0.0.0.0", "::"})  # noqa: S104 - compared, not bound
_LOOPBACK_NAMES: Final = frozenset({"localhost", "127.0.0.1", "::1"})

LogLevel = Literal["TRACE", "DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]
Environment = Literal["production", "development"]
AuthMode = Literal["off", "keys", "oidc"]
LogFormat = Literal["auto", "text", "json"]


class SettingsError(Exception):
    """A setting cannot be used; the message is one line that names it."""


class Settings(msgspec.Struct, frozen=True, kw_only=True, rename=str.upper):
    """Settings of a service.

    `rate_limit` is reads per second and client, 0 for no limit of any kind. The budgets of writes,
    analysis and exports are shares of it where they are 0. `schema_pin` is (id, version).
    `quality_interval_s` is between two measurements of the data, 0 for none; `freshness_s` and
    `import_freshness_s` are promised ages of the newest change and import, 0 promises nothing.
    `events_url` names the publishers of events; their webhooks' secrets are in a file, and they may
    reach `webhook_allowed_networks` although these are not public. The feed covers the events of
    `event_retention_days`, 0 for all. Lineage is also posted to `openlineage_url`, with the key in
    `openlineage_key_file`.
    `public_url` is how clients reach the service; its host is allowed beside `allowed_hosts`.
    `schemas` are the policies of the schemas of kinds other than projects.
    Proxies in `trusted_proxies` name the client in `X-Forwarded-For`.
    The service listens on `listen`, a Unix socket of the permissions `socket_mode`, or else on
    `host` and `port`; operators have `admin_listen` for themselves if it is set. TCP listeners have
    TLS with the certificate in `tls_certificate_file`; with `tls_client_ca_file` clients need one.
    `product_id` names the data product in its contract, catalogue and lineage and never changes;
    its owner (`product_owner`, and `product_contact` as a URL) is published only if set.
    `auth` is how callers prove who they are: API keys, with `oidc` also the tokens of `oidc_issuer`
    for `oidc_audience`, signed with the keys at `oidc_keys_url`; `off` admits everybody, on a
    loopback address only. `oidc_row_claims` are pairs of a field and the claim that limits a token
    to projects with its values.
    Backups go to `backup_url` every `backup_interval_s`, 0 for on request only; after
    `backup_full_interval_s` a new set begins, and the newest `backup_retention` sets stay. The key
    in `backup_signing_key_file` signs them. The key in `encryption_key_file` encrypts the files of
    the store and its backups.
    `approvals_file` is the policy of the commands that need an approval.
    """

    storage_url: str = "duckdb:///var/spawn.duckdb"
    ontology_url: str = "bundled://"
    ontology_timeout_s: Annotated[float, Meta(ge=0.1, le=60)] = 5.0
    schema_id: str = "project_schema"
    schema_pin: tuple[str, int] | None = None
    schema_mode: CompatibilityMode = CompatibilityMode.BACKWARD_TRANSITIVE
    schemas: tuple[SchemaPolicy, ...] = ()
    schema_refresh_s: Annotated[float, Meta(ge=0.1, le=86_400)] = 60.0
    public_url: str = ""
    product_id: str = "spawn-projects"
    product_owner: str = ""
    product_contact: str = ""
    events_url: tuple[str, ...] = ()
    event_retention_days: Annotated[float, Meta(ge=0, le=36_500)] = 0.0
    webhook_secrets_file: str = ""
    webhook_allowed_networks: tuple[str, ...] = ()
    host: str = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65_535)] = 8000
    listen: ListenAddress | None = None
    admin_listen: ListenAddress | None = None
    socket_mode: str = "600"
    tls_certificate_file: str = ""
    tls_key_file: str = ""
    tls_client_ca_file: str = ""
    allowed_hosts: tuple[str, ...] = ()
    cors_origins: tuple[str, ...] = ()
    trusted_proxies: tuple[str, ...] = ()
    rate_limit: Annotated[float, Meta(ge=0, le=10_000_000)] = 2000.0
    rate_limit_writes: Annotated[float, Meta(ge=0, le=10_000_000)] = 0.0
    rate_limit_analysis: Annotated[float, Meta(ge=0, le=10_000_000)] = 0.0
    rate_limit_exports: Annotated[float, Meta(ge=0, le=10_000_000)] = 0.0
    auth: AuthMode = "keys"
    oidc_issuer: str = ""
    oidc_audience: str = ""
    oidc_keys_url: str = ""
    oidc_row_claims: tuple[tuple[str, str], ...] = ()
    log_level: LogLevel = "INFO"
    log_format: LogFormat = "auto"
    otlp_endpoint: str = ""
    environment: Environment = "production"
    openlineage_url: str = ""
    openlineage_key_file: str = ""
    quality_interval_s: Annotated[float, Meta(ge=0, le=604_800)] = 300.0
    freshness_s: Annotated[float, Meta(ge=0, le=999_999_999)] = 0.0
    import_freshness_s: Annotated[float, Meta(ge=0, le=999_999_999)] = 0.0
    backup_url: str = ""
    backup_interval_s: Annotated[float, Meta(ge=0, le=604_800)] = 300.0
    backup_full_interval_s: Annotated[float, Meta(ge=60, le=999_999_999)] = 604_800.0
    backup_retention: Annotated[int, Meta(ge=1, le=1000)] = 4
    backup_signing_key_file: str = ""
    encryption_key_file: str = ""
    approvals_file: str = ""

    @property
    def schema_policy(self) -> SchemaPolicy:
        """Policy for the schema of projects."""
        return SchemaPolicy(schema_id=self.schema_id, pin=self.schema_pin, mode=self.schema_mode)

    @property
    def schema_policies(self) -> SchemaPolicies:
        """Policies for the schemas of all governed kinds."""
        return build_policies(self.schema_policy, *self.schemas)

    @property
    def base_url(self) -> str:
        """Public URL of the service, or else the bound address, with a name for a wildcard."""
        if self.public_url:
            return self.public_url
        if self.listen is not None:
            return "http://localhost"
        address = self.listen_address
        if address.host in _WILDCARD_ADDRESSES:
            # Nobody can follow a link to the address of every interface.
            address = msgspec.structs.replace(address, host="localhost")
        return f"{'https' if self.has_tls else 'http'}://{address}"

    @property
    def listen_address(self) -> ListenAddress:
        """Address on which clients reach the service."""
        return self.listen or ListenAddress(host=self.host, port=self.port)

    @property
    def is_local(self) -> bool:
        """Whether only this machine can connect to any listener."""
        admin = self.admin_listen
        return self.listen_address.is_local and (admin is None or admin.is_local)

    @property
    def has_tls(self) -> bool:
        """Whether TCP listeners speak TLS."""
        return bool(self.tls_certificate_file)

    @property
    def path_prefix(self) -> str:
        """Path of the public URL, which begins every link; empty or `/…` without a final slash."""
        return urlsplit(self.base_url).path

    @property
    def rates_per_s(self) -> dict[Budget, float]:
        """Requests per second and client by budget; empty if none is limited."""
        if not self.rate_limit:
            return {}
        return {
            Budget.READS: self.rate_limit,
            Budget.WRITES: self.rate_limit_writes or self.rate_limit,
            Budget.ANALYSIS: self.rate_limit_analysis or self.rate_limit / 4,
            Budget.EXPORTS: self.rate_limit_exports or self.rate_limit / 40,
        }

    @property
    def own_origin(self) -> str:
        """Origin of the public URL, as browsers name it."""
        parts = urlsplit(self.base_url)
        return f"{parts.scheme}://{parts.netloc.lower()}"

    @property
    def key_environment(self) -> str:
        """The environment that the texts of API keys name: `live` or `test`."""
        return "live" if self.environment == "production" else "test"

    @property
    def event_retention(self) -> timedelta | None:
        """Age up to which the feed has events; None for all."""
        days = self.event_retention_days
        return timedelta(days=days) if days else None

    @property
    def hosts(self) -> frozenset[str]:
        """Allowed host names of requests, in lower case, without ports."""
        extra_hosts = {host.strip("[]").lower() for host in self.allowed_hosts}
        public = urlsplit(self.base_url).hostname or ""
        addresses = [self.listen_address, *([self.admin_listen] if self.admin_listen else [])]
        bound = {one.host.lower() for one in addresses} - {"", *_WILDCARD_ADDRESSES}
        return frozenset(extra_hosts | {public} | bound | _LOOPBACK_NAMES)

    @property
    def data_path(self) -> Path | None:
        """Directory of the store's file, for durable files; None without a file."""
        parts = urlsplit(self.storage_url)
        if parts.scheme != "duckdb":
            return None
        from spawn.adapters.factory import parse_duckdb_url

        return parse_duckdb_url(self.storage_url).parent


def read_settings(environ: Mapping[str, str]) -> Settings:
    """Read the settings of an environment; the rest are defaults.

    Raises:
        SettingsError: a variable is unknown or malformed, or two settings conflict.
    """
    tokens: dict[str, Token] = {
        name.removeprefix(PREFIX): text.strip()
        for name, text in environ.items()
        if name.startswith(PREFIX) and name not in CLI_VARIABLES
    }
    try:
        settings: Settings = _read_struct(tokens, "")
    except InvalidInput as failure:
        error = failure.errors[0]
        name = PREFIX + error.pointer.removeprefix("/")
        if error.code == "unknown_field":
            raise SettingsError(f"{name} is not a setting{_suggest_name(name)}") from None
        raise SettingsError(f"{name} is malformed: {error.detail}") from failure
    if settings.listen is not None:
        for name in ("HOST", "PORT"):
            if name in tokens:
                raise SettingsError(
                    f"SPAWN_LISTEN is a socket to listen on instead of {PREFIX}{name}: keep one"
                )
    _check_combinations(settings, tokens.keys())
    return settings


def check_served_settings(settings: Settings) -> None:
    """Check what holds for a service alone: commands read backups with a key and no target.

    Raises:
        SettingsError: a setting would have no effect.
    """
    if settings.backup_signing_key_file and not settings.backup_url:
        raise SettingsError(f"{PREFIX}BACKUP_SIGNING_KEY_FILE needs SPAWN_BACKUP_URL")


def check_files(settings: Settings) -> None:
    """Check that every file which a setting names can be read.

    Raises:
        SettingsError: one cannot, whether or not a part of this service reads it.
    """
    for name in Settings.__struct_fields__:
        path = getattr(settings, name) if name.endswith("_file") else ""
        if path:
            try:
                with Path(path).open("rb"):
                    pass
            except OSError as failure:
                detail = f"{PREFIX}{name.upper()} names {path}: {failure.strerror}"
                raise SettingsError(detail) from failure


def read_service_url(environ: Mapping[str, str]) -> str:
    """Return the URL of a running service, for the command line; empty if it is not set.

    Raises:
        SettingsError: it is neither an http or https URL nor a Unix socket.
    """
    text = environ.get(_SERVICE_URL_VARIABLE, "").strip()
    try:
        if text.startswith(f"{UNIX}:"):
            return str(parse_unix_address(text))
        return _parse_client_url(text) if text else ""
    except ValueError as failure:
        raise SettingsError(f"{_SERVICE_URL_VARIABLE} is malformed: {failure}") from failure


def read_service_key(environ: Mapping[str, str]) -> str:
    """Return the API key or token that commands send to a service; empty if none is set.

    Raises:
        SettingsError: two are set, or the file cannot be read.
    """
    key, path = (environ.get(name, "").strip() for name in (_KEY_VARIABLE, _KEY_FILE_VARIABLE))
    if key and path:
        raise SettingsError(f"{_KEY_VARIABLE} and {_KEY_FILE_VARIABLE} are both set: keep one")
    if not path:
        return key
    try:
        return Path(path).read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as failure:
        reason = getattr(failure, "strerror", None) or "it is not a text"
        raise SettingsError(f"{_KEY_FILE_VARIABLE} names {path}: {reason}") from failure


def read_signing_key(path: str) -> bytes | None:
    """Return the key that signs backups, from a file; None without one.

    Raises:
        SettingsError: the file cannot be read, or is too short to be a key.
    """
    return _read_key(f"{PREFIX}BACKUP_SIGNING_KEY_FILE", path) if path else None


def read_encryption_key(path: str, name: str = f"{PREFIX}ENCRYPTION_KEY_FILE") -> EncryptionKey:
    """Return the key that encrypts a store, from a file; `name` is the setting or option.

    Raises:
        SettingsError: the file cannot be read, or is too short to be a key.
    """
    return EncryptionKey(_read_key(name, path))


def find_encryption_key(settings: Settings) -> EncryptionKey | None:
    """Return the key of the settings; None without one.

    Raises:
        SettingsError: its file cannot be read, or is too short to be a key.
    """
    path = settings.encryption_key_file
    return read_encryption_key(path) if path else None


def _read_key(name: str, path: str) -> bytes:
    try:
        key = Path(path).read_bytes().strip()
    except OSError as failure:
        raise SettingsError(f"{name} names {path}: {failure.strerror}") from failure
    if len(key) < MIN_SECRET_BYTES:
        raise SettingsError(
            f"{name} names {path}, which has fewer than {MIN_SECRET_BYTES} bytes: make a key with"
            " openssl rand -hex 32"
        )
    return key


class _Need(msgspec.Struct, frozen=True):
    """Settings that have an effect only with another one."""

    names: tuple[str, ...]
    requirement: str
    is_met: Callable[[Settings], bool]


def _has_webhook(settings: Settings) -> bool:
    """Whether a publisher may be a webhook, or one of a third party that takes its settings."""
    return any(urlsplit(url).scheme not in {"log", "nats"} for url in settings.events_url)


def _has_socket(settings: Settings) -> bool:
    admin = settings.admin_listen
    return bool(settings.listen_address.path or (admin is not None and admin.path))


_NEEDS: Final = (
    _Need(
        ("backup_interval_s", "backup_full_interval_s", "backup_retention"),
        "SPAWN_BACKUP_URL",
        lambda settings: bool(settings.backup_url),
    ),
    _Need(
        ("webhook_secrets_file", "webhook_allowed_networks"),
        "a webhook in SPAWN_EVENTS_URL",
        _has_webhook,
    ),
    _Need(
        ("openlineage_key_file",),
        "SPAWN_OPENLINEAGE_URL",
        lambda settings: bool(settings.openlineage_url),
    ),
    _Need(
        ("rate_limit_writes", "rate_limit_analysis", "rate_limit_exports"),
        "a SPAWN_RATE_LIMIT other than 0, which limits nothing",
        lambda settings: bool(settings.rate_limit),
    ),
    _Need(("tls_client_ca_file",), "SPAWN_TLS_CERTIFICATE_FILE", lambda settings: settings.has_tls),
    _Need(("socket_mode",), "a Unix socket in SPAWN_LISTEN or SPAWN_ADMIN_LISTEN", _has_socket),
    _Need(
        ("oidc_issuer", "oidc_audience", "oidc_keys_url", "oidc_row_claims"),
        "SPAWN_AUTH=oidc",
        lambda settings: settings.auth == "oidc",
    ),
)


def _check_needs(settings: Settings, variables: Collection[str]) -> None:
    """Raise SettingsError for a setting without an effect, at its default too if it is given.

    0 and an empty text, where they are defaults, switch off what has no effect, and do no harm.
    """
    for need in _NEEDS:
        for name in need.names:
            value = getattr(settings, name)
            is_set = value != getattr(_DEFAULTS, name) or (value and name.upper() in variables)
            if is_set and not need.is_met(settings):
                raise SettingsError(f"{PREFIX}{name.upper()} needs {need.requirement}")
    if UNIX in settings.trusted_proxies and not _has_socket(settings):
        raise SettingsError(
            "SPAWN_TRUSTED_PROXIES names unix, but no listener is a Unix socket: set SPAWN_LISTEN"
        )


def _check_combinations(settings: Settings, variables: Collection[str]) -> None:
    """Raise SettingsError for settings that conflict with each other, or have no effect."""
    _check_listeners(settings)
    _check_needs(settings, variables)
    _check_oidc(settings)
    _check_backups(settings)
    _check_encryption(settings)
    pin = settings.schema_pin
    if pin is not None and pin[0] != settings.schema_id:
        raise SettingsError(
            f"SPAWN_SCHEMA_PIN names {pin[0]}, but SPAWN_SCHEMA_ID is {settings.schema_id}"
        )
    ids = [policy.schema_id for policy in settings.schema_policies.policies]
    if len(set(ids)) < len(ids):
        raise SettingsError("SPAWN_SCHEMAS names a schema that another kind has already")
    if settings.otlp_endpoint and not _is_installed(_OTLP_EXPORTER):
        raise SettingsError(
            "SPAWN_OTLP_ENDPOINT needs the extra otlp: run `make extras` in a clone; "
            "the container image includes it"
        )


def _check_backups(settings: Settings) -> None:
    """Raise SettingsError for backups that would not be taken, or not be apart from the store."""
    if not settings.backup_url:
        return
    if settings.backup_interval_s > settings.backup_full_interval_s:
        raise SettingsError(
            "SPAWN_BACKUP_INTERVAL_S is longer than SPAWN_BACKUP_FULL_INTERVAL_S, so that every"
            " backup would begin a new set: choose a shorter interval"
        )
    from spawn.adapters.archives.archive_urls import parse_archive_url
    from spawn.adapters.archives.bucket_archive import PACKAGE

    folder, data_path = parse_archive_url(settings.backup_url).folder, settings.data_path
    if data_path is None:
        raise SettingsError("SPAWN_BACKUP_URL needs a store in a file: set SPAWN_STORAGE_URL")
    if folder is None:
        if not _is_installed(PACKAGE):
            raise SettingsError(
                "SPAWN_BACKUP_URL needs the extra s3 for a bucket: run `make extras` in a clone; "
                "the container image includes it"
            )
        return
    if folder.resolve() == data_path.resolve():
        raise SettingsError(
            f"SPAWN_BACKUP_URL names {folder}, the folder of the store: choose another, best on"
            " another disk"
        )
    if folder.exists() and not folder.is_dir():
        raise SettingsError(f"SPAWN_BACKUP_URL names {folder}, which is no folder")


def _check_encryption(settings: Settings) -> None:
    """Raise SettingsError for a key without an effect, beside what it encrypts, or of no use."""
    if not settings.encryption_key_file:
        return
    name = f"{PREFIX}ENCRYPTION_KEY_FILE"
    if settings.data_path is None:
        raise SettingsError(f"{name} needs a store in a file: set SPAWN_STORAGE_URL")
    folders = {"SPAWN_STORAGE_URL": settings.data_path}
    if settings.backup_url:
        from spawn.adapters.archives.archive_urls import parse_archive_url

        archive_folder = parse_archive_url(settings.backup_url).folder
        if archive_folder is not None:
            folders["SPAWN_BACKUP_URL"] = archive_folder
    for setting, folder in folders.items():
        if folder.resolve() in Path(settings.encryption_key_file).resolve().parents:
            raise SettingsError(
                f"{name} names a file in {folder}, the folder of {setting}: who gets the one gets"
                " the other; choose another folder"
            )
    if not (_is_installed("cryptography") and _is_installed(_ENGINE_EXTENSION)):
        raise SettingsError(
            f"{name} needs the extra encryption: run `make extras` in a clone; "
            "the container image includes it"
        )


def _check_listeners(settings: Settings) -> None:
    """Raise SettingsError for listeners that are open, the same, or have half a certificate."""
    named = {"SPAWN_HOST": settings.listen_address}
    if settings.admin_listen is not None:
        named["SPAWN_ADMIN_LISTEN"] = settings.admin_listen
    for name, address in named.items():
        if settings.auth == "off" and not address.is_local:
            raise SettingsError(
                f"SPAWN_AUTH is off, so every caller may do everything, and {name} is "
                f"{address.host}: choose a loopback address or a Unix socket, or set "
                "SPAWN_AUTH=keys"
            )
    if settings.admin_listen == settings.listen_address and (
        settings.admin_listen.path or settings.admin_listen.port
    ):
        raise SettingsError("SPAWN_ADMIN_LISTEN is the address of the service: choose another")
    if settings.approvals_file and settings.auth == "off":
        raise SettingsError(
            "SPAWN_APPROVALS_FILE needs SPAWN_AUTH=keys or oidc: without it all callers are one"
            " person, who cannot decide about its own commands"
        )
    if bool(settings.tls_certificate_file) != bool(settings.tls_key_file):
        raise SettingsError("SPAWN_TLS_CERTIFICATE_FILE and SPAWN_TLS_KEY_FILE need each other")
    if settings.has_tls and all(address.path for address in named.values()):
        raise SettingsError(
            "SPAWN_TLS_CERTIFICATE_FILE has no effect: every listener is a Unix socket, which has"
            " no TLS"
        )
    is_tls_service = settings.has_tls and not settings.listen_address.path
    if is_tls_service and urlsplit(settings.public_url).scheme == "http":
        raise SettingsError(
            "SPAWN_PUBLIC_URL begins with http, but the service has TLS: its links would lead"
            " nowhere; write https"
        )


def _check_oidc(settings: Settings) -> None:
    """Raise SettingsError if the settings of tokens are incomplete or unsafe."""
    values = {
        "SPAWN_OIDC_ISSUER": settings.oidc_issuer,
        "SPAWN_OIDC_AUDIENCE": settings.oidc_audience,
        "SPAWN_OIDC_KEYS_URL": settings.oidc_keys_url,
    }
    if settings.auth != "oidc":
        return
    for name, value in values.items():
        if not value:
            raise SettingsError(f"SPAWN_AUTH is oidc, so {name} is needed")
    keys_url = urlsplit(settings.oidc_keys_url)
    if keys_url.scheme != "https" and not is_loopback(keys_url.hostname or ""):
        raise SettingsError(
            "SPAWN_OIDC_KEYS_URL must be https: a key that anybody can replace proves nothing"
        )
    if not _is_installed(_OIDC_PACKAGE):
        raise SettingsError(
            "SPAWN_AUTH=oidc needs the extra oidc: run `make extras` in a clone; "
            "the container image includes it"
        )


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # its parent package is missing too
        return False


def _suggest_name(name: str) -> str:
    close = difflib.get_close_matches(name, SETTING_NAMES, n=1)
    names = ", ".join(sorted(SETTING_NAMES))
    return f"; did you mean {close[0]}?" if close else f"; the settings are {names}"


def _parse_storage_url(text: str) -> str:
    from spawn.adapters.factory import check_store_url

    check_store_url(text)
    return text


def _parse_backup_url(text: str) -> str:
    from spawn.adapters.archives.archive_urls import parse_archive_url

    parse_archive_url(text)
    return text


def _parse_client_url(text: str) -> str:
    """Return a web URL that HTTP clients accept, without a slash at its end."""
    if not text.isascii() or "xn--" in text.lower():
        # Importing an HTTP client is a tenth of the start-up time, and few hosts are international.
        from httpx import URL, InvalidURL

        try:
            _ = URL(text).host  # decodes A-labels, as each request does
        except (InvalidURL, UnicodeError):
            raise ValueError("the host of the URL is malformed") from None
    return parse_web_url(text)


def _parse_public_url(text: str) -> str:
    """Return a web URL that clients accept and that may be published."""
    return _parse_client_url(parse_public_url(text))


def _parse_issuer(text: str) -> str:
    """Return the issuer as it is written: tokens must name it letter by letter."""
    _parse_client_url(text)
    return text


def _parse_registry_url(text: str) -> str:
    from spawn.adapters.factory import check_registry_url

    if urlsplit(text).scheme in {"http", "https"}:
        return _parse_client_url(text)
    check_registry_url(text)
    return text


def parse_row_claims(text: str) -> tuple[tuple[str, str], ...]:
    """Return pairs of a field and a claim: `country_code=countries,sector=sectors`.

    Raises:
        ValueError: the text is no such list, or names a field twice.
    """
    pairs = tuple(_split_row_claim(item.strip()) for item in text.split(",") if item.strip())
    if len({field for field, _ in pairs}) != len(pairs):
        raise ValueError("a field is named twice")
    return pairs


def _split_row_claim(item: str) -> tuple[str, str]:
    match = _ROW_CLAIM.fullmatch(item)
    if match is None:
        raise ValueError("a list of field=claim is expected, such as country_code=countries")
    return match[1], match[2]


_ROW_CLAIM: Final = re.compile(r"([A-Za-z_][A-Za-z0-9_]{0,127})=([\x21-\x7e]{1,200})")
_DEFAULTS: Final = Settings()
_INFO: Final = inspect.type_info(Settings)
assert isinstance(_INFO, inspect.StructType)  # noqa: S101 - narrows the type

_READERS: Final[Mapping[str, TokenReader]] = {
    **{
        field.encode_name: number_text_reader(field.type)
        for field in _INFO.fields
        if isinstance(field.type, inspect.IntType | inspect.FloatType)
    },
    "STORAGE_URL": text_reader(_parse_storage_url),
    "ONTOLOGY_URL": text_reader(_parse_registry_url),
    "SCHEMA_ID": text_reader(parse_schema_id),
    "SCHEMA_PIN": text_reader(parse_schema_pin),
    "SCHEMAS": text_reader(parse_schema_policies),
    "SCHEMA_MODE": folded_reader(CompatibilityMode, str.lower),
    "PUBLIC_URL": text_reader(_parse_public_url),
    "PRODUCT_ID": text_reader(parse_product_id),
    "PRODUCT_OWNER": text_reader(parse_owner),
    "PRODUCT_CONTACT": text_reader(parse_contact),
    "EVENTS_URL": text_reader(parse_publisher_urls),
    "WEBHOOK_ALLOWED_NETWORKS": text_reader(parse_networks),
    "HOST": text_reader(parse_host),
    "ALLOWED_HOSTS": text_reader(parse_hosts),
    "CORS_ORIGINS": text_reader(parse_origins),
    "TRUSTED_PROXIES": text_reader(parse_proxies),
    "LISTEN": text_reader(parse_unix_address),
    "ADMIN_LISTEN": text_reader(parse_listen_address),
    "SOCKET_MODE": text_reader(parse_socket_mode),
    "OIDC_ISSUER": text_reader(_parse_issuer),
    "OIDC_KEYS_URL": text_reader(_parse_client_url),
    "OIDC_ROW_CLAIMS": text_reader(parse_row_claims),
    "AUTH": folded_reader(AuthMode, str.lower),
    "LOG_LEVEL": folded_reader(LogLevel, str.upper),
    "LOG_FORMAT": folded_reader(LogFormat, str.lower),
    "OTLP_ENDPOINT": text_reader(_parse_client_url),
    "ENVIRONMENT": folded_reader(Environment, str.lower),
    "OPENLINEAGE_URL": text_reader(_parse_client_url),
    "BACKUP_URL": text_reader(_parse_backup_url),
}
_read_struct: Final = compile_reader(Settings, _READERS, {inspect.StrType: read_string})

CLI_VARIABLES: Final = frozenset({_SERVICE_URL_VARIABLE, _KEY_VARIABLE, _KEY_FILE_VARIABLE})

SETTING_NAMES: Final = tuple(PREFIX + field.encode_name for field in _INFO.fields)
"""Names of all variables that the service reads."""
