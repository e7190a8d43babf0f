"""Walk the versions that the registry publishes, in order, and adopt each that may be adopted.

Every version counts: one that renames a column says what became of its values, so it is adopted
before the next is judged, however many were published between two refreshes. A bad version is
skipped with its reason, and the next is judged against the last adopted one. A version that cannot
be fetched now ends the walk, since what comes after it cannot be judged without it.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import msgspec

from spawn.application.dependencies import Dependencies
from spawn.application.schemas.activation import (
    RefreshResult,
    RefreshVerdict,
    SchemaPolicy,
    VersionOutcome,
    WalkMark,
    assign_version,
    build_record,
    has_data,
)
from spawn.application.schemas.adoption import (
    Adoption,
    quarantine_invalid_document,
    withdraw_unpublished,
)
from spawn.domain.errors import NotFound, RegistryError, SpawnError
from spawn.domain.principal import SERVICE_PRINCIPAL
from spawn.domain.schema_version import Schema
from spawn.domain.schemas.document_parser import InvalidSchemaDocument, compute_fingerprint
from spawn.ports.schemas import FetchedSchema, SchemaState

REFRESH_INTERVAL_S: Final = 60.0
MAX_WALK: Final = 1_000
"""Versions that one refresh meets; the next goes on with the others."""

MAX_SENTENCES: Final = 20
"""Versions that the summary of one refresh describes."""

_SEVERITY: Final = (
    RefreshVerdict.UNCHANGED,
    RefreshVerdict.REJECTED,
    RefreshVerdict.QUARANTINED,
    RefreshVerdict.ADOPTED,
    RefreshVerdict.FAILED,
)


async def refresh_schema(
    dependencies: Dependencies,
    policy: SchemaPolicy,
    *,
    actor: str = SERVICE_PRINCIPAL.id,
    should_retry: bool = True,
    mark: WalkMark | None = None,
) -> RefreshResult:
    """Adopt or quarantine every version of the registry after the active one, up to the pin.

    With the `mark` of a refresh that met as many as it may, this one goes on behind it.

    `should_retry` tries a quarantined version again, since the data or the mode may have changed.
    An invalid document is quarantined, not raised.

    Raises:
        NotFound, RegistryError: the registry has no such schema, or its response is unusable.
    """
    return await _Walk(dependencies, policy, actor, should_retry=should_retry, mark=mark).run()


async def refresh_forever(
    dependencies: Dependencies,
    policy: SchemaPolicy,
    *,
    report: Callable[[RefreshResult], None],
    interval_s: float = REFRESH_INTERVAL_S,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> None:
    """Refresh at an interval until cancelled, and pass each result to `report`.

    The pauses vary by a quarter either way, so that replicas do not all refresh at once.
    """
    should_retry, mark = True, None
    while True:
        result = await _refresh_once(dependencies, policy, should_retry=should_retry, mark=mark)
        report(result)
        should_retry, mark = False, result.mark
        await sleep(interval_s * random.uniform(0.75, 1.25))  # noqa: S311  # spreads load


async def _refresh_once(
    dependencies: Dependencies,
    policy: SchemaPolicy,
    *,
    should_retry: bool,
    mark: WalkMark | None,
) -> RefreshResult:
    try:
        return await refresh_schema(dependencies, policy, should_retry=should_retry, mark=mark)
    except SpawnError as error:
        # The next round tries again, from the same place.
        return RefreshResult(RefreshVerdict.FAILED, error.detail, mark=mark)


class _Walk:
    """One refresh: the versions that it met, with the document of each."""

    def __init__(
        self,
        dependencies: Dependencies,
        policy: SchemaPolicy,
        actor: str,
        *,
        should_retry: bool,
        mark: WalkMark | None,
    ) -> None:
        self._mark = mark
        self._next_mark: WalkMark | None = None
        self._dependencies = dependencies
        self._policy = policy
        self._actor = actor
        self._should_retry = should_retry
        self._fingerprints: dict[int, str] = {}
        self._outcomes: list[VersionOutcome] = []
        self._results: list[RefreshResult] = []

    async def run(self) -> RefreshResult:
        """Walk the list, then take the latest version, which may have another content now."""
        registry, schema_id = self._dependencies.registry, self._policy.schema_id
        numbers = await registry.list_versions(schema_id)
        is_complete = await self._walk(await self._select(numbers or ()))
        pin = self._policy.pin
        if is_complete and pin is None:
            await self._consider_latest()
        elif is_complete and pin is not None and pin[1] not in self._fingerprints:
            await self._consider(await registry.fetch(*pin, kind=self._policy.kind))
        if is_complete and pin is None:
            await self._withdraw(numbers)
        return self._summarize()

    async def _select(self, numbers: Sequence[int]) -> list[int]:
        """Return the versions after the active one; the newest first in a store without data."""
        active = (await self._dependencies.active_schema(self._policy.kind)).schema.version
        pin = self._policy.pin
        if await has_data(self._dependencies, self._policy.kind):
            # Those before the mark are bad after the same active version; they come up again once
            # the walk has seen all, or a thousand of them would hide every later one for good.
            is_marked = self._mark is not None and self._mark.active_version == active
            first = self._mark.reached if is_marked and self._mark else active
            return [n for n in numbers if n > first and (pin is None or n <= pin[1])]
        # Nothing is to be migrated, so no version is needed but the one to be active.
        return [n for n in reversed(numbers) if (n > active if pin is None else n == pin[1])]

    async def _walk(self, numbers: Sequence[int]) -> bool:
        """Consider each version; return whether the rest of the registry may be considered too."""
        is_empty = not await has_data(self._dependencies, self._policy.kind)
        for number in numbers[:MAX_WALK]:
            result = await self._consider_number(number)
            self._outcomes.append(
                VersionOutcome(version=number, verdict=result.verdict, detail=result.detail)
            )
            if result.verdict is RefreshVerdict.FAILED:
                self._next_mark = self._mark
                return False
            if is_empty and result.verdict is RefreshVerdict.ADOPTED:
                break
        if len(numbers) <= MAX_WALK:
            return True
        if not is_empty:
            active = await self._dependencies.active_schema(self._policy.kind)
            self._next_mark = WalkMark(active.schema.version, numbers[MAX_WALK - 1])
        return False

    async def _consider_number(self, number: int) -> RefreshResult:
        try:
            fetched_schema = await self._dependencies.registry.refresh(
                self._policy.schema_id, number, kind=self._policy.kind
            )
        except InvalidSchemaDocument as invalid:
            return await self._quarantine(invalid, number)
        except NotFound:
            detail = f"version {number} is listed, but not published"
            return self._note(RefreshResult(RefreshVerdict.QUARANTINED, detail))
        except RegistryError as error:
            if error.is_transient:
                detail = f"version {number} was not fetched: {error.detail}"
                return self._note(RefreshResult(RefreshVerdict.FAILED, detail))
            detail = f"version {number} is unusable: {error.detail}"
            return self._note(RefreshResult(RefreshVerdict.QUARANTINED, detail))
        return await self._consider(fetched_schema, number)

    async def _consider_latest(self) -> None:
        """Consider the latest version, unless the walk has met it with the same content.

        Raises:
            NotFound, RegistryError: the registry has none, or its response is unusable.
        """
        try:
            fetched_schema = await self._dependencies.registry.refresh(
                self._policy.schema_id, kind=self._policy.kind
            )
        except InvalidSchemaDocument as invalid:
            if _find_fingerprint(invalid.document) not in self._fingerprints.values():
                await self._quarantine(invalid, None)
            return
        if fetched_schema.schema.fingerprint not in self._fingerprints.values():
            await self._consider(fetched_schema)

    async def _consider(
        self, fetched_schema: FetchedSchema, number: int | None = None
    ) -> RefreshResult:
        """Adopt or quarantine a version; one without a number of its own gets the next."""
        dependencies, schema = self._dependencies, fetched_schema.schema
        if number is None:
            records = await dependencies.schemas.records(self._policy.kind)
            schema = assign_version(fetched_schema, records, self._policy.kind)
        self._fingerprints[schema.version] = schema.fingerprint
        candidate = build_record(dependencies, schema, fetched_schema, SchemaState.CANDIDATE)
        adoption = Adoption(dependencies, self._policy, candidate, self._actor)
        return self._note(await adoption.adopt_or_quarantine(should_retry=self._should_retry))

    async def _quarantine(
        self, invalid: InvalidSchemaDocument, number: int | None
    ) -> RefreshResult:
        """Quarantine an invalid document; one that is no JSON has no fingerprint to record."""
        fingerprint = _find_fingerprint(invalid.document)
        if fingerprint is None and number is None:
            raise invalid
        if fingerprint is None:
            detail = f"version {number} is unusable: {invalid.detail}"
            return self._note(RefreshResult(RefreshVerdict.QUARANTINED, detail))
        result = await quarantine_invalid_document(
            self._dependencies, self._policy, invalid, self._actor, number
        )
        self._fingerprints[-1 - len(self._fingerprints) if number is None else number] = fingerprint
        return self._note(result)

    def _note(self, result: RefreshResult) -> RefreshResult:
        self._results.append(result)
        return result

    async def _withdraw(self, numbers: Sequence[int] | None) -> None:
        """Record which versions the registry publishes no more, so that health forgets them."""
        all_numbers = frozenset(numbers or ())
        fingerprints = frozenset(self._fingerprints.values())

        def is_published(schema: Schema) -> bool:
            if schema.fingerprint in fingerprints:
                return True
            return schema.version in all_numbers and schema.version not in self._fingerprints

        await withdraw_unpublished(self._dependencies, self._policy, is_published)

    def _summarize(self) -> RefreshResult:
        """Return one result: the gravest, with the sentences of all that changed something."""
        if not self._results:
            return RefreshResult(RefreshVerdict.UNCHANGED, "the registry publishes nothing newer")
        gravest = max(reversed(self._results), key=lambda result: _SEVERITY.index(result.verdict))
        news = [r.detail for r in self._results if r.verdict is not RefreshVerdict.UNCHANGED]
        return msgspec.structs.replace(
            gravest,
            detail=_join_sentences(news) or gravest.detail,
            outcomes=tuple(self._outcomes),
            mark=self._next_mark,
        )


def _join_sentences(news: Sequence[str]) -> str:
    """Return sentences as one text; of many only the last ones, the newest versions.

    A list of a thousand versions that cannot be had would be as many sentences in one line of log.
    """
    sentences = list(dict.fromkeys(news))
    omitted = len(sentences) - MAX_SENTENCES
    if omitted > 0:
        sentences = [f"{omitted} other versions: see outcomes", *sentences[-MAX_SENTENCES:]]
    return "; ".join(sentences)


def _find_fingerprint(document: bytes) -> str | None:
    """Return the fingerprint of a document; None if it is no JSON."""
    try:
        return compute_fingerprint(document)
    except SpawnError:
        return None
