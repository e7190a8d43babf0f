"""Files beside an encrypted store: uploads, audit log, schema cache and copies of exports."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.adapters.local.test_audit_log import details, entry
from tests.adapters.storage.encryption_keys import KEY, OTHER_KEY
from tests.adapters.test_file_copies import read, write
from tests.adapters.workers.test_subprocess_workers import a_case, write_case

from spawn.adapters.encryption.sealed_files import CHUNK_BYTES, FileSealer, SealedFile
from spawn.adapters.local.audit_log import FileAuditLog
from spawn.adapters.local.file_copies import FileCopies
from spawn.adapters.local.spool import DirectorySpool
from spawn.adapters.ontology.bundled import BundledRegistry
from spawn.adapters.ontology.disk_cache import DiskCache
from spawn.adapters.workers.subprocess_workers import SubprocessWorkers
from spawn.domain.errors import StorageDamaged
from spawn.domain.imports.cells.sheet_cell import SheetRow

CANARY = b"CANARYofAWindFarm"


async def pieces(content: bytes, size: int) -> AsyncIterator[bytes]:
    for start in range(0, len(content), size):
        yield content[start : start + size]


def find_file(folder: Path) -> Path:
    """Return the only file of a folder."""
    (file,) = folder.iterdir()
    return file


def seal_file(path: Path) -> SealedFile:
    """Encrypt a file, and remove the plain one."""
    sealer = FileSealer(KEY, b"upload x")
    sealed = path.with_name("sealed")
    sealed.write_bytes(sealer.seal(path.read_bytes()) + sealer.finish())
    path.unlink()
    return SealedFile(sealed, KEY, b"upload x")


async def test_an_upload_is_encrypted_and_survives_a_restart(tmp_path: Path) -> None:
    content = (CANARY + b"\n") * 20_000
    spool = DirectorySpool(tmp_path, reserve_bytes=0, encryption_key=KEY)
    assert await spool.receive("a", pieces(content, 50_000)) == len(content)
    stored = find_file(tmp_path)
    assert CANARY not in stored.read_bytes()
    assert stored.stat().st_size > CHUNK_BYTES
    spool = DirectorySpool(tmp_path, reserve_bytes=0, encryption_key=KEY)
    with spool.find("a").open("rb") as file:
        assert file.read() == content
    stored.rename(tmp_path / "b")
    with spool.find("b").open("rb") as file, pytest.raises(StorageDamaged):
        file.read()


async def test_lines_of_the_audit_log_are_encrypted(tmp_path: Path) -> None:
    log = FileAuditLog(tmp_path, encryption_key=KEY)
    for number in range(3):
        log.append(entry(number, detail=f"{CANARY.decode()} {number}"))
    await log.close()
    file = find_file(tmp_path)
    assert CANARY not in file.read_bytes()
    lines = file.read_bytes().splitlines()
    assert len(lines) == 3
    again = FileAuditLog(tmp_path, encryption_key=KEY)
    assert await details(again) == [f"{CANARY.decode()} {number}" for number in (2, 1, 0)]
    changed = lines[1][:-9] + (b"A" if lines[1][-9:-8] != b"A" else b"B") + lines[1][-8:]
    plain = b'{"time":"2026-03-01T12:00:00Z","kind":"administration","actor":"x"}'
    file.write_bytes(b"\n".join([lines[0], changed, plain, lines[2][:50], lines[2]]) + b"\n")
    assert [text[-1] for text in await details(again)] == ["2", "0"]
    assert await details(FileAuditLog(tmp_path, encryption_key=OTHER_KEY)) == []


async def test_the_cache_of_schemas_is_encrypted(tmp_path: Path) -> None:
    fetched = await BundledRegistry().fetch("project_schema")
    cache, now = DiskCache(tmp_path, KEY), datetime(2026, 3, 1, tzinfo=UTC)
    cache.save("s", fetched.document, now)
    file = find_file(tmp_path)
    assert b"project_schema" not in file.read_bytes()
    stored = cache.load("s")
    assert stored is not None
    assert stored.document == fetched.document
    assert DiskCache(tmp_path, OTHER_KEY).load("s") is None
    DiskCache(tmp_path).save("s", fetched.document, now)
    assert cache.load("s") is None


async def test_a_copy_of_an_export_is_encrypted_and_read_in_ranges(tmp_path: Path) -> None:
    copies, content = FileCopies(tmp_path, is_encrypted=True), CANARY * 40_000
    copy = await write(copies, "a", "1", body=content)
    copy._file.seek(0)
    assert CANARY not in copy._file.read()
    assert await read(copy) == content
    part = b"".join([chunk async for chunk in copy.read(300_001, 300_040)])
    assert part == content[300_001:300_040]
    assert (await write(copies, "a", "1", body=content)).etag == copy.etag
    await copies.close()


def test_a_simulation_reads_its_encrypted_case(tmp_path: Path) -> None:
    file = seal_file(write_case(tmp_path, a_case(scenarios=100)))
    worker = SubprocessWorkers(threads=1).start_simulation(file)
    try:
        while (progress := worker.read_progress()).result is None:
            pass
    finally:
        worker.close()
    assert progress.valued_paths == 100


def test_an_encrypted_workbook_is_read(tmp_path: Path) -> None:
    xlsxwriter = pytest.importorskip("xlsxwriter")
    path = tmp_path / "a.xlsx"
    with xlsxwriter.Workbook(path) as book:
        book.add_worksheet("projects").write(0, 0, CANARY.decode())
    reader = SubprocessWorkers().open_workbook(seal_file(path), None)
    try:
        assert reader.read_rows() == [SheetRow(1, [CANARY.decode()])]
        assert reader.sheets == ("projects",)
    finally:
        reader.close()
