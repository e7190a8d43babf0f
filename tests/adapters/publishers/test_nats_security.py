"""NATS publisher: encryption, credentials and permissions, and errors in the server's words."""

import asyncio
import binascii
import json
from base64 import b32encode, b64decode
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from nats.js.api import DiscardPolicy, StreamConfig
from tests.adapters.publishers.certificates import write_certificate
from tests.adapters.publishers.conftest import AddressBook
from tests.adapters.publishers.nats_server import NatsServer, running_nats_server
from tests.loopback import free_port

from spawn.adapters.embedded.options import PublisherOptions
from spawn.adapters.factory import open_publisher
from spawn.adapters.publishers.nats.nats_url import parse_nats_url
from spawn.domain.errors import InvalidInput, Unavailable
from spawn.testing.publisher_contract import SECRET, an_entry, publisher_options

__all__ = ["publisher_options"]  # the fixture
JWT = "eyJ0eXAiOiJKV1QiLCJhbGciOiJlZDI1NTE5LW5rZXkifQ.e30.c2ln"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    with running_nats_server(tmp_path_factory.mktemp("nats")) as server:
        yield server


@pytest.fixture
async def stream(server: NatsServer) -> str:
    """Create the stream that the events go to, and return its name."""
    client, context = await server.context()
    await context.add_stream(StreamConfig(name="DESK", subjects=["desk.>"]))
    await client.close()
    return "DESK"


async def describe_failure(url: str, options: PublisherOptions) -> tuple[str, str]:
    """Return the reasons for which an event is not delivered, and for which the probe fails."""
    publisher = await open_publisher(url, options=options)
    try:
        (failure,) = await publisher.publish([an_entry(1)])
        reason = failure.reason
    except Unavailable as unavailable:
        reason = unavailable.detail
    with pytest.raises(Unavailable) as probe_failure:
        await publisher.probe()
    await publisher.close()
    return reason, probe_failure.value.detail


class FakeServer:
    """Server that greets with INFO and records the bytes that it gets."""

    def __init__(self, **info: object) -> None:
        self.received = bytearray()
        self._info = {"server_id": "fake", "version": "2.9.0", "headers": True, **info}

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"INFO " + json.dumps(self._info).encode() + b"\r\n")
        while data := await reader.read(4096):
            self.received += data
            if b"PING" in data:
                writer.write(b"PONG\r\n")
        writer.close()


@asynccontextmanager
async def listening(server: FakeServer) -> AsyncIterator[str]:
    """Let a fake server listen, and yield its address."""
    async with await asyncio.start_server(server.serve, "127.0.0.1", 0) as listener:
        yield f"127.0.0.1:{listener.sockets[0].getsockname()[1]}"


class TestEncryption:
    async def test_a_server_without_tls_gets_no_byte(
        self, publisher_options: PublisherOptions
    ) -> None:
        server = FakeServer(tls_required=False, auth_required=True)
        async with listening(server) as address:
            url = f"nats+tls://spawn:{SECRET}@{address}/desk"
            reasons = await describe_failure(url, publisher_options)
        assert bytes(server.received) == b""
        for reason in reasons:
            assert "the server offers no TLS" in reason

    async def test_a_server_with_optional_tls_is_asked_for_it_first(
        self, publisher_options: PublisherOptions, address_book: AddressBook
    ) -> None:
        """Its name for TLS has no dot at the end, since no certificate has it (RFC 6066, 3).

        Each of the two connections looks it up once: a second lookup that hangs would hold up the
        end of the process.
        """
        server = FakeServer(tls_available=True)
        address_book.look_up = lambda _name: ["127.0.0.2", "127.0.0.1"]
        async with listening(server) as address:
            url = f"nats+tls://spawn:{SECRET}@{address}/desk"
            url = url.replace("127.0.0.1", "nats.example.")
            await describe_failure(url, publisher_options)
        assert address_book.names == ["nats.example."] * 2
        assert server.received.startswith(b"\x16\x03")
        assert b"nats.example" in server.received
        assert b"nats.example." not in server.received
        assert SECRET.encode() not in server.received

    async def test_both_ends_prove_themselves_by_certificates(
        self, tmp_path: Path, publisher_options: PublisherOptions
    ) -> None:
        for name in ("server", "client"):
            write_certificate(tmp_path, name)
        tls = ", ".join(
            f'{key}: "{tmp_path}/{name}.pem"'
            for key, name in (
                ("cert_file", "server"),
                ("key_file", "server.key"),
                ("ca_file", "client"),
            )
        )
        with running_nats_server(tmp_path, f"tls {{{tls}, verify: true}}") as server:
            files = f"&cert={tmp_path}/client.pem&key={tmp_path}/client.key.pem"
            authority = f"&ca={tmp_path}/server.pem"
            url = server.url.replace("nats://", "nats+tls://") + "/desk#stream=TLS"
            await server.wait_until_listening()
            assert await is_delivered(url + files + authority, publisher_options)
            assert not await is_delivered(url + authority, publisher_options)
            reason, _ = await describe_failure(url + files, publisher_options)
        assert "its certificate is not accepted: self" in reason


async def is_delivered(url: str, options: PublisherOptions) -> bool:
    publisher = await open_publisher(url, options=options)
    try:
        return not await publisher.publish([an_entry(1)])
    except Unavailable:
        return False
    finally:
        await publisher.close()


class TestCredentials:
    @pytest.mark.parametrize("user_info", ["desk%40risk:p%40ss%2Fw%3Ard%231%25", "spawn:hunter2"])
    async def test_user_and_password_are_percent_decoded(
        self, server: NatsServer, stream: str, publisher_options: PublisherOptions, user_info: str
    ) -> None:
        url = f"nats://{user_info}@{server.address}/desk#stream={stream}"
        publisher = await open_publisher(url, options=publisher_options)
        assert await publisher.publish([an_entry(1)]) == []
        assert SECRET not in publisher.delivery_options.name
        await publisher.close()

    async def test_a_creds_file_signs_the_nonce_of_the_server(
        self, tmp_path: Path, publisher_options: PublisherOptions
    ) -> None:
        key = ed25519.Ed25519PrivateKey.generate()
        (tmp_path / "desk.creds").write_text(creds_text(key))
        server = FakeServer(auth_required=True, nonce="an unguessable text")
        async with listening(server) as address:
            url = f"nats://{address}/desk#creds={tmp_path}/desk.creds"
            await describe_failure(url, publisher_options)
        connect = json.loads(server.received.partition(b"CONNECT ")[2].partition(b"\r\n")[0])
        assert connect["jwt"] == JWT
        key.public_key().verify(b64decode(connect["sig"]), b"an unguessable text")

    @pytest.mark.parametrize(
        ("part", "replacement"),
        [("BEGIN USER NKEY SEED", "x"), ("BEGIN NATS USER JWT", "x"), ("\nSU", "\nSUA"), ("", "é")],
    )
    async def test_a_creds_file_without_a_users_key_stops_the_start(
        self, tmp_path: Path, publisher_options: PublisherOptions, part: str, replacement: str
    ) -> None:
        text = creds_text(ed25519.Ed25519PrivateKey.generate())
        (tmp_path / "desk.creds").write_text(text.replace(part, replacement, 1))
        url = f"nats://127.0.0.1/desk#creds={tmp_path}/desk.creds"
        with pytest.raises(InvalidInput, match=r"The creds file desk\.creds cannot be read") as e:
            await open_publisher(url, options=publisher_options)
        assert "SU" not in e.value.errors[0].detail

    @pytest.mark.parametrize(
        "options",
        [
            "ca=/absent",
            "cert=/absent&key=/absent",
            "cert=/absent",
            "ca=",
            "creds=/absent",
            "subject=id",
        ],
    )
    async def test_files_that_cannot_be_used_stop_the_start(
        self, publisher_options: PublisherOptions, options: str
    ) -> None:
        with pytest.raises(InvalidInput):
            await open_publisher(f"nats+tls://127.0.0.1/desk#{options}", options=publisher_options)

    @pytest.mark.parametrize(
        "url",
        [
            "nats://h:99999/desk",
            "nats://h:port/desk",
            "nats://a:1,,b:2/desk",
            "nats://u:1@a,u:2@b/desk",
            "nats://[::1/desk",
            "nats://h/desk#ca=/etc/ssl/ca.pem",
            "nats://u:p@h/desk#creds=/etc/desk.creds",
        ],
    )
    async def test_a_contradictory_url_is_rejected(
        self, publisher_options: PublisherOptions, url: str
    ) -> None:
        with pytest.raises(InvalidInput):
            await open_publisher(url, options=publisher_options)


def creds_text(key: ed25519.Ed25519PrivateKey) -> str:
    """Return a creds file as `nsc` writes it."""
    body = b"\x95\x00" + key.private_bytes_raw()
    seed = b32encode(body + binascii.crc_hqx(body, 0).to_bytes(2, "little")).decode().rstrip("=")
    return (
        f"-----BEGIN NATS USER JWT-----\n{JWT}\n------END NATS USER JWT------\n\n"
        f"-----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
    )


class TestReasons:
    async def test_a_missing_permission_to_publish_is_named(
        self, server: NatsServer, stream: str, publisher_options: PublisherOptions
    ) -> None:
        url = f"nats://reader:{SECRET}@{server.address}/desk#stream={stream}"
        patient_options = msgspec.structs.replace(publisher_options, timeout_s=600.0)
        async with asyncio.timeout(60):  # at once, not at the end of the publisher's timeout
            for reason in await describe_failure(url, patient_options):
                assert 'permissions violation for publish to "desk.project.created"' in reason

    async def test_a_client_that_may_only_publish_needs_no_other_permission(
        self, server: NatsServer, stream: str, publisher_options: PublisherOptions
    ) -> None:
        url = f"nats://writer:{SECRET}@{server.address}/desk#stream={stream}"
        assert await is_delivered(url, publisher_options)

    async def test_a_probe_stores_no_message(
        self, server: NatsServer, stream: str, publisher_options: PublisherOptions
    ) -> None:
        client, context = await server.context()
        before = (await context.stream_info(stream)).state.last_seq
        publisher = await open_publisher(f"{server.url}/desk", options=publisher_options)
        assert await publisher.probe() == f"published to desk.> of stream {stream}"
        assert (await context.stream_info(stream)).state.last_seq == before
        await publisher.close()
        await client.close()

    async def test_a_rejected_login_is_named(
        self, server: NatsServer, stream: str, publisher_options: PublisherOptions
    ) -> None:
        url = f"nats://spawn:wrong@{server.address}/desk#stream={stream}"
        for reason in await describe_failure(url, publisher_options):
            assert reason == "The NATS server cannot be used: Authorization Violation."

    async def test_a_full_stream_is_named(
        self, server: NatsServer, publisher_options: PublisherOptions
    ) -> None:
        client, context = await server.context()
        config = StreamConfig(
            name="FULL", subjects=["full.>"], max_msgs=1, discard=DiscardPolicy.NEW
        )
        await context.add_stream(config)
        await client.close()
        publisher = await open_publisher(f"{server.url}/full", options=publisher_options)
        (failure,) = await publisher.publish([an_entry(1), an_entry(2, "p2")])
        await publisher.close()
        assert failure.reason == ("The stream did not accept the event: maximum messages exceeded.")

    async def test_nobody_there_is_named(self, publisher_options: PublisherOptions) -> None:
        url = f"nats://127.0.0.1:{free_port()}/desk"
        reason, _ = await describe_failure(url, publisher_options)
        assert "Connect call failed" in reason or "refused" in reason


class TestServers:
    async def test_any_of_several_servers_will_do(
        self, server: NatsServer, stream: str, publisher_options: PublisherOptions
    ) -> None:
        servers = f"127.0.0.1:{free_port()},{server.address},127.0.0.1:{free_port()}"
        url = f"nats://spawn:{SECRET}@{servers}/desk#stream={stream}"
        publisher = await open_publisher(url, options=publisher_options)
        assert await publisher.publish([an_entry(1)]) == []
        assert publisher.delivery_options.name == f"nats://{servers}/desk"
        await publisher.close()

    async def test_a_subject_has_the_id_of_the_aggregate_on_request(
        self, server: NatsServer, stream: str, publisher_options: PublisherOptions
    ) -> None:
        url = f"{server.url}/desk#stream={stream}&subject=type.id"
        publisher = await open_publisher(url, options=publisher_options)
        assert await publisher.publish([an_entry(41, "p.1 é"), an_entry(42, "p2")]) == []
        assert stream in await publisher.probe()
        await publisher.close()
        client, context = await server.context()
        last = (await context.stream_info(stream)).state.last_seq
        subjects = [(await context.get_msg(stream, last - n)).subject for n in (1, 0)]
        await client.close()
        assert subjects == ["desk.project.created.p%2E1%20%C3%A9", "desk.project.created.p2"]


@pytest.mark.parametrize(
    ("address", "server"),
    [
        ("straße.example", "xn--strae-oqa.example:4222"),
        ("βόλος.example:80", "xn--nxasmm1c.example:80"),
        ("hooks.example:4223", "hooks.example:4223"),
        ("[::1]", "[::1]:4222"),
    ],
)
def test_an_international_server_is_the_domain_of_the_url(address: str, server: str) -> None:
    """The library's resolver makes other domains of names with ß or ς."""
    assert parse_nats_url(f"nats://{address}/desk").servers == (server,)


def test_a_server_that_is_no_international_name_is_rejected() -> None:
    with pytest.raises(InvalidInput, match="NATS URL"):
        parse_nats_url("nats://☃.example/desk")
