"""Settings: strict validation, and one line that names the malformed variable."""

from pathlib import Path

import msgspec
import pytest

from spawn.domain.text import redact_url
from spawn.entrypoints.service import run_async
from spawn.entrypoints.settings import (
    SETTING_NAMES,
    Settings,
    SettingsError,
    check_files,
    check_served_settings,
    read_service_url,
    read_settings,
)


def test_empty_environment_gives_the_defaults() -> None:
    assert read_settings({"PATH": "/bin"}) == Settings()


def test_every_setting_is_read() -> None:
    settings = read_settings(
        {
            "SPAWN_STORAGE_URL": "memory://",
            "SPAWN_ONTOLOGY_URL": "https://ontology.example/api",
            "SPAWN_ONTOLOGY_TIMEOUT_S": "2.5",
            "SPAWN_SCHEMA_ID": "asset_schema",
            "SPAWN_SCHEMA_PIN": "asset_schema@3",
            "SPAWN_PUBLIC_URL": "https://spawn.example/",
            "SPAWN_PRODUCT_ID": "iberia.projects",
            "SPAWN_PRODUCT_OWNER": "Iberia desk",
            "SPAWN_PRODUCT_CONTACT": "mailto:desk@spawn.example",
            "SPAWN_EVENTS_URL": "log://, https://hooks.example/x%2Cy#mode=binary, nats://a:1,b:2/desk",
            "SPAWN_EVENT_RETENTION_DAYS": "90",
            "SPAWN_WEBHOOK_SECRETS_FILE": "/run/secrets/webhooks",
            "SPAWN_WEBHOOK_ALLOWED_NETWORKS": "10.1.0.0/16, fd00::/8",
            "SPAWN_HOST": "::1",
            "SPAWN_PORT": "9000",
            "SPAWN_ALLOWED_HOSTS": "a.example, b.example",
            "SPAWN_CORS_ORIGINS": "https://desk.example",
            "SPAWN_TRUSTED_PROXIES": "10.0.0.0/8, ::1",
            "SPAWN_RATE_LIMIT": "50",
            "SPAWN_LOG_LEVEL": "debug",
            "SPAWN_OTLP_ENDPOINT": "http://127.0.0.1:4318",
            "SPAWN_ENVIRONMENT": "development",
        }
    )
    assert settings == Settings(
        storage_url="memory://",
        ontology_url="https://ontology.example/api",
        ontology_timeout_s=2.5,
        schema_id="asset_schema",
        schema_pin=("asset_schema", 3),
        public_url="https://spawn.example",
        product_id="iberia.projects",
        product_owner="Iberia desk",
        product_contact="mailto:desk@spawn.example",
        events_url=(
            "log://",
            "https://hooks.example/x%2Cy#mode=binary",
            "nats://a:1,b:2/desk",
        ),
        event_retention_days=90.0,
        webhook_secrets_file="/run/secrets/webhooks",
        webhook_allowed_networks=("10.1.0.0/16", "fd00::/8"),
        host="::1",
        port=9000,
        allowed_hosts=("a.example", "b.example"),
        cors_origins=("https://desk.example",),
        trusted_proxies=("10.0.0.0/8", "::1"),
        rate_limit=50.0,
        log_level="DEBUG",
        otlp_endpoint="http://127.0.0.1:4318",
        environment="development",
    )


@pytest.mark.parametrize(
    "host",
    ["256.1.1.1", "0177.0.0.1", "☃.example", "a..example", "xn--ls8h.la", "XN--a"],
)
@pytest.mark.parametrize(
    "name",
    [
        "SPAWN_ONTOLOGY_URL",
        "SPAWN_OPENLINEAGE_URL",
        "SPAWN_OTLP_ENDPOINT",
        "SPAWN_OIDC_ISSUER",
        "SPAWN_OIDC_KEYS_URL",
        "SPAWN_PUBLIC_URL",
        "SPAWN_URL",
    ],
)
def test_a_host_that_no_client_accepts_stops_the_start(name: str, host: str) -> None:
    """A client ended `--check-config` with a trace, or failed without the name of the setting."""
    read = read_service_url if name == "SPAWN_URL" else read_settings
    with pytest.raises(SettingsError) as failure:
        read({name: f"https://{host}"})
    assert str(failure.value) == f"{name} is malformed: the host of the URL is malformed"


def test_a_host_of_idna_2008_alone_is_accepted() -> None:
    url = "https://אב1.example"
    assert read_settings({"SPAWN_OPENLINEAGE_URL": url}).openlineage_url == url


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("SPAWN_STORAGE_URL", "spawn.duckdb"),
        ("SPAWN_STORAGE_URL", "duckdb://"),
        ("SPAWN_STORAGE_URL", "duckdb://host/spawn.duckdb"),
        ("SPAWN_STORAGE_URL", "memory://elsewhere"),
        ("SPAWN_STORAGE_URL", "mongodb://localhost/spawn"),
        ("SPAWN_ONTOLOGY_URL", "http://"),
        ("SPAWN_ONTOLOGY_URL", "ftp://ontology.example"),
        ("SPAWN_ONTOLOGY_URL", "bundled://elsewhere"),
        ("SPAWN_ONTOLOGY_TIMEOUT_S", "0"),
        ("SPAWN_ONTOLOGY_TIMEOUT_S", "NaN"),
        ("SPAWN_SCHEMA_ID", "Project Schema"),
        ("SPAWN_SCHEMA_ID", "project-schema"),
        ("SPAWN_SCHEMA_ID", "p" * 64),
        ("SPAWN_SCHEMA_PIN", "project-schema@3"),
        ("SPAWN_SCHEMA_PIN", "project_schema"),
        ("SPAWN_PUBLIC_URL", "ftp://spawn.example"),
        ("SPAWN_PUBLIC_URL", "https://spawn.example/a%zz"),
        ("SPAWN_ONTOLOGY_URL", "https://ontology.example/a%2"),
        ("SPAWN_PUBLIC_URL", "https://spawn.example/?a=1"),
        ("SPAWN_PUBLIC_URL", "https://desk:secret@spawn.example"),
        ("SPAWN_PUBLIC_URL", "https://spawn.example/a b"),
        ("SPAWN_PUBLIC_URL", 'https://spawn.example/"'),
        ("SPAWN_PRODUCT_ID", "Iberia Projects"),
        ("SPAWN_PRODUCT_ID", "-x"),
        ("SPAWN_PRODUCT_ID", "x" * 101),
        ("SPAWN_PRODUCT_OWNER", ""),
        ("SPAWN_PRODUCT_OWNER", "desk\nof others"),
        ("SPAWN_PRODUCT_CONTACT", "desk@spawn.example"),
        ("SPAWN_PRODUCT_CONTACT", "mailto:desk"),
        ("SPAWN_PRODUCT_CONTACT", "javascript:alert(1)"),
        ("SPAWN_EVENTS_URL", "log"),
        ("SPAWN_EVENTS_URL", "log://, hooks.example"),
        ("SPAWN_EVENT_RETENTION_DAYS", "-1"),
        ("SPAWN_WEBHOOK_ALLOWED_NETWORKS", "10.1.0.1/16"),
        ("SPAWN_WEBHOOK_ALLOWED_NETWORKS", "everything"),
        ("SPAWN_HOST", "no host"),
        ("SPAWN_PORT", "65536"),
        ("SPAWN_PORT", "eighty"),
        ("SPAWN_ALLOWED_HOSTS", "https://spawn.example"),
        ("SPAWN_CORS_ORIGINS", "spawn.example"),
        ("SPAWN_TRUSTED_PROXIES", "proxy.example"),
        ("SPAWN_CORS_ORIGINS", "https://spawn.example/path"),
        ("SPAWN_RATE_LIMIT", "-1"),
        ("SPAWN_RATE_LIMIT", "1e9"),
        ("SPAWN_LOG_LEVEL", "LOUD"),
        ("SPAWN_OTLP_ENDPOINT", "localhost:4318"),
        ("SPAWN_ENVIRONMENT", "prod"),
        ("SPAWN_AUTH", "none"),
    ],
)
def test_malformed_setting_stops_the_start_with_one_line_that_names_it(
    name: str, text: str
) -> None:
    with pytest.raises(SettingsError) as failure:
        read_settings({name: text})
    assert str(failure.value).startswith(f"{name} is malformed: ")
    assert "\n" not in str(failure.value)


def test_misspelt_setting_is_named_with_the_likely_one() -> None:
    with pytest.raises(SettingsError, match=r"SPAWN_STORAGE_URI .*SPAWN_STORAGE_URL\?"):
        read_settings({"SPAWN_STORAGE_URI": "memory://"})


def test_setting_of_the_command_line_is_ignored() -> None:
    assert read_settings({"SPAWN_URL": "http://127.0.0.1:8000"}) == Settings()


def test_service_url_is_optional_and_must_be_a_web_address() -> None:
    assert read_service_url({}) == read_service_url({"SPAWN_URL": " "}) == ""
    assert read_service_url({"SPAWN_URL": "http://127.0.0.1:8000/"}) == "http://127.0.0.1:8000"
    with pytest.raises(SettingsError, match="SPAWN_URL is malformed"):
        read_service_url({"SPAWN_URL": "localhost:8000"})


@pytest.mark.parametrize(
    ("url", "redacted_url"),
    [
        ("https://desk:secret@ontology.example/api", "https://ontology.example/api"),
        ("https://ontology.example:8443/api", "https://ontology.example:8443/api"),
        ("duckdb:///var/spawn.duckdb", "duckdb:///var/spawn.duckdb"),
        ("duckdb:////srv/a@b.duckdb", "duckdb:////srv/a@b.duckdb"),
        ("bundled://", "bundled://"),
        ("memory://", "memory://"),
    ],
)
def test_url_is_redacted_of_credentials(url: str, redacted_url: str) -> None:
    assert redact_url(url) == redacted_url


def test_otlp_endpoint_needs_the_exporter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spawn.entrypoints.settings._OTLP_EXPORTER", "spawn_has.no_such.module")
    with pytest.raises(SettingsError, match="needs the extra otlp: run `make extras`"):
        read_settings({"SPAWN_OTLP_ENDPOINT": "http://127.0.0.1:4318"})


ALONE = {
    "STORAGE_URL": "memory://",
    "ONTOLOGY_URL": "https://ontology.example",
    "ONTOLOGY_TIMEOUT_S": "5",
    "SCHEMA_ID": "project_schema",
    "SCHEMA_PIN": "project_schema@3",
    "SCHEMA_MODE": "full",
    "SCHEMAS": "facility=facility_schema",
    "SCHEMA_REFRESH_S": "60",
    "PUBLIC_URL": "https://data.example",
    "PRODUCT_ID": "spawn-projects",
    "PRODUCT_OWNER": "Desk",
    "PRODUCT_CONTACT": "https://desk.example",
    "EVENTS_URL": "log://",
    "EVENT_RETENTION_DAYS": "30",
    "HOST": "127.0.0.1",
    "PORT": "8000",
    "LISTEN": "unix:/run/spawn.sock",
    "ADMIN_LISTEN": "127.0.0.1:9000",
    "ALLOWED_HOSTS": "spawn",
    "CORS_ORIGINS": "*",
    "TRUSTED_PROXIES": "10.0.0.0/8",
    "RATE_LIMIT": "2000",
    "RATE_LIMIT_WRITES": "5",
    "RATE_LIMIT_ANALYSIS": "5",
    "RATE_LIMIT_EXPORTS": "5",
    "AUTH": "keys",
    "LOG_LEVEL": "INFO",
    "LOG_FORMAT": "auto",
    "OTLP_ENDPOINT": "http://collector:4318",
    "ENVIRONMENT": "production",
    "OPENLINEAGE_URL": "https://collector.example",
    "QUALITY_INTERVAL_S": "300",
    "FRESHNESS_S": "60",
    "IMPORT_FRESHNESS_S": "60",
    "BACKUP_URL": "file:///backups",
    "BACKUP_SIGNING_KEY_FILE": "/run/key",
    "ENCRYPTION_KEY_FILE": "/run/key",
    "APPROVALS_FILE": "/run/approvals.json",
}
"""Settings that have an effect by themselves, or with a default of others."""
DEPENDENT = {
    "WEBHOOK_SECRETS_FILE": ("/run/secrets", {"EVENTS_URL": "https://hooks.example/x"}),
    "WEBHOOK_ALLOWED_NETWORKS": ("10.0.0.0/8", {"EVENTS_URL": "https://hooks.example/x"}),
    "SOCKET_MODE": ("600", {"ADMIN_LISTEN": "unix:/run/admin.sock"}),
    "TLS_CERTIFICATE_FILE": ("/run/x.pem", {"TLS_KEY_FILE": "/run/x.key"}),
    "TLS_KEY_FILE": ("/run/x.key", {"TLS_CERTIFICATE_FILE": "/run/x.pem"}),
    "TLS_CLIENT_CA_FILE": (
        "/run/ca.pem",
        {"TLS_CERTIFICATE_FILE": "/run/x.pem", "TLS_KEY_FILE": "/run/x.key"},
    ),
    **{
        name.removeprefix("SPAWN_"): (text, {"AUTH": "oidc"})
        for name, text in {
            "OIDC_ISSUER": "https://login.example/",
            "OIDC_AUDIENCE": "https://spawn.example",
            "OIDC_KEYS_URL": "https://login.example/certs",
            "OIDC_ROW_CLAIMS": "country_code=countries",
        }.items()
    },
    "OPENLINEAGE_KEY_FILE": ("/run/key", {"OPENLINEAGE_URL": "https://collector.example"}),
    "BACKUP_INTERVAL_S": ("300", {"BACKUP_URL": "file:///backups"}),
    "BACKUP_FULL_INTERVAL_S": ("604800", {"BACKUP_URL": "file:///backups"}),
    "BACKUP_RETENTION": ("4", {"BACKUP_URL": "file:///backups"}),
}
"""Settings that have an effect with others only, with a text, some of them their default."""


def read_texts(texts: dict[str, str]) -> Settings:
    return read_settings({f"SPAWN_{name}": text for name, text in texts.items()})


def test_each_setting_either_has_an_effect_alone_or_names_what_it_needs() -> None:
    assert {f"SPAWN_{name}" for name in ALONE | DEPENDENT} == set(SETTING_NAMES)


@pytest.mark.parametrize(("name", "text"), ALONE.items())
def test_a_setting_with_an_effect_is_accepted_alone(name: str, text: str) -> None:
    read_texts({name: text})


@pytest.mark.parametrize("name", DEPENDENT)
def test_a_setting_without_an_effect_is_rejected_until_it_has_what_it_needs(name: str) -> None:
    text, others = DEPENDENT[name]
    with pytest.raises(SettingsError, match=rf"SPAWN_{name}\b.* needs? ") as failure:
        read_texts({name: text})
    assert "\n" not in str(failure.value)
    assert any(f"SPAWN_{other}" in str(failure.value) for other in others)
    complete = {key: value for key, (value, needed) in DEPENDENT.items() if needed == others}
    read_texts(complete | {name: text} | others)


def test_a_signing_key_without_backups_is_for_commands_and_not_for_a_service() -> None:
    settings = read_texts({"BACKUP_SIGNING_KEY_FILE": "/run/key"})
    with pytest.raises(SettingsError, match="SPAWN_BACKUP_SIGNING_KEY_FILE needs SPAWN_BACKUP_URL"):
        check_served_settings(settings)
    check_served_settings(msgspec.structs.replace(settings, backup_url="file:///backups"))


def test_every_host_is_allowed_by_a_star_alone() -> None:
    assert "*" in read_texts({"ALLOWED_HOSTS": "*"}).hosts
    with pytest.raises(SettingsError, match="not a host name"):
        read_texts({"ALLOWED_HOSTS": "*.example"})


ALL_INTERFACES = ["0.0.0.0", "::"]  # noqa: S104  # rejected, not bound


@pytest.mark.parametrize("host", [*ALL_INTERFACES, "192.0.2.1", "spawn.example"])
def test_bind_beyond_loopback_needs_access_control(host: str) -> None:
    for environment in ("production", "development"):
        with pytest.raises(SettingsError, match="SPAWN_HOST"):
            read_settings(
                {"SPAWN_HOST": host, "SPAWN_AUTH": "off", "SPAWN_ENVIRONMENT": environment}
            )
    assert read_settings({"SPAWN_HOST": host}).host == host


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost", "[::1]"])
def test_loopback_is_allowed_without_access_control(host: str) -> None:
    settings = read_settings({"SPAWN_HOST": host, "SPAWN_AUTH": "off"})
    assert settings.host == host.strip("[]")


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"BACKUP_INTERVAL_S": "5"}, "SPAWN_BACKUP_INTERVAL_S needs SPAWN_BACKUP_URL"),
        ({"BACKUP_RETENTION": "9"}, "SPAWN_BACKUP_RETENTION needs SPAWN_BACKUP_URL"),
        ({"BACKUP_URL": "file:///b", "STORAGE_URL": "memory://"}, "needs a store in a file"),
        ({"BACKUP_URL": "file://{folder}"}, "the folder of the store"),
        ({"BACKUP_URL": "file://{folder}/x/.."}, "the folder of the store"),
        ({"BACKUP_URL": "file://{folder}/s.duckdb"}, "which is no folder"),
        ({"RATE_LIMIT": "0", "RATE_LIMIT_WRITES": "5"}, "WRITES needs a SPAWN_RATE_LIMIT other"),
        ({"TRUSTED_PROXIES": "10.0.0.0/8, unix"}, "SPAWN_TRUSTED_PROXIES names unix"),
        (
            {
                "BACKUP_URL": "file:///b",
                "BACKUP_INTERVAL_S": "7200",
                "BACKUP_FULL_INTERVAL_S": "3600",
            },
            "SPAWN_BACKUP_INTERVAL_S is longer than SPAWN_BACKUP_FULL_INTERVAL_S",
        ),
        (
            {"EVENTS_URL": "log://, nats://h/desk", "WEBHOOK_SECRETS_FILE": "/x"},
            "SPAWN_WEBHOOK_SECRETS_FILE needs a webhook in SPAWN_EVENTS_URL",
        ),
    ],
)
def test_settings_that_would_have_no_effect_stop_the_start(
    settings: dict[str, str], reason: str, tmp_path: Path
) -> None:
    (tmp_path / "s.duckdb").touch()
    defaults = {"STORAGE_URL": f"duckdb:///{tmp_path}/s.duckdb"}
    texts = {k: v.format(folder=tmp_path) for k, v in (defaults | settings).items()}
    with pytest.raises(SettingsError, match=reason) as failure:
        read_settings({f"SPAWN_{name}": text for name, text in texts.items()})
    assert "\n" not in str(failure.value)


@pytest.mark.parametrize(
    "url",
    [
        "s3://key:canary@bucket/prefix",
        "s3://bucket/prefix?secret=canary",
        "s3://b",
        "s3:///canary",
        "s3://bucket/a/../canary",
        "s3://bucket/a//canary",
        "s3://bucket/a b%0acanary",
    ],
)
def test_an_address_of_a_bucket_has_no_credentials_and_is_not_quoted(
    url: str, tmp_path: Path
) -> None:
    storage = {"SPAWN_STORAGE_URL": f"duckdb:///{tmp_path}/s.duckdb"}
    with pytest.raises(SettingsError, match=r"SPAWN_BACKUP_URL.*s3://bucket/prefix") as failure:
        read_settings(storage | {"SPAWN_BACKUP_URL": url})
    assert "canary" not in str(failure.value)


def test_backups_in_a_bucket_need_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environ = {
        "SPAWN_STORAGE_URL": f"duckdb:///{tmp_path}/s.duckdb",
        "SPAWN_BACKUP_URL": "s3://bucket/prefix",
    }
    monkeypatch.setattr("spawn.entrypoints.settings._is_installed", lambda _: True)
    assert read_settings(environ).backup_url == "s3://bucket/prefix"
    monkeypatch.setattr("spawn.entrypoints.settings._is_installed", lambda _: False)
    with pytest.raises(SettingsError, match="SPAWN_BACKUP_URL needs the extra s3"):
        read_settings(environ)


def test_backups_may_be_in_a_folder_beside_the_store(tmp_path: Path) -> None:
    settings = read_settings(
        {
            "SPAWN_STORAGE_URL": f"duckdb:///{tmp_path}/s.duckdb",
            "SPAWN_BACKUP_URL": f"file://{tmp_path}/backups",
        }
    )
    assert settings.backup_url.endswith("/backups")


def test_pin_of_another_schema_is_rejected() -> None:
    with pytest.raises(SettingsError, match="SPAWN_SCHEMA_PIN"):
        read_settings({"SPAWN_SCHEMA_PIN": "other@1"})


def test_public_url_and_bound_host_are_allowed_hosts_too() -> None:
    settings = Settings(public_url="https://Spawn.Example:8443", allowed_hosts=("b.example",))
    assert {"spawn.example", "b.example", "127.0.0.1", "localhost", "::1"} == settings.hosts


def test_base_url_without_public_url_is_the_bound_address() -> None:
    assert Settings(host="::1", port=81).base_url == "http://[::1]:81"


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])  # noqa: S104  # never bound here
def test_base_url_of_all_addresses_is_one_that_a_client_can_follow(host: str) -> None:
    settings = read_settings({"SPAWN_HOST": host, "SPAWN_PORT": "9000"})
    assert settings.base_url == "http://localhost:9000"
    assert host not in settings.hosts


URL_SETTINGS = (
    *("STORAGE_URL", "ONTOLOGY_URL", "PUBLIC_URL", "PRODUCT_CONTACT", "OTLP_ENDPOINT"),
    *("OPENLINEAGE_URL", "CORS_ORIGINS"),
)


@pytest.mark.parametrize("name", URL_SETTINGS)
@pytest.mark.parametrize(
    "url",
    [
        "http://[::1/",
        "http://[zz]/",
        "http://[::1]x/",
        "http://host:99999/",
        "http://host:0/",
        "http://host:port/",
        "http://host:-1/",
        "http://host:\u0661/",
        "http://",
        "http:///x",
        "http://:80/",
        "http://host..name/",
        "http://-/",
        "http://%zz/",
        f"http://{'a' * 64}.example/",
        f"http://{'a.' * 127}example/",
        "http://a b/",
        "http://a\x00b/",
        "duckdb://[x",
    ],
)
def test_a_malformed_url_of_any_setting_is_one_line_that_names_it(name: str, url: str) -> None:
    with pytest.raises(SettingsError) as error:
        read_settings({f"SPAWN_{name}": url})
    assert str(error.value).startswith(f"SPAWN_{name} ")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("urls", "number"),
    [("nats://[::1/x", 1), ("log://, http://u:hunter2@a\x00b/", 2), ("log://,http://[x", 2)],
)
def test_a_malformed_publisher_is_named_by_its_place(urls: str, number: int) -> None:
    with pytest.raises(SettingsError, match=f"SPAWN_EVENTS_URL is malformed: URL {number}: ") as e:
        read_settings({"SPAWN_EVENTS_URL": urls})
    assert "hunter2" not in str(e.value)


@pytest.mark.parametrize(
    "url",
    ["https://bücher.example:8443/x", "http://[::1]:9000", "http://a_b.example.", "http://1.2.3.4"],
)
def test_a_url_with_any_valid_host_is_accepted(url: str) -> None:
    assert read_settings({"SPAWN_ONTOLOGY_URL": url}).ontology_url == url


OIDC = {
    "SPAWN_AUTH": "oidc",
    "SPAWN_OIDC_ISSUER": "https://login.example/realms/desk",
    "SPAWN_OIDC_AUDIENCE": "https://spawn.example",
    "SPAWN_OIDC_KEYS_URL": "https://login.example/certs",
}


def test_tokens_need_all_of_their_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spawn.entrypoints.settings._OIDC_PACKAGE", "json")
    for issuer in ("https://login.example/", "https://login.example/realms/desk"):
        assert read_settings({**OIDC, "SPAWN_OIDC_ISSUER": issuer}).oidc_issuer == issuer
    for name in OIDC.keys() - {"SPAWN_AUTH"}:
        with pytest.raises(SettingsError, match=f"{name} is needed"):
            read_settings({key: value for key, value in OIDC.items() if key != name})
        with pytest.raises(SettingsError, match=f"{name} needs SPAWN_AUTH=oidc"):
            read_settings({name: OIDC[name]})
    with pytest.raises(SettingsError, match="SPAWN_OIDC_KEYS_URL must be https"):
        read_settings({**OIDC, "SPAWN_OIDC_KEYS_URL": "http://login.example/certs"})
    monkeypatch.setattr("spawn.entrypoints.settings._OIDC_PACKAGE", "spawn_has.no_such.module")
    with pytest.raises(SettingsError, match="needs the extra oidc: run `make extras`"):
        read_settings(OIDC)


@pytest.mark.parametrize("name", [n for n in SETTING_NAMES if n.endswith("_FILE")])
def test_a_file_of_any_setting_must_be_readable(name: str, tmp_path: Path) -> None:
    changes = {name.removeprefix("SPAWN_").lower(): str(tmp_path / "absent")}
    settings = msgspec.structs.replace(Settings(), **changes)
    with pytest.raises(SettingsError, match=rf"{name} names .*absent: No such file"):
        check_files(settings)
    (tmp_path / "absent").write_text("")
    check_files(settings)


async def test_service_does_not_start_without_a_file_of_its_settings(tmp_path: Path) -> None:
    """No part of this service reads the file: it has neither webhooks nor backups."""
    settings = Settings(
        storage_url="memory://", port=0, webhook_secrets_file=str(tmp_path / "absent")
    )
    with pytest.raises(SettingsError, match="SPAWN_WEBHOOK_SECRETS_FILE"):
        await run_async(settings)
