"""Commands `spawn keys`: create, list, rotate and revoke the keys of API clients."""

import sys
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec

from spawn.entrypoints.cli.backend import open_backend
from spawn.entrypoints.http.access.wire import (
    ApiClientRequestView,
    ApiClientView,
    IssuedKeyView,
    KeyRequestView,
)
from spawn.entrypoints.settings import Settings

_HEADER: Final = ("client", "key", "state", "expires", "last used", "scopes", "rows")


class KeyOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Options of `spawn keys`; without a number `revoke` ends every key of the client."""

    action: str
    client: str = ""
    scopes: tuple[str, ...] = ()
    rows: tuple[tuple[str, tuple[str, ...]], ...] = ()
    days: int = 365
    number: int | None = None
    as_json: bool = False


async def run_key_command(settings: Settings, options: KeyOptions) -> None:
    """Run one command and print its result; a new key goes to standard output, alone."""
    expires_at = datetime.now(UTC) + timedelta(days=options.days)
    async with open_backend(settings, create=options.action == "create") as backend:
        if options.action == "list":
            document = await backend.list_api_clients()
            if options.as_json:
                sys.stdout.write(document.decode() + "\n")
                return
            clients = msgspec.json.decode(document, type=list[ApiClientView])
            sys.stdout.write("\n".join(_format_table(_list_rows(clients))) + "\n")
        elif options.action == "create":
            request = ApiClientRequestView(
                name=options.client,
                scopes=options.scopes,  # type: ignore[arg-type]  # texts, which the service checks
                expires_at=expires_at,
                row_scope=dict(options.rows) or None,
            )
            new_key = await backend.create_api_client(msgspec.json.encode(request))
            _print_key(new_key, as_json=options.as_json)
        elif options.action == "rotate":
            document = msgspec.json.encode(KeyRequestView(expires_at=expires_at))
            new_key = await backend.rotate_api_key(options.client, document)
            _print_key(new_key, as_json=options.as_json)
        else:
            await backend.revoke_api_key(options.client, options.number)
            _print_revocation(options)


def _print_key(document: bytes, *, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(document.decode() + "\n")
        return
    new_key = msgspec.json.decode(document, type=IssuedKeyView)
    sys.stderr.write(
        f"key {new_key.number} of {new_key.client.name}, shown only now; send it as"
        " Authorization: Bearer\n"
    )
    sys.stdout.write(new_key.key + "\n")


def _print_revocation(options: KeyOptions) -> None:
    if options.as_json:
        revoked = {"client": options.client, "number": options.number}
        sys.stdout.write(msgspec.json.encode(revoked).decode() + "\n")
        return
    what = "every key" if options.number is None else f"key {options.number}"
    sys.stderr.write(f"{what} of {options.client} is revoked\n")


def _list_rows(clients: Iterable[ApiClientView]) -> Iterable[tuple[str, ...]]:
    for client in clients:
        for key in client.keys:
            yield (
                client.name,
                str(key.number),
                "live" if key.is_live else "revoked" if key.revoked_at else "expired",
                "never" if key.expires_at is None else key.expires_at.date().isoformat(),
                "never" if key.last_used_on is None else key.last_used_on.isoformat(),
                ",".join(client.scopes),
                _format_rows(client.row_scope or {}),
            )


def _format_rows(row_scope: Mapping[str, Iterable[str]]) -> str:
    return " ".join(f"{name}={','.join(values)}" for name, values in row_scope.items()) or "all"


def _format_table(rows: Iterable[tuple[str, ...]]) -> Iterable[str]:
    lines = [_HEADER, *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        yield "  ".join(
            text.ljust(width) for text, width in zip(line, widths, strict=True)
        ).rstrip()
