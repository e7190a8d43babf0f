"""Webhook publisher: signatures, address guard, retries and limits."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import certifi
import httpx
import msgspec
import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_http_event
from standardwebhooks import Webhook, WebhookVerificationError
from tests.adapters.publishers.certificates import write_certificate
from tests.adapters.publishers.conftest import NEW_SECRET, OLD_SECRET, AddressBook
from tests.adapters.publishers.receiver import Message, Receiver

from spawn.adapters.embedded.options import PublisherOptions
from spawn.adapters.factory import open_publisher
from spawn.adapters.publishers.http_client import (
    DirectTransport,
    get_shared_ssl_context,
    parse_retry_after_s,
)
from spawn.adapters.publishers.webhook import post_client
from spawn.adapters.publishers.webhook.address_guard import RESOLUTION_S, AddressGuard
from spawn.adapters.publishers.webhook.signing import Signer, parse_secrets
from spawn.domain.errors import InvalidInput, Unavailable
from spawn.domain.events.cloudevents import EventEnvelope
from spawn.ports.publishers import ConsumerGone, EventPublisher
from spawn.testing.expected_errors import expect_invalid
from spawn.testing.publisher_contract import *  # noqa: F403 -- the suite is run as its users run it
from spawn.testing.publisher_contract import SOURCE, STORE_ID, an_entry, event_id

LOOPBACK = ("127.0.0.0/8",)


@pytest.fixture
def consumer(receiver: Receiver) -> Receiver:
    return receiver


@pytest.fixture
def publisher_url(receiver: Receiver) -> str:
    return receiver.url.replace("://", "://spawn:hunter2@") + "?key=hunter2"


@pytest.fixture(name="publisher_options")
def signing_options(secrets_file: Path) -> PublisherOptions:
    return PublisherOptions(
        envelope=EventEnvelope(SOURCE, "project_schema", STORE_ID),
        secrets_file=secrets_file,
        allowed_networks=LOOPBACK,
        timeout_s=2.0,
    )


def verify(message: Message, secret: str) -> Any:
    """Return the body if the independent library accepts the signature."""
    return Webhook(secret).verify(message.body, message.headers)


def rewrite(secrets_file: Path, text: str, publisher: Any) -> None:
    """Change the secrets, and skip the second until the file is checked again."""
    secrets_file.write_text(text)
    publisher._signer.secrets_file.expire()


async def test_closing_ends_the_kept_connections(
    publisher_options: PublisherOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(post_client, "MAX_IDLE_S", 60.0)
    ended = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"}")
        writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        with suppress(ConnectionError):
            await reader.read()
        writer.close()
        ended.set()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        publisher = await open_publisher(f"http://127.0.0.1:{port}", options=publisher_options)
        assert await publisher.publish([an_entry(1)]) == ()
        assert not ended.is_set()
        await publisher.close()
        async with asyncio.timeout(10):
            await ended.wait()


class TestSignatures:
    async def test_a_message_verifies_with_an_independent_library(
        self, publisher: EventPublisher, receiver: Receiver
    ) -> None:
        await publisher.publish([an_entry(1)])
        (message,) = receiver.accepted_messages
        event = verify(message, OLD_SECRET)
        assert event["id"] == event_id(1)
        assert message.headers["webhook-id"] == f"evt_{STORE_ID}_1_1"
        with pytest.raises(WebhookVerificationError):
            verify(message, NEW_SECRET)

    async def test_both_live_secrets_sign_while_one_is_rotated(
        self, publisher: EventPublisher, receiver: Receiver, secrets_file: Path
    ) -> None:
        steps = [(OLD_SECRET,), (OLD_SECRET, NEW_SECRET), (NEW_SECRET,)]
        for number, secrets in enumerate(steps):
            rewrite(secrets_file, "\n".join(secrets), publisher)
            await publisher.publish([an_entry(number)])
            for secret in secrets:
                verify(receiver.accepted_messages[-1], secret)
        with pytest.raises(WebhookVerificationError):
            verify(receiver.accepted_messages[-1], OLD_SECRET)

    async def test_a_secrets_file_that_becomes_invalid_stops_delivery(
        self, publisher: EventPublisher, receiver: Receiver, secrets_file: Path
    ) -> None:
        rewrite(secrets_file, "whsec_short\n", publisher)
        with pytest.raises(Unavailable) as failure:
            await publisher.publish([an_entry(1)])
        assert "short" not in failure.value.detail
        assert receiver.messages == []

    def test_a_line_with_a_name_is_for_that_receiver_alone(self) -> None:
        text = f"risk desk {OLD_SECRET}\n\n  # a remark\nbooks {NEW_SECRET}\n"
        assert parse_secrets(text, "risk desk") == (b"old" * 8,)
        assert parse_secrets(text, "books") == (b"new" * 8,)

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "# whsec_b2xkb2xkb2xkb2xkb2xkb2xkb2xkb2xk",
            "b2xk" * 8,
            "whsec_b2xk",
            "whsec_" + "b2xk" * 30,
            "whsec_" + "%" * 32,
            "whsec_é",
            f"other {OLD_SECRET}",
            "\n".join([OLD_SECRET, NEW_SECRET, "whsec_" + "dGhp" * 8]),
        ],
    )
    def test_invalid_secrets_are_rejected(self, text: str) -> None:
        with pytest.raises(InvalidInput) as failure:
            parse_secrets(text, "risk")
        assert text.removeprefix("whsec_") not in failure.value.detail or not text

    def test_an_absent_secrets_file_is_rejected(self, tmp_path: Path) -> None:
        with expect_invalid(("", "secrets_unusable")):
            Signer(tmp_path / "none", "risk")


class TestModes:
    async def test_structured_mode_is_read_by_the_sdk(
        self, publisher: EventPublisher, receiver: Receiver
    ) -> None:
        await publisher.publish([an_entry(7, version=2)])
        message = receiver.accepted_messages[0]
        event = from_http_event(HTTPMessage(message.headers, message.body))
        self.check(event)
        assert message.headers["authorization"].startswith("Basic ")

    async def test_binary_mode_is_read_by_the_sdk(
        self, publisher_options: PublisherOptions, receiver: Receiver
    ) -> None:
        url = f"{receiver.url}#mode=binary"
        publisher = await open_publisher(url, options=publisher_options)
        await publisher.publish([an_entry(7, version=2)])
        await publisher.close()
        message = receiver.accepted_messages[0]
        assert message.headers["content-type"] == "application/json"
        assert message.headers["ce-id"] == event_id(7)
        verify(message, OLD_SECRET)
        event = from_http_event(HTTPMessage(message.headers, message.body))
        self.check(event)

    async def test_characters_that_a_header_cannot_hold_are_encoded(
        self, publisher_options: PublisherOptions, receiver: Receiver
    ) -> None:
        publisher = await open_publisher(f"{receiver.url}#mode=binary", options=publisher_options)
        await publisher.publish([an_entry(1, 'erp:"1 é%', kind="external_ref")])
        await publisher.close()
        assert (
            receiver.accepted_messages[0].headers["ce-subject"]
            == "external_refs/erp:%221%20%C3%A9%25"
        )

    def check(self, event: Any) -> None:
        assert event.get_id() == event_id(7)
        assert event.get_source() == SOURCE
        assert event.get_type() == "spawn.project.amended.v1"
        assert event.get_subject() == "projects/p1"
        assert event.get_time() == datetime(2026, 3, 1, 0, 0, 7, tzinfo=UTC)
        assert event.get_dataschema() == (
            f"{SOURCE}/v1/governance/schemas/project_schema/versions/3"
        )
        assert event.get_extension("sequence") == "0000000002"
        assert event.get_extension("traceparent").startswith("00-4bf92f3577b34da6")
        data = event.get_data()
        assert data["before_version"] == 1
        assert data["changed"] == ["project_name"]
        assert data["after"]["project_name"] == "Île 風力 7"


class TestResponses:
    @pytest.mark.parametrize(
        ("status", "is_rejected"),
        [(400, True), (413, True), (422, True), (404, False), (500, False)],
    )
    async def test_an_undelivered_event_blocks_those_behind_it(
        self, publisher: EventPublisher, receiver: Receiver, status: int, *, is_rejected: bool
    ) -> None:
        receiver.respond = lambda _message: (status, {})
        failures = await publisher.publish([an_entry(1), an_entry(2, version=2)])
        assert [(str(failure.entry.position), failure.is_rejected) for failure in failures] == [
            ("1.1", is_rejected),
            ("1.2", False),
        ]
        assert str(status) in failures[0].reason
        assert len(receiver.messages) == 1

    @pytest.mark.parametrize("status", [429, 502, 503, 504])
    async def test_a_receiver_that_asks_to_wait_is_retried_later(
        self, publisher: EventPublisher, receiver: Receiver, status: int
    ) -> None:
        receiver.respond = lambda _message: (status, {"retry-after": "7"})
        with pytest.raises(Unavailable) as failure:
            await publisher.publish([an_entry(1)])
        assert failure.value.retry_after_s == 7

    async def test_a_receiver_that_is_gone_gets_nothing_further(
        self, publisher: EventPublisher, receiver: Receiver
    ) -> None:
        receiver.respond = lambda _message: (410, {})
        with pytest.raises(ConsumerGone, match="410 Gone"):
            await publisher.publish([an_entry(1), an_entry(2, version=2)])
        assert len(receiver.messages) == 1

    async def test_a_redirect_is_not_followed(
        self, publisher: EventPublisher, receiver: Receiver
    ) -> None:
        receiver.respond = lambda _message: (307, {"location": "/elsewhere"})
        (delivery_failure,) = await publisher.publish([an_entry(1)])
        assert "redirects are not followed" in delivery_failure.reason
        assert [message.path for message in receiver.messages] == ["/hooks"]

    async def test_a_receiver_that_does_not_respond_is_abandoned_at_the_timeout(
        self, publisher_options: PublisherOptions, receiver: Receiver
    ) -> None:
        receiver.response_gate = asyncio.Event()
        options = msgspec.structs.replace(publisher_options, timeout_s=0.2)
        publisher = await open_publisher(receiver.url, options=options)
        with pytest.raises(Unavailable, match=r"within 0\.2 s"):
            await publisher.publish([an_entry(1)])
        await publisher.close()
        receiver.response_gate.set()

    @pytest.mark.parametrize(
        ("value", "seconds"),
        [
            (None, 0),
            ("12", 12),
            (" 3 ", 3),
            ("Sun, 01 Mar 2026 12:00:30 GMT", 30),
            ("Sun, 01 Mar 2026 11:00:00 GMT", 0),
            ("Sunday, 01-Mar-26 12:00:10 GMT", 10),
            ("Sun, 01 Mar 2026 12:00:05 -0000", 5),
            ("soon", 0),
            ("9" * 400, 3600),
            ("99999999999999999999", 3600),
            ("Sun, 01 Mar 2099 12:00:00 GMT", 3600),
            ("Mon, 01 Jan 2026 00:00:00 +999999999999999", 0),
            ("Fri, 31 Dec 9999 23:59:59 -2359", 3600),
            ("-1", 0),
            ("", 0),
        ],
    )
    def test_retry_after_is_seconds_or_a_date(self, value: str | None, seconds: float) -> None:
        now = datetime(2026, 3, 1, 12, tzinfo=UTC)
        assert parse_retry_after_s(value, now) == seconds


class TestAddressGuard:
    @pytest.mark.parametrize(
        "address",
        [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",  # noqa: S104 -- checked, not bound
            "224.0.0.1",
            "255.255.255.255",
            "::1",
            "::",
            "fe80::1",
            "fc00::1",
            "fd00:ec2::254",
            "ff02::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::127.0.0.1",
            "64:ff9b::a9fe:a9fe",
            "2002:7f00:1::",
            "2002:a9fe:a9fe::",
            "2002:808:808::1",  # 6to4
            "0.1.2.3",  # this network
            "192.0.0.8",  # protocol assignments
            "192.0.0.170",  # discovery of NAT64
            "192.0.2.1",  # documentation
            "198.51.100.7",
            "203.0.113.255",
            "2001:db8::1",
            "3fff:fff::1",
            "198.18.0.1",  # benchmarking
            "198.19.255.255",
            "2001:2::1",
            "192.31.196.1",  # AS112
            "192.175.48.1",
            "2620:4f:8000::1",
            "192.52.193.1",  # multicast tunnels
            "192.88.99.1",  # 6to4 relays
            "239.255.255.255",
            "240.0.0.1",
            "100.127.255.255",
            "::ffff:192.0.2.1",
            "::ffff:0:10.0.0.1",  # IPv4-translated
            "64:ff9b::10.0.0.1",  # NAT64
            "64:ff9b:1::808:808",  # NAT64 of a network
            "100::1",  # discard
            "2001::1",  # Teredo
            "2001:0:4136:e378:8000:63bf:3fff:fdd2",
            "2001:10::1",  # ORCHID
            "2001:20::1",
            "5f00::1",  # segment routing
            "fec0::1",  # site-local
            "feff::1",
            "2606:4700::5efe:a00:1",  # ISATAP
            "2606:4700::200:5efe:808:808",
            "fe80::1%eth0",
            "2606:4700::1%1",
            "4000::1",  # not assigned
            "0:1::1",
        ],
    )
    def test_internal_addresses_are_rejected_even_inside_an_ipv6_address(
        self, address: str
    ) -> None:
        assert not AddressGuard(()).permits(ip_address(address))

    @pytest.mark.parametrize(
        "address",
        [
            *("93.184.215.14", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"),
            *("9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "172.15.255.255"),
            *("172.32.0.0", "192.0.1.0", "192.0.3.0", "198.17.255.255", "198.20.0.0"),
            *("203.0.112.255", "203.0.114.0", "223.255.255.255", "169.253.255.255"),
            *("2001:200::1", "2001:db7::1", "2001:db9::1", "2003::1", "3ffe::1", "2a00:1450::1"),
        ],
    )
    def test_public_addresses_are_permitted(self, address: str) -> None:
        assert AddressGuard(()).permits(ip_address(address))

    def test_a_network_can_be_allowed_by_configuration(self) -> None:
        guard = AddressGuard(("10.1.0.0/16", "fd00::/8"))
        assert guard.permits(ip_address("10.1.255.1"))
        assert guard.permits(ip_address("::ffff:10.1.0.1"))
        assert guard.permits(ip_address("fd00::1"))
        assert guard.permits(ip_address("64:ff9b::10.1.0.1"))
        assert not guard.permits(ip_address("10.2.0.1"))
        assert not guard.permits(ip_address("fe80::5efe:10.1.0.1"))
        with expect_invalid(("", "network_malformed")):
            AddressGuard(("10.1.0.1/16",))

    @pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0x7f.1", "2130706433", "[::1]"])
    async def test_nothing_is_sent_to_an_internal_receiver(
        self, host: str, secrets_file: Path, receiver: Receiver
    ) -> None:
        options = PublisherOptions(
            envelope=EventEnvelope(SOURCE, "s", STORE_ID), secrets_file=secrets_file
        )
        url = f"http://{host}:{receiver.port}/hooks"
        publisher = await open_publisher(url, options=options)
        with pytest.raises(Unavailable):
            await publisher.publish([an_entry(1)])
        with pytest.raises(Unavailable):
            await publisher.probe()
        await publisher.close()
        assert receiver.messages == []

    async def test_a_name_without_an_address_is_a_failure_that_asks_for_no_pause(
        self, publisher_options: PublisherOptions, address_book: AddressBook
    ) -> None:
        def look_up(_name: str) -> list[str]:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

        address_book.look_up = look_up
        publisher = await open_publisher("http://hooks.example/a", options=publisher_options)
        with pytest.raises(Unavailable, match=r"hooks\.example cannot be resolved") as failure:
            await publisher.publish([an_entry(1)])
        assert failure.value.retry_after_s == 0
        await publisher.close()

    @pytest.mark.parametrize(("scheme", "first"), [("https", b"\x16"), ("http", b"P")])
    async def test_the_scheme_decides_on_encryption(
        self, publisher_options: PublisherOptions, scheme: str, first: bytes
    ) -> None:
        """The first byte is that of a TLS handshake, or of POST."""
        received: list[bytes] = []

        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            received.append(await reader.read(1))
            writer.close()

        server = await asyncio.start_server(accept, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        url = f"{scheme}://127.0.0.1:{port}/hooks"
        publisher = await open_publisher(url, options=publisher_options)
        with pytest.raises(Unavailable):
            await publisher.publish([an_entry(1)])
        await publisher.close()
        server.close()
        assert received[0] == first

    @pytest.mark.parametrize(("scheme", "expected"), [("https", 443), ("http", 80)])
    async def test_a_scheme_has_its_usual_port(
        self,
        publisher_options: PublisherOptions,
        monkeypatch: pytest.MonkeyPatch,
        scheme: str,
        expected: int,
    ) -> None:
        ports: list[int] = []

        async def connect(_protocol: object, _host: object, port: int, **_: object) -> None:
            ports.append(port)
            raise ConnectionRefusedError

        monkeypatch.setattr(asyncio.get_running_loop(), "create_connection", connect)
        publisher = await open_publisher(f"{scheme}://127.0.0.1/a", options=publisher_options)
        with pytest.raises(Unavailable):
            await publisher.publish([an_entry(1)])
        await publisher.close()
        assert ports == [expected]

    async def test_the_connection_is_made_to_the_address_that_was_checked(
        self, publisher_options: PublisherOptions, receiver: Receiver, address_book: AddressBook
    ) -> None:
        """A name that is rebound after the check leads to no other address."""
        addresses = iter(["127.0.0.1", "127.0.0.2"])
        address_book.look_up = lambda _name: [next(addresses)]
        url = f"http://hooks.example:{receiver.port}/hooks"
        publisher = await open_publisher(url, options=publisher_options)
        assert await publisher.publish([an_entry(1)]) == ()
        await publisher.close()
        assert address_book.names == ["hooks.example"]
        assert receiver.accepted_messages[0].headers["host"] == f"hooks.example:{receiver.port}"

    async def test_a_name_is_resolved_again_after_a_failure_and_after_seconds(
        self, address_book: AddressBook, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        loop = asyncio.get_running_loop()
        address_book.look_up = lambda _name: [f"9.9.9.{len(address_book.names)}"]
        guard, now_s = AddressGuard(()), loop.time()
        assert [await guard.resolve("hooks.example") for _ in range(3)] == [("9.9.9.1",)] * 3
        guard.forget("hooks.example")
        assert await guard.resolve("hooks.example") == ("9.9.9.2",)
        monkeypatch.setattr(loop, "time", lambda: now_s + RESOLUTION_S + 60)
        assert await guard.resolve("hooks.example") == ("9.9.9.3",)

    async def test_a_receiver_that_fails_is_resolved_again(
        self, publisher_options: PublisherOptions, receiver: Receiver, address_book: AddressBook
    ) -> None:
        """Its name may lead elsewhere by now."""
        addresses = iter(["127.0.0.2", "127.0.0.1"])
        address_book.look_up = lambda _name: [next(addresses)]
        url = f"http://hooks.example:{receiver.port}/hooks"
        publisher = await open_publisher(url, options=publisher_options)
        with pytest.raises(Unavailable, match="cannot be reached: connection refused"):
            await publisher.publish([an_entry(1)])
        assert await publisher.publish([an_entry(1)]) == ()
        await publisher.close()

    async def test_each_permitted_address_is_tried(
        self, publisher_options: PublisherOptions, receiver: Receiver, address_book: AddressBook
    ) -> None:
        address_book.look_up = lambda _name: ["10.0.0.1", "127.0.0.2", "127.0.0.1"]
        url = f"http://hooks.example:{receiver.port}/hooks"
        publisher = await open_publisher(url, options=publisher_options)
        assert await publisher.probe() == f"posted to {url}"
        assert await publisher.publish([an_entry(1)]) == ()
        await publisher.close()


class TlsReceiver:
    """Receiver over TLS with a certificate of `hooks.example` and hosts that it signed itself."""

    def __init__(self, folder: Path, *hosts: str) -> None:
        write_certificate(folder, "hooks", *hosts)
        self.certificate = folder / "hooks.pem"
        self.names: list[str | None] = []
        self.heads: list[bytes] = []
        self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._context.load_cert_chain(self.certificate, folder / "hooks.key.pem")
        self._context.sni_callback = lambda _socket, name, _context: self.names.append(name)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            self.heads.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n")
        writer.close()

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[int]:
        async with await asyncio.start_server(
            self.serve, "127.0.0.1", 0, ssl=self._context
        ) as server:
            yield server.sockets[0].getsockname()[1]


class TestTls:
    @pytest.fixture(autouse=True)
    def resolve_to_loopback(self, address_book: AddressBook) -> AddressBook:
        return address_book

    @pytest.mark.parametrize(
        ("host", "a_label", "idna_2003"),
        [
            ("straße.example", "xn--strae-oqa.example", "strasse.example"),
            ("xn--strae-oqa.example", "xn--strae-oqa.example", "strasse.example"),
            ("βόλος.example", "xn--nxasmm1c.example", "xn--nxasmq6b.example"),
            ("höst.example", "xn--hst-sna.example", "other.example"),
        ],
    )
    async def test_an_international_name_is_the_same_in_each_place(
        self,
        publisher_options: PublisherOptions,
        tmp_path: Path,
        address_book: AddressBook,
        monkeypatch: pytest.MonkeyPatch,
        host: str,
        a_label: str,
        idna_2003: str,
    ) -> None:
        """In IDNA 2003 it may be another domain, whose certificate then counted."""
        receiver = TlsReceiver(tmp_path, a_label)
        monkeypatch.setenv("SSL_CERT_FILE", str(receiver.certificate))
        async with receiver.listening() as port:
            url = f"https://{host}:{port}/a"
            publisher = await open_publisher(url, options=publisher_options)
            await publisher.probe()
            assert await publisher.publish([an_entry(1)]) == ()
            await publisher.close()
        assert receiver.names == [a_label] * 2
        assert address_book.names == [a_label]
        assert f"host: {a_label}:{port}".encode() in receiver.heads[-1].lower()
        other_folder = tmp_path / "other"
        other_folder.mkdir()
        other = TlsReceiver(other_folder, idna_2003)
        monkeypatch.setenv("SSL_CERT_FILE", str(other.certificate))
        async with other.listening() as port:
            url = f"https://{host}:{port}/a"
            publisher = await open_publisher(url, options=publisher_options)
            with pytest.raises(Unavailable, match="Hostname mismatch"):
                await publisher.publish([an_entry(1)])
            await publisher.close()
        assert other.heads == []

    @pytest.mark.parametrize("host", ["hooks.example", "hooks.example."])
    async def test_a_receiver_with_a_trusted_certificate_is_reached_by_its_name(
        self,
        publisher_options: PublisherOptions,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        host: str,
    ) -> None:
        """A dot at the end of a name is for the resolver; no certificate has it (RFC 6066, 3)."""
        receiver = TlsReceiver(tmp_path)
        monkeypatch.setenv("SSL_CERT_FILE", str(receiver.certificate))
        async with receiver.listening() as port:
            url = f"https://{host}:{port}/a"
            publisher = await open_publisher(url, options=publisher_options)
            assert await publisher.probe() == f"posted to {url}"
            assert await publisher.publish([an_entry(1)]) == ()
            await publisher.close()
        assert receiver.names == ["hooks.example"] * 2
        assert f"host: {host}:{port}".encode() in receiver.heads[-1].lower()

    async def test_the_name_of_other_clients_has_no_dot_at_its_end(self, tmp_path: Path) -> None:
        receiver = TlsReceiver(tmp_path)
        context = ssl.create_default_context(cafile=receiver.certificate)
        transport = DirectTransport(verify=context, connections=1)
        async with receiver.listening() as port, httpx.AsyncClient(transport=transport) as client:
            assert (await client.get(f"https://hooks.example.:{port}/")).status_code == 204
        assert receiver.names == ["hooks.example"]

    async def test_renewed_authorities_of_the_machine_are_loaded(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in ("old", "new"):
            write_certificate(tmp_path, name)
        bundle = tmp_path / "bundle.pem"
        bundle.write_bytes((tmp_path / "old.pem").read_bytes())
        monkeypatch.setenv("SSL_CERT_FILE", str(bundle))
        before = get_shared_ssl_context().cert_store_stats()["x509"]
        with bundle.open("ab") as file:
            file.write((tmp_path / "new.pem").read_bytes())
        assert get_shared_ssl_context().cert_store_stats()["x509"] == before + 1

    async def test_all_receivers_share_the_authorities_of_the_machine(
        self, publisher_options: PublisherOptions, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Each loading takes 85 ms, and hundreds of them held up the start."""
        first = await open_publisher("https://hooks.example/", options=publisher_options)
        monkeypatch.setattr(certifi, "where", lambda: pytest.fail("they are loaded again"))
        for url in ("https://b.example/", "nats://c.example/desk", "nats+tls://c.example/desk"):
            await (await open_publisher(url, options=publisher_options)).close()
        await first.close()

    @pytest.mark.parametrize(
        ("host", "is_trusted", "reason"),
        [
            ("hooks.example", False, "self-signed certificate"),
            ("x.example", True, "Hostname mismatch, certificate is not valid for 'x.example'"),
        ],
    )
    async def test_a_receiver_with_another_certificate_gets_no_event(
        self,
        publisher_options: PublisherOptions,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        host: str,
        *,
        is_trusted: bool,
        reason: str,
    ) -> None:
        receiver = TlsReceiver(tmp_path)
        reason = f"cannot be reached: its certificate is not accepted: {reason}."
        if is_trusted:
            monkeypatch.setenv("SSL_CERT_FILE", str(receiver.certificate))
        async with receiver.listening() as port:
            url = f"https://{host}:{port}/a"
            publisher = await open_publisher(url, options=publisher_options)
            with pytest.raises(Unavailable, match=reason):
                await publisher.publish([an_entry(1)])
            with pytest.raises(Unavailable, match=reason):
                await publisher.probe()
            await publisher.close()
        assert receiver.heads == []


@pytest.mark.parametrize(
    "url",
    [
        "http://",
        "https:///path",
        "http://[::1/hooks",
        "http://host:99999/",
        "http://host:port/",
        "http://host..name/",
        "http://user@:80/",
        "http://a b/",
        "http://☃.example/",
        "http://256.1.1.1/",
        "http://0177.0.0.1/",
        "nats://256.1.1.1/desk",
        "nats://☃.example/desk",
        "http://h/#mode=loud",
        "http://h/#colour=red",
        "http://h/#name=a&name=b",
        "http://h/#start=tomorrow",
        "http://h/#nonsense",
        f"http://h/#name={'x' * 201}",
        "gopher://h/",
        "log://somewhere",
        "plain",
    ],
)
async def test_a_malformed_publisher_url_is_rejected(
    url: str, publisher_options: PublisherOptions
) -> None:
    with pytest.raises(InvalidInput):
        await open_publisher(url, options=publisher_options)


@pytest.mark.parametrize(
    ("host", "name"),
    [("אב1.example", "אב1.example"), ("क्\u200dष.example", "क्\\u200dष.example")],
)
@pytest.mark.parametrize("scheme", ["http", "nats"])
async def test_a_host_of_idna_2008_alone_is_accepted(
    scheme: str, host: str, name: str, publisher_options: PublisherOptions
) -> None:
    publisher = await open_publisher(f"{scheme}://{host}/desk", options=publisher_options)
    assert publisher.delivery_options.name == f"{scheme}://{name}/desk"
    await publisher.close()


async def test_a_webhook_without_secrets_is_rejected() -> None:
    options = PublisherOptions(envelope=EventEnvelope(SOURCE, "s", STORE_ID))
    with pytest.raises(InvalidInput, match="SPAWN_WEBHOOK_SECRETS_FILE"):
        await open_publisher("https://hooks.example/", options=options)
