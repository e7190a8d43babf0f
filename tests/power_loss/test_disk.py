"""The disk of the replay loses exactly what no sync has made durable."""

import random

from tests.power_loss.disk import Disk, Image
from tests.power_loss.system_calls import SystemCall

FOLDER = "/store"


def call(
    name: str, *arguments: object, texts: tuple[bytes, ...] = (), result: int = 0
) -> SystemCall:
    return SystemCall(name, [str(a) for a in arguments], list(texts), result)


def open_file(disk: Disk, name: str, descriptor: int) -> None:
    path = f"{FOLDER}/{name}".encode()
    disk.apply(
        call("openat", "AT_FDCWD", "TEXT", "O_RDWR|O_CREAT", texts=(path,), result=descriptor)
    )


def write(disk: Disk, descriptor: int, offset: int, data: bytes) -> None:
    disk.apply(
        call("pwrite64", descriptor, "TEXT", len(data), offset, texts=(data,), result=len(data))
    )


def sync_folder(disk: Disk) -> None:
    opened = call("openat", "AT_FDCWD", "TEXT", "O_DIRECTORY", texts=(b"/store",), result=9)
    disk.apply(opened)
    disk.apply(call("fsync", 9))


def a_disk_with_a_durable_file() -> Disk:
    disk = Disk(FOLDER)
    open_file(disk, "a", 3)
    write(disk, 3, 0, b"old")
    disk.apply(call("fsync", 3))
    sync_folder(disk)
    return disk


def images(disk: Disk, shuffles: int = 40) -> list[Image]:
    return list(disk.list_images(random.Random(1), shuffles))


def test_what_is_synced_is_in_every_image() -> None:
    assert {image["a"] for image in images(a_disk_with_a_durable_file())} == {b"old"}


def test_an_unsynced_write_is_in_some_images_only() -> None:
    disk = a_disk_with_a_durable_file()
    write(disk, 3, 0, b"new")
    assert {image["a"] for image in images(disk)} == {b"old", b"new"}


def test_unsynced_pages_are_reordered() -> None:
    disk = a_disk_with_a_durable_file()
    write(disk, 3, 4096, b"x" * 8192)
    contents = {image["a"] for image in images(disk)}
    assert b"old".ljust(8192, b"\0") + b"x" * 4096 in contents
    assert b"old".ljust(4096, b"\0") + b"x" * 4096 in contents


def test_the_last_write_is_torn_at_sectors() -> None:
    disk = a_disk_with_a_durable_file()
    write(disk, 3, 0, b"y" * 2048)
    sizes = {
        len(image["a"]) for seed in range(40) for image in disk.list_images(random.Random(seed), 0)
    }
    assert {512, 1024, 1536} <= sizes


def test_a_new_name_is_durable_with_its_folder() -> None:
    disk = a_disk_with_a_durable_file()
    open_file(disk, "b", 4)
    write(disk, 4, 0, b"b")
    disk.apply(call("fsync", 4))
    assert {image.get("b") for image in images(disk)} == {None, b"b"}
    sync_folder(disk)
    assert {image.get("b") for image in images(disk)} == {b"b"}


def test_a_removed_file_may_be_back() -> None:
    disk = a_disk_with_a_durable_file()
    disk.apply(call("unlink", "TEXT", texts=(b"/store/a",)))
    assert {image.get("a") for image in images(disk)} == {None, b"old"}


def test_after_a_failed_sync_a_later_one_does_not_help() -> None:
    disk = a_disk_with_a_durable_file()
    write(disk, 3, 0, b"new")
    disk.apply(call("fsync", 3, result=-1))
    disk.apply(call("fsync", 3))
    assert {image["a"] for image in images(disk)} == {b"old"}


def test_a_truncation_stands_before_later_writes() -> None:
    disk = a_disk_with_a_durable_file()
    disk.apply(call("ftruncate", 3, 0))
    write(disk, 3, 0, b"n")
    assert {image["a"] for image in images(disk)} == {b"old", b"", b"n"}
