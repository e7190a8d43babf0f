"""TLS on the TCP listeners: reload, limits before the handshake, client certificates."""

import asyncio
import contextlib
import re
import socket
import ssl
import struct
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import tenacity
from tests.http.conftest import WIND, Service
from tests.http.listeners.conftest import Authority, private_pem
from tests.log_lines import captured_lines

from spawn.adapters.embedded.options import RebuildProgress
from spawn.adapters.local import tls_certificates
from spawn.adapters.local.clock import SystemClock
from spawn.adapters.local.tls_certificates import (
    CertificateError,
    CertificateFiles,
    TlsCertificates,
    read_expiry,
)
from spawn.entrypoints.http.limits import HttpLimits
from spawn.entrypoints.http.server import Listener
from spawn.entrypoints.service import load_certificates
from spawn.entrypoints.settings import Settings, SettingsError, read_settings
from spawn.entrypoints.starting_responder import StartingResponder

LIVE = b"GET /monitoring/live HTTP/1.1\r\nHost: localhost\r\n\r\n"


class TlsService(Service):
    """A service with TLS; its certificate may be replaced while it runs."""

    def __init__(self, folder: Path, authority: Authority, **settings: Any) -> None:
        self.authority = authority
        self.certificate, self.private_key = authority.issue(folder, "service")
        limits = settings.pop("limits", None)
        self.extra_certificate: tuple[str, str] | None = settings.pop("presents", None)
        super().__init__(
            limits,
            tls_certificate_file=str(self.certificate),
            tls_key_file=str(self.private_key),
            **settings,
        )
        self.url = f"https://127.0.0.1:{self.port}"

    def context(self) -> ssl.SSLContext:
        context = self.authority.client_context()
        if self.extra_certificate is not None:
            context.load_cert_chain(*self.extra_certificate)
        return context

    def get_live(self) -> httpx.Response:
        return httpx.get(f"{self.url}/monitoring/live", verify=self.context())

    def client(self) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=20, verify=self.context())

    def connect(self, context: ssl.SSLContext | None = None) -> ssl.SSLSocket:
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=20)
        return (context or self.context()).wrap_socket(connection, server_hostname="127.0.0.1")

    def shown_name(self) -> str:
        """Return the serial number of the certificate that a new connection gets."""
        with self.connect() as connection:
            return str(connection.getpeercert()["serialNumber"])  # type: ignore[index]


def exchange(connection: socket.socket) -> bytes:
    """Send a request and return its whole response."""
    connection.sendall(LIVE)
    response = b""
    while not response.endswith(b"}"):
        response += (received := connection.recv(65536))
        assert received, response
    return response


@pytest.fixture(autouse=True)
def quick_polls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tls_certificates, "POLL_S", 0.02)


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[TlsService]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tls_certificates, "POLL_S", 0.02)
        service = TlsService(
            tmp_path_factory.mktemp("tls"), authority, limits=HttpLimits(header_timeout_s=0.5)
        )
        service.start()
        yield service
        service.stop()


def test_responses_over_tls_demand_it_for_the_future(secure: TlsService) -> None:
    with secure.client() as client:
        created = client.post("/v1/ops/projects", json=WIND)
        assert created.status_code == 201
        assert created.headers["strict-transport-security"] == "max-age=31536000"
        cached = [client.get(created.headers["location"]) for _ in range(2)]
        assert all("strict-transport-security" in response.headers for response in cached)
        assert client.get("/nowhere").headers["strict-transport-security"]


def test_responses_without_tls_do_not(client: httpx.Client) -> None:
    assert "strict-transport-security" not in client.get("/v1/ops/projects").headers


def test_a_request_that_the_application_never_sees_gets_the_header_too(secure: TlsService) -> None:
    with secure.connect() as connection:
        connection.sendall(b"nonsense\r\n\r\n")
        response = connection.recv(65536)
    assert response.startswith(b"HTTP/1.1 400 ")
    assert b"strict-transport-security" in response


def test_old_versions_are_rejected(secure: TlsService) -> None:
    context = secure.context()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
        context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.raises(ssl.SSLError):
        secure.connect(context)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_current_versions_are_served(secure: TlsService, version: ssl.TLSVersion) -> None:
    context = secure.context()
    context.minimum_version = context.maximum_version = version
    context.set_alpn_protocols(["h2", "http/1.1"])
    with secure.connect(context) as connection:
        connection.sendall(LIVE)
        assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")
        assert connection.selected_alpn_protocol() == "http/1.1"


def test_a_request_in_the_record_of_the_handshake_is_not_lost(secure: TlsService) -> None:
    """The client sends its request with the end of its handshake, before the server has it."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = secure.context().wrap_bio(incoming, outgoing, server_hostname="127.0.0.1")
    with socket.create_connection(("127.0.0.1", secure.port), timeout=20) as connection:
        while True:
            try:
                client.do_handshake()
            except ssl.SSLWantReadError:
                connection.sendall(outgoing.read())
                incoming.write(connection.recv(65536))
            else:
                break
        for _ in range(3):
            client.write(LIVE)
        connection.sendall(outgoing.read())  # the Finished message and three requests at once
        received = b""
        while received.count(b"HTTP/1.1 200 ") < 3:
            incoming.write(connection.recv(65536))
            with contextlib.suppress(ssl.SSLWantReadError):
                while True:
                    received += client.read(65536)


def test_plain_http_to_the_tls_port_gets_no_response(secure: TlsService) -> None:
    assert b"HTTP/1.1 200" not in secure.send_raw(LIVE, shut=False)
    assert secure.get_live().status_code == 200


def test_a_rejected_body_gets_its_problem_over_tls(secure: TlsService) -> None:
    with secure.client() as client:
        response = client.post("/v1/ops/projects", json={"project_name": "x" * 2 * 1024 * 1024})
        assert (response.status_code, response.json()["code"]) == (413, "body_too_large")


def replace_certificate(service: TlsService, **options: Any) -> None:
    service.authority.issue(service.certificate.parent, "service", **options)


@tenacity.retry(wait=tenacity.wait_fixed(0.02), stop=tenacity.stop_after_delay(20))
def await_other_name(service: TlsService, name: str) -> None:
    assert service.shown_name() != name


@tenacity.retry(wait=tenacity.wait_fixed(0.02), stop=tenacity.stop_after_delay(20), reraise=True)
def await_check(service: TlsService, status: str) -> dict[str, Any]:
    with service.client() as client:
        check: dict[str, Any] = client.get("/monitoring/health").json()["checks"]["certificate"]
    assert check["status"] == status, check
    return check


def test_new_files_are_shown_to_new_connections_and_open_ones_go_on(secure: TlsService) -> None:
    before = secure.shown_name()
    with secure.connect() as connection:
        assert exchange(connection).startswith(b"HTTP/1.1 200 ")
        replace_certificate(secure)
        await_other_name(secure, before)
        assert exchange(connection).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("fault", ["empty", "other key", "absent", "expired", "half written"])
def test_a_broken_pair_keeps_the_one_before_and_is_reported(secure: TlsService, fault: str) -> None:
    await_check(secure, "ok")
    before = secure.shown_name()
    folder, key = secure.certificate.parent, secure.private_key.read_bytes()
    with captured_lines() as lines:
        if fault == "empty":
            secure.certificate.write_bytes(b"")
        elif fault == "other key":
            other_key = secure.authority.issue(folder, "other")[1]
            secure.private_key.write_bytes(other_key.read_bytes())
        elif fault == "absent":
            secure.private_key.unlink()
        elif fault == "expired":
            replace_certificate(secure, days=-1)
        else:
            secure.private_key.write_bytes(key[: len(key) // 2])
        check = await_check(secure, "degraded")
    assert "earlier one is kept" in check["detail"]
    assert str(folder) not in check["detail"]
    assert any("stays as it is" in line["message"] for line in lines)
    assert secure.shown_name() == before
    replace_certificate(secure)
    await_check(secure, "ok")


def test_a_certificate_that_expires_soon_is_reported_before(secure: TlsService) -> None:
    with captured_lines() as lines:
        replace_certificate(secure, days=13)
        check = await_check(secure, "degraded")
    assert "expires soon" in check["detail"]
    assert any("valid until" in line["message"] for line in lines)
    with secure.client() as client:
        text = client.get("/monitoring/metrics").text
    line = next(
        one for one in text.splitlines() if one.startswith("spawn_tls_certificate_not_after")
    )
    expiry = read_expiry(secure.certificate.read_text()).timestamp()
    assert float(line.split()[1]) == expiry
    replace_certificate(secure)
    await_check(secure, "ok")


def test_handshakes_that_never_end_take_the_places_of_their_address_only(
    tmp_path: Path, authority: Authority
) -> None:
    limits = HttpLimits(connections=8, header_timeout_s=60)
    service = TlsService(tmp_path, authority, limits=limits)
    service.start()
    stalled = [socket.create_connection(("127.0.0.1", service.port), 20) for _ in range(6)]
    try:
        # The address has no place left, so a further connection is closed before the handshake.
        with socket.create_connection(("127.0.0.1", service.port), 20) as surplus:
            assert surplus.recv(1) == b""
        transport = httpx.HTTPTransport(local_address="127.0.0.2", verify=service.context())
        with httpx.Client(transport=transport, base_url=service.url) as other:
            assert other.get("/v1/ops/projects").status_code == 200
    finally:
        service.stop()  # it does not wait for them
        for connection in stalled:
            connection.close()


def test_handshakes_of_an_address_have_a_rate(tmp_path: Path, authority: Authority) -> None:
    limits = HttpLimits(handshakes_per_s=1e-6)
    service = TlsService(tmp_path, authority, limits=limits, rate_limit=1e6)
    service.start()
    try:
        with service.client() as client:  # its connection is kept, and needs no other handshake
            for _ in range(3):
                assert client.get("/monitoring/live").status_code == 200
            with socket.create_connection(("127.0.0.1", service.port), 20) as surplus:
                assert surplus.recv(1) == b""
            assert client.get("/monitoring/live").status_code == 200
            assert read_handshakes(client)["rate_limited"] == 1
        transport = httpx.HTTPTransport(local_address="127.0.0.2", verify=service.context())
        with httpx.Client(transport=transport, base_url=service.url) as other:
            assert other.get("/monitoring/live").status_code == 200
            assert read_handshakes(other)["completed"] == 2
    finally:
        service.stop()


def read_handshakes(client: httpx.Client) -> dict[str, int]:
    """Return the number of handshakes by outcome."""
    found = re.findall(
        r'^spawn_tls_handshakes_total\{outcome="(\w+)"\} (\S+)$',
        client.get("/monitoring/metrics").text,
        re.MULTILINE,
    )
    return {outcome: int(float(number)) for outcome, number in found}


def test_handshakes_are_counted_by_their_outcome(secure: TlsService) -> None:
    """A client that is turned away gets no response, so that no metric of requests has it."""
    with secure.client() as client:
        before = read_handshakes(client)
        assert set(before) == {"completed", "failed", "rate_limited", "no_place"}
        with socket.create_connection(("127.0.0.1", secure.port), 20) as plain:
            plain.sendall(LIVE)
            assert plain.recv(1) == b""
        with socket.create_connection(("127.0.0.1", secure.port), 20):
            pass  # as the check of a load balancer
        with secure.connect() as connection:
            exchange(connection)

        @tenacity.retry(wait=tenacity.wait_fixed(0.02), stop=tenacity.stop_after_delay(20))
        def await_both() -> dict[str, int]:
            after = read_handshakes(client)
            assert after["failed"] == before["failed"] + 2
            return after

        after = await_both()
        assert after["completed"] == before["completed"] + 1
        assert after["rate_limited"] == before["rate_limited"]


def test_a_handshake_that_takes_too_long_is_ended(secure: TlsService) -> None:
    with socket.create_connection(("127.0.0.1", secure.port), timeout=20) as connection:
        connection.sendall(b"\x16\x03\x01")
        assert connection.recv(1) == b""
    with secure.client() as client:
        traffic = client.get("/monitoring/health").json()["checks"]["traffic"]
    assert traffic["connections"]["taken"] <= 2


def test_clients_need_a_certificate_of_the_authority(
    tmp_path: Path, authority: Authority, other_authority: Authority
) -> None:
    accepted = authority.issue(tmp_path, "client")
    foreign = other_authority.issue(tmp_path, "foreign")
    (tmp_path / "ca.pem").write_text(authority.pem)
    service = TlsService(
        tmp_path,
        authority,
        tls_client_ca_file=str(tmp_path / "ca.pem"),
        presents=tuple(map(str, accepted)),
    )
    service.start()
    try:
        assert service.get_live().status_code == 200
        for pair in (None, (str(foreign[0]), str(foreign[1]))):
            service.extra_certificate = pair
            with pytest.raises(httpx.TransportError):
                service.get_live()
        # A session of a client whose authority is no longer accepted is not resumed.
        service.extra_certificate = (str(accepted[0]), str(accepted[1]))
        context = service.context()
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        with service.connect(context) as connection:
            connection.sendall(LIVE)
            assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")
            session = connection.session
        (tmp_path / "ca.pem").write_text(other_authority.pem)
        service.extra_certificate = (str(foreign[0]), str(foreign[1]))
        await_check(service, "ok")
        raw = socket.create_connection(("127.0.0.1", service.port), timeout=20)
        with pytest.raises((ssl.SSLError, ConnectionError)):
            context.wrap_socket(raw, server_hostname="127.0.0.1", session=session)
        raw.close()
    finally:
        service.stop()


# -- files --------------------------------------------------------------------------------------


def load(certificate: Path, key: Path, authority: Path | None = None) -> TlsCertificates:
    files = CertificateFiles(certificate=certificate, key=key, client_authority=authority)
    return TlsCertificates(files, SystemClock())


@pytest.mark.parametrize("days", [1.0, 90.0, 365.0 * 24, 365.0 * 40])
def test_the_expiry_is_that_of_the_certificate(
    tmp_path: Path, authority: Authority, days: float
) -> None:
    from cryptography import x509

    certificate, key = authority.issue(tmp_path, "service", days=days)
    expected = x509.load_pem_x509_certificate(certificate.read_bytes()).not_valid_after_utc
    assert load(certificate, key).status().expires_at == expected


@pytest.mark.parametrize(
    "text", ["", "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----"]
)
def test_a_text_without_a_certificate_is_no_certificate(
    tmp_path: Path, authority: Authority, text: str
) -> None:
    certificate, key = authority.issue(tmp_path, "service")
    certificate.write_text(text)
    with pytest.raises(CertificateError, match="no PEM certificate"):
        load(certificate, key)


def test_an_encrypted_key_is_rejected_and_asks_for_nothing(
    tmp_path: Path, authority: Authority
) -> None:
    certificate, key = authority.issue(tmp_path, "service")
    key.write_bytes(private_pem(authority.key, b"password"))
    with pytest.raises(CertificateError, match="encrypted"):
        load(certificate, key)


def test_a_broken_certificate_stops_the_start_with_one_line(tmp_path: Path) -> None:
    settings = Settings(tls_certificate_file=str(tmp_path / "none.pem"), tls_key_file="none.key")
    with pytest.raises(SettingsError, match=r"SPAWN_TLS_CERTIFICATE_FILE: .*cannot be read"):
        load_certificates(settings)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"SPAWN_TLS_CERTIFICATE_FILE": "a.pem"}, "need each other"),
        ({"SPAWN_TLS_KEY_FILE": "a.key"}, "need each other"),
        ({"SPAWN_TLS_CLIENT_CA_FILE": "ca.pem"}, "needs SPAWN_TLS_CERTIFICATE_FILE"),
        (
            {
                "SPAWN_TLS_CERTIFICATE_FILE": "a.pem",
                "SPAWN_TLS_KEY_FILE": "a.key",
                "SPAWN_LISTEN": "unix:/run/a.sock",
            },
            "every listener is a Unix socket",
        ),
        ({"SPAWN_ADMIN_LISTEN": "127.0.0.1:8000"}, "choose another"),
        ({"SPAWN_AUTH": "off", "SPAWN_ADMIN_LISTEN": "192.0.2.1:9000"}, "SPAWN_ADMIN_LISTEN is"),
        ({"SPAWN_ADMIN_LISTEN": "9000"}, "host:port"),
        ({"SPAWN_ADMIN_LISTEN": "::1:9000"}, "brackets"),
        ({"SPAWN_LISTEN": "unix:run/http.sock"}, "a Unix socket is expected"),
        ({"SPAWN_LISTEN": "127.0.0.1:8000"}, "a Unix socket is expected"),
        ({"SPAWN_LISTEN": "unix:/" + "x" * 107}, "exceeds 107 bytes"),
        ({"SPAWN_SOCKET_MODE": "888"}, "octal"),
        ({"SPAWN_SOCKET_MODE": "000"}, "the owner must be able to read and write"),
        ({"SPAWN_SOCKET_MODE": "466"}, "the owner must be able to read and write"),
        ({"SPAWN_SOCKET_MODE": "660"}, "SPAWN_SOCKET_MODE needs a Unix socket"),
        ({"SPAWN_LISTEN": "unix:/run/a.sock", "SPAWN_HOST": "::1"}, "instead of SPAWN_HOST"),
        ({"SPAWN_LISTEN": "unix:/run/a.sock", "SPAWN_PORT": "1"}, "instead of SPAWN_PORT"),
        (
            {
                "SPAWN_TLS_CERTIFICATE_FILE": "a.pem",
                "SPAWN_TLS_KEY_FILE": "a.key",
                "SPAWN_PUBLIC_URL": "http://spawn.example",
            },
            "SPAWN_PUBLIC_URL begins with http",
        ),
        ({"SPAWN_LOG_FORMAT": "xml"}, "SPAWN_LOG_FORMAT"),
    ],
)
def test_settings_of_listeners_that_conflict_are_named(
    settings: dict[str, str], reason: str
) -> None:
    with pytest.raises(SettingsError, match=reason):
        read_settings(settings)


def test_access_control_may_be_off_on_a_unix_socket() -> None:
    settings = read_settings(
        {
            "SPAWN_AUTH": "off",
            "SPAWN_LISTEN": "unix:/run/spawn.sock",
            "SPAWN_ADMIN_LISTEN": "[::1]:9000",
            "SPAWN_SOCKET_MODE": "660",
            "SPAWN_TRUSTED_PROXIES": "unix, 10.0.0.0/8",
        }
    )
    assert settings.listen_address.path == "/run/spawn.sock"
    assert (settings.admin_listen.host, settings.admin_listen.port) == ("::1", 9000)  # type: ignore[union-attr]
    assert settings.socket_mode == "660"
    assert settings.base_url == "http://localhost"


# -- failures of clients --------------------------------------------------------------------------


def reset(connection: socket.socket) -> None:
    """Close a connection so that its peer gets a reset."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def test_no_way_in_which_clients_fail_is_a_failure_of_the_service(secure: TlsService) -> None:
    """Errors of handshakes and of the end of connections are the clients' own."""
    hello = bytes.fromhex("160301000501000001") + b"\x00"
    with captured_lines() as lines:
        for sent in (b"", b"\x00" * 64, LIVE, hello, b"\x16\x03\x01\xff\xff" + b"x" * 200):
            for end in (reset, socket.socket.close):
                connection = socket.create_connection(("127.0.0.1", secure.port), timeout=20)
                connection.sendall(sent)
                end(connection)
        for request in (LIVE, LIVE[:20]):
            secured = secure.connect()
            secured.sendall(request)
            # Bytes that are no record follow those of the connection.
            plain = socket.socket(fileno=secured.detach())
            plain.sendall(b"no record")
            reset(plain)
        context = secure.context()
        for _ in range(3):
            secured = secure.connect(context)
            secured.sendall(LIVE)
            reset(socket.socket(fileno=secured.detach()))
        check = await_connections(secure, 1)["background"]
    assert check["status"] == "ok", check
    assert [line for line in lines if line["level"] in {"ERROR", "CRITICAL"}] == []


@tenacity.retry(wait=tenacity.wait_fixed(0.02), stop=tenacity.stop_after_delay(20), reraise=True)
def await_connections(service: TlsService, count: int) -> dict[str, Any]:
    """Return the checks of the health once no more connections are open."""
    with service.client() as client:
        checks: dict[str, Any] = client.get("/monitoring/health").json()["checks"]
    assert checks["traffic"]["connections"]["taken"] <= count
    return checks


async def test_a_start_that_takes_long_responds_over_tls(
    tmp_path: Path, authority: Authority
) -> None:
    certificates = load(*authority.issue(tmp_path, "service"))
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        listener = Listener(sockets=(bound,), get_context=certificates.get_context)
        responder = StartingResponder([listener])
        await asyncio.to_thread(responder.report, RebuildProgress(1_000, 4_000, 2.0))
        await asyncio.sleep(0)
        assert responder._start is not None
        await responder._start
        reader, writer = await asyncio.open_connection(
            *bound.getsockname(), ssl=authority.client_context()
        )
        writer.write(LIVE)
        assert (await reader.readuntil(b"}")).startswith(b"HTTP/1.1 200 ")
        writer.close()
        await responder.close()
