"""Secrets of webhooks: their file, its bounds, and rotation while the service runs."""

import asyncio
import os
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest

from spawn.adapters.publishers.webhook import signing
from spawn.adapters.publishers.webhook.signing import Signer, parse_secrets, sign
from spawn.domain.errors import InvalidInput, Unavailable


def secret(key: bytes) -> str:
    return "whsec_" + b64encode(key).decode()


OLD_KEY, NEW_KEY = b"o" * 32, b"n" * 32


class Clock:
    """Replacement of the monotonic clock of the module."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.time_s = 100.0
        monkeypatch.setattr(signing, "monotonic", lambda: self.time_s)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def signatures(signer: Signer) -> str:
    return signer.headers("id", 1, b"body")["webhook-signature"]


def expected(*keys: bytes) -> str:
    return " ".join(sign(key, b"id.1.body") for key in keys)


def code_and_detail(text: str, receiver: str = "desk") -> tuple[str, str]:
    with pytest.raises(InvalidInput) as invalid:
        parse_secrets(text, receiver)
    (error,) = invalid.value.errors
    return error.code, error.detail


async def test_a_rotated_secret_of_the_same_length_is_used_within_a_second(
    tmp_path: Path, clock: Clock
) -> None:
    path = tmp_path / "secrets"
    path.write_text(secret(OLD_KEY))
    signer = Signer(path, "desk")
    assert signatures(signer) == expected(OLD_KEY)
    path.write_text(secret(NEW_KEY))
    os.utime(path, ns=(1, path.stat().st_mtime_ns + 1))
    clock.time_s += 1.0
    await signer.refresh()
    assert signatures(signer) == expected(OLD_KEY)
    clock.time_s += 0.1
    await signer.refresh()
    assert signatures(signer) == expected(NEW_KEY)


async def test_a_change_of_length_at_the_same_time_is_noticed_too(
    tmp_path: Path, clock: Clock
) -> None:
    path = tmp_path / "secrets"
    path.write_text(secret(OLD_KEY))
    modified_ns = path.stat().st_mtime_ns
    signer = Signer(path, "desk")
    path.write_text(f"{secret(OLD_KEY)}\n{secret(NEW_KEY)}\n")
    os.utime(path, ns=(modified_ns, modified_ns))
    clock.time_s += 2.0
    await signer.refresh()
    assert signatures(signer) == expected(OLD_KEY, NEW_KEY)


async def test_an_unusable_file_is_reported_and_the_next_usable_one_is_used(
    tmp_path: Path, clock: Clock
) -> None:
    path = tmp_path / "secrets"
    path.write_text(secret(OLD_KEY))
    signer = Signer(path, "desk")
    path.write_text("nonsense of another length")
    clock.time_s += 2.0
    with pytest.raises(Unavailable, match="Line 1 of the secrets file"):
        await signer.refresh()
    path.write_text(secret(NEW_KEY))
    os.utime(path, ns=(5, 5))
    await signer.refresh()
    assert signatures(signer) == expected(NEW_KEY)


async def test_all_receivers_share_one_check_of_the_file(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two hundred receivers had it checked two hundred times a second, each on a thread."""
    path = tmp_path / "secrets"
    path.write_text(f"desk {secret(OLD_KEY)}\nbooks {secret(OLD_KEY)}\n")
    desk, books = Signer(path, "desk"), Signer(path, "books")
    checks: list[Path] = []
    stat = Path.stat

    def count_checks(checked: Path, **options: Any) -> os.stat_result:
        checks.append(checked)
        return stat(checked, **options)

    path.write_text(f"desk {secret(NEW_KEY)}\nbooks {secret(OLD_KEY)}\n")
    os.utime(path, ns=(1, 1))
    clock.time_s += 2.0
    monkeypatch.setattr(Path, "stat", count_checks)
    await asyncio.gather(*(signer.refresh() for signer in [desk, books] * 4))
    assert checks == [path]
    await desk.refresh()
    assert signatures(desk) == expected(NEW_KEY)
    assert signatures(books) == expected(OLD_KEY)


async def test_a_file_that_cannot_be_read_stops_every_receiver(
    tmp_path: Path, clock: Clock
) -> None:
    path = tmp_path / "secrets"
    path.write_text(secret(OLD_KEY))
    signers = Signer(path, "desk"), Signer(path, "books")
    path.unlink()
    clock.time_s += 2.0
    for signer in signers:
        with pytest.raises(Unavailable, match="The secrets file secrets cannot be read"):
            await signer.refresh()
    path.write_text(secret(NEW_KEY))
    for signer in signers:
        await signer.refresh()
        assert signatures(signer) == expected(NEW_KEY)


@pytest.mark.parametrize("length", [24, 64])
def test_keys_of_24_to_64_bytes_are_accepted(length: int) -> None:
    assert parse_secrets(secret(b"k" * length), "desk") == (b"k" * length,)


@pytest.mark.parametrize(
    "line",
    [
        secret(b"k" * 23),
        secret(b"k" * 65),
        b64encode(OLD_KEY).decode(),
        "whsec_" + "!" + b64encode(OLD_KEY).decode(),
        "whsec_" + b64encode(OLD_KEY).decode().rstrip("="),
        "whsec_",
    ],
)
def test_any_other_secret_is_rejected_by_its_line_and_never_quoted(line: str) -> None:
    code, detail = code_and_detail(f"# comment\n{line}")
    assert code == "secrets_unusable"
    assert detail.startswith("Line 2 of the secrets file")
    assert line.removeprefix("whsec_")[:10] not in detail or line == "whsec_"


def test_a_receiver_has_one_or_two_secrets_of_its_own_or_of_all() -> None:
    lines = [secret(OLD_KEY), f"desk {secret(NEW_KEY)}", f"other {secret(b'x' * 32)}"]
    assert parse_secrets("\n".join(lines), "desk") == (OLD_KEY, NEW_KEY)
    lines.append(secret(b"y" * 32))
    assert code_and_detail("\n".join(lines))[1].endswith("more than 2 secrets for desk.")
    assert code_and_detail(lines[2])[1].endswith("no secret for desk.")


def test_a_file_is_read_up_to_one_mebibyte(tmp_path: Path) -> None:
    path = tmp_path / "secrets"
    padding = ("#" * 1023 + "\n") * 1023
    path.write_text(f"{padding}{secret(OLD_KEY)}\n")
    assert signatures(Signer(path, "desk")) == expected(OLD_KEY)
    path.write_text(f"{padding}{'#' * 1023}\n{secret(OLD_KEY)}\n")
    with pytest.raises(InvalidInput) as invalid:
        Signer(path, "desk")
    assert invalid.value.errors[0].detail == "The secrets file has no secret for desk."
