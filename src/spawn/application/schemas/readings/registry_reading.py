"""A reading of the registry: what was read of it, which is read again before an adoption.

A registry changes while it is read, so that contents of different moments could be judged together.
What was read is the state of one moment if it is read a second time and nothing differs: the list,
each content, and that a number has none. What could not be read counts as able to rename anything,
and is not requested again. An adoption ends a reading: the next begins at the adopted version, as
that of a later refresh would.
"""

import asyncio
from collections.abc import Iterable, Mapping
from typing import Final

from spawn.domain.errors import NotFound, RegistryError
from spawn.domain.schemas.document_parser import InvalidSchemaDocument
from spawn.ports.schemas import FetchedSchema, SchemaRegistry

SECONDARY_BUDGET_S: Final = 3.0
"""Time that one refresh spends on requests for rejected versions that fail."""

RegistryContent = FetchedSchema | InvalidSchemaDocument | NotFound | RegistryError
"""What the registry has under a number, or why that is not known."""

_NO_CONTENT: Final = ""
_OVER_BUDGET: Final = "requests for other rejected versions took the time of the refresh"


class RegistryChanged(Exception):
    """The registry has another list or content now than the one that was read."""


class RegistryReading:
    """The list and contents of one schema that a refresh has read since the active version."""

    def __init__(self, registry: SchemaRegistry, schema_id: str, kind: str) -> None:
        self._registry, self._schema_id, self._kind = registry, schema_id, kind
        self._failed_s = 0.0
        self._numbers: tuple[int, ...] | None = None
        self.begin({})

    def begin(self, fingerprints: Mapping[int, str]) -> None:
        """Begin a reading, or go on with the fingerprints of an earlier one."""
        self._fingerprints: dict[int | None, str] = {
            number: fingerprint for number, fingerprint in fingerprints.items() if number >= 0
        }
        self._secondary_numbers: set[int | None] = {*self._fingerprints}

    def begin_after(self, number: int, fingerprint: str) -> None:
        """Begin a reading at a version that was adopted."""
        self.begin({number: fingerprint})

    async def read_list(self) -> tuple[int, ...] | None:
        """Return the numbers of the published versions; see `SchemaRegistry.list_versions`."""
        self._numbers = await self._registry.list_versions(self._schema_id)
        return self._numbers

    async def read(self, number: int | None, *, is_secondary: bool = False) -> RegistryContent:
        """Return what the registry has under a number, or without one as the latest version.

        Raises:
            RegistryChanged: it was read before with another content.
        """
        content = await self._request(number, is_secondary=is_secondary)
        fingerprint = find_content_fingerprint(content)
        if fingerprint is not None:
            if self._fingerprints.setdefault(number, fingerprint) != fingerprint:
                raise RegistryChanged
            if is_secondary:
                self._secondary_numbers.add(number)
        return content

    def assume_absent(self, numbers: Iterable[int]) -> None:
        """Rest on what an earlier refresh has read: the registry has none of these numbers."""
        for number in numbers:
            self._fingerprints.setdefault(number, _NO_CONTENT)

    async def confirm_list(self) -> None:
        """Read the list again.

        Raises:
            RegistryChanged: it is another one now.
            RegistryError: the registry failed or did not respond.
        """
        if await self._registry.list_versions(self._schema_id) != self._numbers:
            raise RegistryChanged

    async def confirm(self) -> None:
        """Read again all that was read, the last first.

        In the same order two servers of the registry that take turns, one with earlier contents,
        would each be asked twice for the same.

        Raises:
            RegistryChanged: the registry has another state now.
            RegistryError: the registry failed or did not respond.
        """
        for number, fingerprint in reversed(self._fingerprints.items()):
            is_secondary = number in self._secondary_numbers
            content = await self._request(number, is_secondary=is_secondary)
            if find_content_fingerprint(content) == fingerprint:
                continue
            if isinstance(content, NotFound | FetchedSchema | InvalidSchemaDocument):
                raise RegistryChanged
            raise content
        await self.confirm_list()

    async def _request(self, number: int | None, *, is_secondary: bool) -> RegistryContent:
        if is_secondary and self._failed_s >= SECONDARY_BUDGET_S:
            return RegistryError(_OVER_BUDGET)
        now = asyncio.get_running_loop().time
        began_at = now()
        try:
            return await self._registry.refresh(
                self._schema_id, number, kind=self._kind, is_secondary=is_secondary
            )
        except (NotFound, InvalidSchemaDocument) as content:
            return content
        except RegistryError as error:
            self._failed_s += now() - began_at if is_secondary else 0.0
            return error


def find_content_fingerprint(content: RegistryContent) -> str | None:
    """Return the fingerprint of a content, empty if there is none; None if that is not known."""
    if isinstance(content, NotFound):
        return _NO_CONTENT
    if isinstance(content, FetchedSchema):
        return content.schema.fingerprint
    if isinstance(content, InvalidSchemaDocument) and content.is_version:
        return content.fingerprint
    return None
