"""A bucket: conditional writes, long lists, failures of the server, and credentials."""

import hashlib
import os
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from tests.adapters.archives.s3_server import (
    BUCKET,
    SECRET,
    FailingProxy,
    environ_of,
    open_bucket,
)

from spawn.adapters.archives import bucket_archive
from spawn.adapters.archives.bucket_archive import BucketArchive
from spawn.domain.errors import StorageBusy, StorageDamaged, Unavailable

pytestmark = pytest.mark.real


@pytest.fixture(autouse=True)
def no_long_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bucket_archive, "_RETRIES", 2)


def test_two_writers_never_replace_each_others_index(s3_port: int, prefix: str) -> None:
    one, other = open_bucket(s3_port, prefix), open_bucket(s3_port, prefix)
    one.replace("set-000001/index.json", b"one")
    with pytest.raises(StorageBusy, match="a prefix of its own"):
        other.replace("set-000001/index.json", b"other")
    other.read("set-000001/index.json")
    other.replace("set-000001/index.json", b"other")
    with pytest.raises(StorageBusy):
        one.replace("set-000001/index.json", b"one again")
    assert one.read("set-000001/index.json") == b"other"


def test_a_list_has_more_names_than_a_page(s3_port: int, prefix: str) -> None:
    archive = open_bucket(s3_port, prefix)
    store = archive._store()
    for number in range(1_001):
        store.put(f"set-{number:06d}/index.json", b"")
    open_bucket(s3_port, f"{prefix}-other").create("set-9", b"")
    assert len(archive.list_names("set-")) == 1_001
    archive.remove(archive.list_names("set-"))
    assert archive.list_names("set-") == []


def test_a_server_that_ignores_conditions_is_rejected(proxy: FailingProxy, prefix: str) -> None:
    proxy.drops_conditions = True
    archive = open_bucket(proxy.port, prefix)
    for write in (archive.create, archive.replace):
        with pytest.raises(Unavailable, match="ignores the conditions of writes"):
            write("epoch-a.json", b"1")
    with pytest.raises(Unavailable, match="SPAWN_BACKUP_URL"), archive.lock():
        pass
    assert archive.list_names("epoch-") == []


def test_a_write_whose_response_is_lost_is_not_taken_for_anothers(
    proxy: FailingProxy, prefix: str
) -> None:
    """The client repeats it, and the server says that there is such an object."""
    archive = open_bucket(proxy.port, prefix)
    archive.create("warm-up", b"")
    paths: list[str] = []

    def lose_first(method: str, path: str) -> bool:
        if method == "PUT" and path not in paths:
            paths.append(path)
            return True
        return False

    proxy.lose = lose_first
    archive.create("epoch-a.json", b"mine")
    archive.replace("set-000001/index.json", b"1")
    paths.clear()
    archive.replace("set-000001/index.json", b"2")
    assert len(paths) == 1
    assert archive.read("set-000001/index.json") == b"2"


def test_a_conflict_without_an_object_is_tried_again(proxy: FailingProxy, prefix: str) -> None:
    """AWS responds 409 if a removal of the name runs at the same time."""
    archive = open_bucket(proxy.port, prefix)
    archive.create("warm-up", b"")
    statuses = [409, 409]
    proxy.code = "ConditionalRequestConflict"
    proxy.fault = lambda method, _: statuses.pop() if method == "PUT" and statuses else None
    archive.create("epoch-a.json", b"1")
    assert archive.read("epoch-a.json") == b"1"
    proxy.fault = lambda method, _: 409 if method == "PUT" else None
    with pytest.raises(OSError, match="which is absent"):
        archive.create("epoch-b.json", b"1")


def test_a_short_overload_is_waited_for_and_a_long_one_is_one_line(
    proxy: FailingProxy, prefix: str
) -> None:
    archive = open_bucket(proxy.port, prefix)
    statuses = [503]
    proxy.fault = lambda _method, _path: statuses.pop() if statuses else None
    archive.replace("set-000001/index.json", b"1")
    proxy.fault = lambda _method, _path: 503
    with pytest.raises(OSError, match=r"s3://spawn-backups/finance/\w+: SlowDown \(") as raised:
        archive.read("set-000001/index.json")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("status", "code", "message"),
    [
        (403, "AccessDenied", "AccessDenied (allow to list, get, put and delete objects"),
        (403, "SignatureDoesNotMatch", "SignatureDoesNotMatch (check the credentials and"),
        (403, "RequestTimeTooSkewed", "RequestTimeTooSkewed (set the clock of this machine)"),
        (400, "ExpiredToken", "ExpiredToken (renew the credentials)"),
        (501, "NotImplemented", "NotImplemented (the server has no conditional writes"),
        (418, "", "418"),
    ],
)
def test_a_rejection_is_one_line_without_the_text_of_the_response(
    proxy: FailingProxy, prefix: str, status: int, code: str, message: str
) -> None:
    proxy.code = code
    proxy.fault = lambda _method, _path: status
    archive = open_bucket(proxy.port, prefix)
    operations: list[Any] = [
        lambda: archive.list_names(""),
        lambda: archive.read("a"),
        lambda: archive.create("a", b""),
        lambda: archive.remove(["a"]),
    ]
    for operate in operations:
        with pytest.raises(OSError, match="s3://") as raised:
            operate()
        assert message in str(raised.value)
        assert SECRET not in str(raised.value)
        assert raised.value.__cause__ is None


def test_a_missing_bucket_is_named(s3_port: int, folder: Path) -> None:
    archive = BucketArchive("no-such-bucket", "p", environ_of(s3_port))
    for operate in (archive.list_names, archive.read, archive.hash):
        with pytest.raises(OSError, match=r"NoSuchBucket \(create the bucket") as raised:
            operate("a")
        assert not isinstance(raised.value, FileNotFoundError)
    with pytest.raises(OSError, match="NoSuchBucket"):
        archive.copy("a", folder)


def test_a_server_that_is_not_there_is_one_line(prefix: str) -> None:
    with pytest.raises(OSError, match=r"no connection to the server at http://127.0.0.1:1$"):
        open_bucket(1, prefix).list_names("")


def test_an_upload_that_arrives_otherwise_is_found(
    proxy: FailingProxy, prefix: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = open_bucket(proxy.port, prefix)
    source = archive.staging_path("set-000001/j", folder)
    source.write_bytes(b"1234")
    ask = proxy._ask_server
    monkeypatch.setattr(proxy, "_ask_server", lambda handler, body: ask(handler, body[:2] + b"??"))
    with pytest.raises(StorageDamaged, match="is not as it was written"):
        archive.publish(source, "set-000001/j", hashlib.sha256(b"1234").hexdigest())


# -- credentials ------------------------------------------------------------------------------


def write_profile(path: Path, secret: str) -> None:
    path.write_text(f"[backup]\naws_access_key_id = AKIAFILE\naws_secret_access_key = {secret}\n")


def test_credentials_come_from_a_shared_file(
    proxy: FailingProxy, prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "credentials"
    write_profile(file, "s" * 40)
    environ = environ_of(proxy.port, AWS_SHARED_CREDENTIALS_FILE=str(file), AWS_PROFILE="backup")
    archive = BucketArchive(BUCKET, prefix, environ)
    authorizations: list[str] = []
    respond = proxy.respond

    def note(handler: BaseHTTPRequestHandler) -> None:
        authorizations.append(handler.headers["Authorization"])
        respond(handler)

    monkeypatch.setattr(proxy, "respond", note)
    archive.list_names("")
    assert "Credential=AKIAFILE/" in authorizations[0]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[other]\naws_access_key_id = a\n", "has no keys of backup"),
        ("aws_secret_access_key = canary", "is not a file of profiles"),
    ],
)
def test_a_file_without_the_profile_is_one_line_without_its_text(
    tmp_path: Path, content: str, message: str
) -> None:
    file = tmp_path / "credentials"
    file.write_text(content)
    environ = {
        "AWS_SHARED_CREDENTIALS_FILE": str(file),
        "AWS_PROFILE": "backup",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    with pytest.raises(OSError, match=message) as raised:
        BucketArchive(BUCKET, "p", environ).list_names("")
    assert "canary" not in str(raised.value)


def test_no_credentials_are_one_line(tmp_path: Path) -> None:
    environ = {"AWS_EC2_METADATA_DISABLED": "true", "HOME": str(tmp_path)}
    with pytest.raises(OSError, match="no credentials"):
        BucketArchive(BUCKET, "p", environ).list_names("")


def test_plain_http_to_another_machine_needs_consent() -> None:
    environ = environ_of(1, AWS_ENDPOINT_URL="http://user:canary@s3.example.org")
    with pytest.raises(OSError, match="has no TLS") as raised:
        BucketArchive(BUCKET, "p", environ).list_names("")
    assert "canary" not in str(raised.value)


def test_nothing_of_the_credentials_is_in_a_representation(s3_port: int, prefix: str) -> None:
    archive = open_bucket(s3_port, prefix)
    archive.list_names("")
    assert SECRET not in f"{archive!r} {archive} {archive.url}"
    assert os.environ.get("AWS_SECRET_ACCESS_KEY") is None
