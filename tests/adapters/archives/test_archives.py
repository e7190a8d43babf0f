"""Promises of an archive, kept by a folder and by a bucket of a real server."""

import hashlib
import threading
from pathlib import Path

import pytest
from tests.adapters.archives.s3_server import FailingProxy, open_bucket

from spawn.adapters.archives.folder_archive import FolderArchive
from spawn.adapters.embedded.archive import Archive

pytestmark = pytest.mark.real


@pytest.fixture(params=["folder", "bucket"])
def archive(request: pytest.FixtureRequest, tmp_path: Path, prefix: str) -> Archive:
    if request.param == "folder":
        folder = tmp_path / "archive"
        (folder / "set-000001").mkdir(parents=True)
        return FolderArchive(folder)
    return open_bucket(request.getfixturevalue("s3_port"), prefix)


def test_what_is_written_is_listed_and_read(archive: Archive, folder: Path) -> None:
    archive.replace("set-000001/index.json", b"{}")
    archive.create("epoch-a.json", b"1")
    assert archive.list_names("epoch-") == ["epoch-a.json"]
    assert archive.list_names("set-") == ["set-000001/index.json"]
    assert archive.list_names("set-000001/") == ["set-000001/index.json"]
    assert archive.list_names("epoch-b") == []
    assert archive.read("set-000001/index.json") == b"{}"
    assert archive.hash("epoch-a.json") == hashlib.sha256(b"1").hexdigest()
    assert archive.fetch("epoch-a.json", folder).read_bytes() == b"1"


def test_a_missing_file_is_told_by_its_name(archive: Archive, folder: Path) -> None:
    for read in (archive.read, archive.hash, lambda name: archive.fetch(name, folder)):
        with pytest.raises(FileNotFoundError) as raised:
            read("set-000009/index.json")
        assert str(raised.value.filename).endswith("set-000009/index.json")
    archive.remove(["set-000001/missing"])


def test_one_of_many_creates_a_file(tmp_path: Path) -> None:
    archive = FolderArchive(tmp_path)
    check_that_one_of_many_creates(archive)


def test_one_of_many_creates_an_object(proxy: FailingProxy, prefix: str) -> None:
    """The server of the tests checks and writes in two steps, so that it has one at a time."""
    proxy.lock = threading.Lock()
    check_that_one_of_many_creates(open_bucket(proxy.port, prefix))


def check_that_one_of_many_creates(archive: Archive) -> None:
    archive.create("warm-up", b"")
    results: list[bytes | str] = []

    def create(content: bytes) -> None:
        try:
            archive.create("epoch-a.json", content)
            results.append(content)
        except FileExistsError:
            results.append("exists")

    threads = [threading.Thread(target=create, args=(b"%d" % n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (winner,) = (result for result in results if isinstance(result, bytes))
    assert results.count("exists") == 7
    assert archive.read("epoch-a.json") == winner


def test_a_staged_file_is_published_whole(archive: Archive, folder: Path) -> None:
    name = f"set-000001/{archive.name_file('journal-1-9', '.parquet')}"
    source = archive.staging_path(name, folder)
    content = b"PAR1" * 3_000_000  # more than one part of an upload
    source.write_bytes(content)
    assert archive.list_names("set-") == []
    archive.publish(source, name, hashlib.sha256(content).hexdigest())
    assert archive.list_names("set-") == [name]
    assert not source.exists()
    assert archive.copy(name, folder).read_bytes() == content
    archive.remove([name])
    assert archive.list_names("") == []


def test_a_file_that_was_written_is_replaced(archive: Archive) -> None:
    archive.replace("set-000001/index.json", b"1")
    archive.replace("set-000001/index.json", b"2")
    assert archive.read("set-000001/index.json") == b"2"
