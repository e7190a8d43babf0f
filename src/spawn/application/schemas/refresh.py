"""Walk the versions that the registry publishes, in order, and adopt each that may be adopted.

Every version counts: one that renames a column says what became of its values, so it is adopted
before the next is judged, however many were published between two refreshes. A bad version is
skipped with its reason, and the next is judged against the last adopted one. A listed version that
is not read as a document ends the walk, by any status of the response: what comes after it cannot
be judged without it. No version is taken that the list does not name, and a number that it lacks
between two others is read once, since the list may be a page of a longer one; where there is no
list, each number up to the latest version is read. Before any of it, the document of the active
number is compared with the active version: another content under its number is a version too.

Each adoption rests on one reading of the registry: all that was read since the active version is
read again before it. If anything differs, the refresh begins anew.
"""

import asyncio
import random
from bisect import bisect_left
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import msgspec

from spawn.application.dependencies import Dependencies
from spawn.application.schemas.activation import (
    RefreshResult,
    RefreshVerdict,
    SchemaPolicy,
    VersionOutcome,
    assign_version,
    build_record,
    find_record,
    has_data,
)
from spawn.application.schemas.adoptions.version_adoption import (
    Adoption,
    quarantine_invalid_document,
    withdraw_unpublished,
)
from spawn.application.schemas.readings.registry_reading import (
    RegistryChanged,
    RegistryContent,
    RegistryReading,
    find_content_fingerprint,
)
from spawn.application.schemas.unread_versions import (
    find_rejected_numbers,
    find_unread_rejections,
    record_content,
    record_gap,
    record_rejected,
    record_unlisted,
    record_unlisted_gap,
    record_unread,
)
from spawn.domain.errors import NotFound, RegistryError, SpawnError
from spawn.domain.principal import SERVICE_PRINCIPAL
from spawn.domain.schema_version import MAX_VERSION, Schema
from spawn.domain.schemas.document_parser import (
    InvalidSchemaDocument,
    find_stated_version,
    read_schema,
    restore_schema,
)
from spawn.domain.schemas.refresh_state import WalkMark
from spawn.ports.schemas import FetchedSchema, Provenance, SchemaRecord, SchemaState

REFRESH_INTERVAL_S: Final = 60.0
MAX_WALK: Final = 1_000
"""Versions that one refresh meets; the next goes on with the others."""

MAX_UNUSED: Final = 10
"""Numbers in a row that the list lacks and the registry has not, after which a gap is one."""

MAX_GAP_READS: Final = 1_000
"""Numbers missing in the list that one refresh reads; the next goes on with the others."""

MAX_READINGS: Final = 3
"""Times that one refresh reads the registry, if it changes meanwhile."""

CHANGED: Final = "the registry changes while it is read: a later refresh reads it again"

MAX_NAMED_GAP: Final = 10
"""Numbers left out of the list between two versions that the result of a refresh names."""

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
    is_continued: bool = False,
) -> RefreshResult:
    """Adopt or quarantine every version of the registry after the active one, up to the pin.

    One that `is_continued` goes on behind the mark of an earlier one that met as many as it may.

    `should_retry` decides every quarantined version again; without it, those of which anything has
    changed that the decision depends on. An invalid document is quarantined, not raised.

    Raises:
        NotFound, RegistryError: the registry has no such schema, or its response is unusable.
    """
    state = dependencies.refresh_states.of_kind(policy.kind)
    async with dependencies.refresh_locks[policy.kind]:
        reading = RegistryReading(dependencies.registry, policy.schema_id, policy.kind)
        news: list[RefreshResult] = []
        for _ in range(MAX_READINGS):
            walk = _Walk(
                dependencies,
                policy,
                actor,
                reading,
                should_retry=should_retry,
                is_continued=is_continued,
            )
            try:
                result = await walk.run()
            except RegistryChanged:
                news.append(walk.summarize())
                state.mark = None
                state.unused_numbers.clear()
                reading.begin({})
            else:
                state.problem = ""
                return _join_results([*news, result])
        state.problem = CHANGED
    return _join_results([*news, RefreshResult(RefreshVerdict.FAILED, CHANGED)])


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
    while True:
        report(await _refresh_once(dependencies, policy))
        await sleep(interval_s * random.uniform(0.75, 1.25))  # noqa: S311  # spreads load


async def _refresh_once(dependencies: Dependencies, policy: SchemaPolicy) -> RefreshResult:
    """Refresh from where the refresh before ended; the next round tries again after an error.

    Health reports an error that nobody expects; the task of the loop begins again after it.
    """
    state = dependencies.refresh_states.of_kind(policy.kind)
    try:
        result = await refresh_schema(dependencies, policy, should_retry=False, is_continued=True)
    except SpawnError as error:
        state.problem = ""
        result = RefreshResult(RefreshVerdict.FAILED, error.detail)
    except Exception as error:
        state.problem = f"the refresh ended with an unexpected error: {type(error).__name__}"
        raise
    return result


class _Walk:
    """One refresh: the versions that it met, with the document of each."""

    def __init__(
        self,
        dependencies: Dependencies,
        policy: SchemaPolicy,
        actor: str,
        reading: RegistryReading,
        *,
        should_retry: bool,
        is_continued: bool,
    ) -> None:
        self._reading = reading
        self._state = dependencies.refresh_states.of_kind(policy.kind)
        self._is_continued = is_continued
        self._mark = self._state.mark if is_continued else None
        self._gap_reads = 0
        self._next_mark: WalkMark | None = None
        self._dependencies = dependencies
        self._policy = policy
        self._actor = actor
        self._should_retry = should_retry
        self._fingerprints: dict[int, str] = {}
        self._numbers: tuple[int, ...] | None = None
        self._unread: int | None = None
        self._missing_number: int | None = None
        self._compared_number: int | None = None
        self._error: NotFound | RegistryError | None = None
        self._unread_reason = ""
        self._outcomes: list[VersionOutcome] = []
        self._results: list[RefreshResult] = []

    async def run(self) -> RefreshResult:
        """Walk the list, then take the latest version, which may have another content now."""
        latest: FetchedSchema | None = None
        await self._go_on()
        self._numbers = await self._reading.read_list()
        self._state.note_list(self._numbers)
        if await self._walk(await self._select(self._numbers or ())):
            latest = await self._find_waiting()
        if latest is not None:
            if self._numbers is not None:
                # It was published since, with others before it perhaps.
                await self._reading.confirm_list()
            record = self._build_candidate(latest)
            self._note(await self._record_waiting(record))
            self._fingerprints[latest.schema.version] = latest.schema.fingerprint
        await self._check_publication()
        if self._is_continued:
            self._state.mark = self._next_mark
        # Without a list, the walk may have met nothing.
        is_met = self._policy.pin is None and self._error is None
        is_walked = is_met or self._numbers is not None
        if is_walked and self._next_mark is None:
            await self._withdraw()
        if self._error is not None:
            raise self._error
        return self.summarize()

    async def _find_waiting(self) -> FetchedSchema | None:
        """Consider the latest or pinned version; return it if it waits for those before it.

        One that cannot be had is an error once the rest is done.
        """
        try:
            return await (self._consider_latest() if self._policy.pin is None else self._take())
        except (NotFound, RegistryError) as error:
            self._error = error
            return None

    async def _go_on(self) -> None:
        """Go on behind the mark, unless another version is active now."""
        active = (await self._dependencies.active_schema(self._policy.kind)).schema.version
        if self._mark is None or self._mark.active_version != active:
            self._mark = None
            return
        fingerprints = self._mark.fingerprints
        self._fingerprints = {n: known for n, known in fingerprints.items() if n != active}
        self._reading.begin(self._fingerprints)
        reached = range(active + 1, self._mark.reached + 1)
        self._reading.assume_absent(n for n in self._state.unused_numbers if n in reached)

    async def _record_waiting(self, record: SchemaRecord) -> RefreshResult:
        """Record that the latest or pinned version waits for those before it."""
        if self._numbers is None:
            return await record_unlisted_gap(
                self._dependencies, record, self._unread_reason, self._actor
            )
        return await record_unlisted(self._dependencies, record, self._numbers, self._actor)

    async def _select(self, numbers: Sequence[int]) -> list[int]:
        """Return the versions after the active one; the newest first in a store without data."""
        active = (await self._dependencies.active_schema(self._policy.kind)).schema.version
        pin = self._policy.pin
        numbers = [number for number in numbers if number not in self._fingerprints]
        if await has_data(self._dependencies, self._policy.kind):
            # Those before the mark are bad after the same active version; they come up again once
            # the walk has seen all, or a thousand of them would hide every later one for good.
            first = self._find_reached(active)
            return [n for n in numbers if n > first and (pin is None or n <= pin[1])]
        # Nothing is to be migrated, so no version is needed but the one to be active.
        return [n for n in reversed(numbers) if (n > active if pin is None else n == pin[1])]

    def _build_mark(self, active: SchemaRecord, reached: int) -> WalkMark:
        fingerprints = dict(self._fingerprints)
        return WalkMark(active.schema.version, reached, fingerprints)

    def _find_reached(self, active: int) -> int:
        """Return the number behind which this refresh begins."""
        is_marked = self._mark is not None and self._mark.active_version == active
        return self._mark.reached if is_marked and self._mark else active

    async def _walk(self, numbers: Sequence[int]) -> bool:
        """Consider each version; return whether the rest of the registry may be considered too."""
        is_empty = not await has_data(self._dependencies, self._policy.kind)
        records = await self._dependencies.schemas.records(self._policy.kind)
        rejected_numbers = find_rejected_numbers(records)
        first = next((number for number in numbers if number not in rejected_numbers), None)
        if not is_empty and numbers and not await self._may_begin(first):
            return False
        for number in numbers[:MAX_WALK]:
            if is_empty and await has_data(self._dependencies, self._policy.kind):
                # They are to be migrated, in the order of the numbers.
                return await self._walk(await self._select(self._numbers or ()))
            if not is_empty and not await self._walk_gap(number):
                return False
            result = await self._consider_number(number)
            self._add_outcome(number, result)
            if result.verdict is RefreshVerdict.FAILED:
                self._unread = number
                return False
            if is_empty and result.verdict is RefreshVerdict.ADOPTED:
                break
        if len(numbers) <= MAX_WALK:
            return True
        if not is_empty:
            active = await self._dependencies.active_schema(self._policy.kind)
            self._next_mark = self._build_mark(active, numbers[MAX_WALK - 1])
        return False

    async def _may_begin(self, first: int | None) -> bool:
        """Return whether the versions after the active one may be considered, from this one.

        Without one they are all rejected, and the active number is compared in any case.
        """
        has_gap = first is not None and await self._has_gap(first)
        return not has_gap and await self._compare_active()

    async def _compare_active(self) -> bool:
        """Consider what the registry has under the active number; return whether that is known.

        Where the list lacks the number it need not be known: it may be published no more.
        """
        active = (await self._dependencies.active_schema(self._policy.kind)).schema
        number = active.version
        if not number or number in self._fingerprints or number == self._compared_number:
            return True
        self._compared_number = number
        is_listed = number in (self._numbers or ())
        is_needed = is_listed and not await self._is_rejected(number)
        result = await self._read_active(active)
        if result is None or isinstance(result, NotFound):
            # What is taken back has its last content, if that was another one.
            self._state.failed_numbers.discard(number)
            self._fingerprints[number] = active.fingerprint
            self._missing_number = None if result is None else number
            return True
        if isinstance(result, SpawnError):
            if not is_needed:
                return True
            result = await self._record_unread(number, result)
            self._unread = number
        self._add_outcome(number, result)
        return result.verdict is not RefreshVerdict.FAILED

    async def _check_publication(self) -> None:
        """Note whether the registry publishes the active version: it gives it, or lists it."""
        number = (await self._dependencies.active_schema(self._policy.kind)).schema.version
        is_listed = self._numbers is None or not number or number in self._numbers
        if not is_listed and number not in self._fingerprints:
            await self._compare_active()
        if self._missing_number == number:
            self._state.unpublished_number = number
        elif is_listed or number in self._fingerprints:
            self._state.unpublished_number = None

    async def _is_rejected(self, number: int) -> bool:
        """Return whether a number that is not read needs no document, by a decision."""
        return number in find_rejected_numbers(
            await self._dependencies.schemas.records(self._policy.kind)
        )

    async def _read_active(self, active: Schema) -> RefreshResult | SpawnError | None:
        """Return how another content under the active number was considered; None without one."""
        fetched_schema = await self._read(active.version)
        if isinstance(fetched_schema, InvalidSchemaDocument):
            if not fetched_schema.is_version:
                return fetched_schema
            if fetched_schema.fingerprint != active.fingerprint:
                return await self._quarantine(fetched_schema, active.version)
        elif isinstance(fetched_schema, SpawnError):
            return fetched_schema
        elif fetched_schema.schema.fingerprint != active.fingerprint:
            return await self._consider(fetched_schema, active.version)
        await self._settle_active(active)
        return None

    async def _settle_active(self, active: Schema) -> None:
        """Record that the registry has the active version under its number."""
        self._fingerprints[active.version] = active.fingerprint
        await self._record_content(active.version, active.fingerprint)

    async def _record_content(self, number: int, fingerprint: str) -> None:
        await record_content(self._dependencies, self._policy, number, fingerprint)

    async def _walk_gap(self, number: int) -> bool:
        """Consider what the registry has under numbers that its list lacks before this one.

        Return whether the walk may go on to it.
        """
        numbers = await self._find_missing(number)
        recorded_numbers = await self._list_recorded(numbers)
        unused_count, missing = 0, numbers.start - 1
        while (missing := _skip_unused(missing + 1, recorded_numbers, unused_count)) in numbers:
            if missing in self._state.unused_numbers:
                self._reading.assume_absent([missing])
                unused_count += 1
                continue
            if missing in self._fingerprints:
                unused_count = 0
                continue
            if self._gap_reads == MAX_GAP_READS:
                active = await self._dependencies.active_schema(self._policy.kind)
                self._next_mark = self._build_mark(active, missing - 1)
                return False
            self._gap_reads += 1
            result = await self._read_and_consider(missing)
            if isinstance(result, NotFound):
                self._state.unused_numbers.add(missing)
                self._state.failed_numbers.discard(missing)
            if isinstance(result, NotFound) or (
                isinstance(result, SpawnError) and await self._is_rejected(missing)
            ):
                unused_count += 1
                continue
            unused_count = 0
            if isinstance(result, SpawnError):
                result = await self._record_unread(missing, result, is_listed=False)
            self._add_outcome(missing, result)
            if result.verdict is RefreshVerdict.FAILED:
                self._unread = missing
                return False
        return True

    async def _list_recorded(self, numbers: range) -> list[int]:
        """Return those of the numbers that have a record, in order."""
        records = await self._dependencies.schemas.records(self._policy.kind)
        return sorted({r.schema.version for r in records if r.schema.version in numbers})

    async def _find_missing(self, number: int) -> range:
        """Return the numbers that the list lacks between the one before and this one."""
        numbers = self._numbers or ()
        index = bisect_left(numbers, number)
        if not index:
            return range(0)
        active = (await self._dependencies.active_schema(self._policy.kind)).schema.version
        return range(max(numbers[index - 1], active) + 1, number)

    async def _record_unread(
        self, number: int, error: SpawnError, *, is_listed: bool = True
    ) -> RefreshResult:
        return self._note(
            await record_unread(
                self._dependencies,
                self._policy,
                number,
                error.detail,
                self._actor,
                is_listed=is_listed,
            )
        )

    async def _has_gap(self, first: int) -> bool:
        """Return whether versions may be missing between the active one and the first listed."""
        active = (await self._dependencies.active_schema(self._policy.kind)).schema.version
        numbers = self._numbers or (first,)
        # Nothing was agreed with the registry while the bundled schema is active.
        if not active or numbers[0] <= active + 1:
            return False
        result = await record_gap(self._dependencies, self._policy, first, active, self._actor)
        self._add_outcome(first, result)
        self._unread = first
        self._note(result)
        return True

    async def _consider_number(self, number: int) -> RefreshResult:
        """Consider a listed version; one that was rejected needs no document."""
        result = await self._read_and_consider(number)
        if isinstance(result, RefreshResult):
            return result
        if await self._is_rejected(number):
            detail = f"version {number} is already rejected"
            return self._note(RefreshResult(RefreshVerdict.UNCHANGED, detail))
        return await self._record_unread(number, result)

    async def _read_and_consider(self, number: int) -> RefreshResult | SpawnError:
        """Read and consider a version; return why its document was not read, if it was not."""
        fetched_schema = await self._read(number)
        if isinstance(fetched_schema, InvalidSchemaDocument) and fetched_schema.is_version:
            return await self._quarantine(fetched_schema, number)
        if isinstance(fetched_schema, SpawnError):
            return fetched_schema
        return await self._consider(fetched_schema, number)

    async def _read(self, number: int) -> RegistryContent:
        """Return what the registry has under a number; an error if it has no version there.

        The number counts as one that cannot be read until it is, or is known to be withdrawn.
        """
        content = await self._reading.read(number, is_secondary=await self._is_secondary(number))
        if find_content_fingerprint(content):
            self._state.failed_numbers.discard(number)
        else:
            self._state.failed_numbers.add(number)
        return content

    async def _is_secondary(self, number: int) -> bool:
        """Return whether a number is requested once, so that it keeps no other version back.

        It is if it was rejected, or is the active one and not in a list: both may fail for ever,
        and later versions that lack a column wait meanwhile.
        """
        active = (await self._dependencies.active_schema(self._policy.kind)).schema.version
        is_unlisted = number == active and number not in (self._numbers or ())
        return is_unlisted or await self._is_rejected(number)

    async def _walk_without_list(self, last: int) -> bool:
        """Consider the numbers between the active version and `last`; return whether all were read.

        Without a list they are read one by one: none is known to be unused.
        """
        kind = self._policy.kind
        active = (await self._dependencies.active_schema(kind)).schema.version
        numbers = range(active + 1, last)
        # Nothing was agreed with the registry while the bundled schema is active.
        if self._numbers is not None or not active or last > MAX_VERSION or last <= active:
            return True
        if not await has_data(self._dependencies, kind):
            return True
        await self._compare_unlisted_active()
        if len(numbers) > MAX_WALK:
            self._unread_reason = f"{len(numbers):,} numbers lie between it and version {active}"
            return False
        for number in numbers:
            result = await self._read_and_consider(number)
            if not isinstance(result, RefreshResult):
                if await self._is_rejected(number):
                    continue
                self._unread_reason = f"version {number} before it was not read: {result.detail}"
                return False
            self._add_outcome(number, result)
            if result.verdict is RefreshVerdict.FAILED:
                self._unread_reason = f"version {number} before it failed: {result.detail}"
                return False
        return True

    async def _compare_unlisted_active(self) -> None:
        """Consider another content under the active number, if a document states that number.

        A server without a list may have no path of versions, or the latest one at each of them.
        """
        active = (await self._dependencies.active_schema(self._policy.kind)).schema
        number = active.version
        fetched_schema = await self._read(number)
        if isinstance(fetched_schema, NotFound):
            self._state.failed_numbers.discard(number)
        if isinstance(fetched_schema, SpawnError) and not isinstance(
            fetched_schema, InvalidSchemaDocument
        ):
            return
        if _find_fingerprint(fetched_schema) == active.fingerprint:
            await self._settle_active(active)
        elif (stated_number := find_stated_version(fetched_schema.document)) == number:
            result = (
                await self._quarantine(fetched_schema, number)
                if isinstance(fetched_schema, InvalidSchemaDocument)
                else await self._consider(fetched_schema, number)
            )
            self._add_outcome(number, result)
        elif stated_number is not None:
            # It has no path of versions.
            self._state.failed_numbers.discard(number)

    def _add_outcome(self, number: int, result: RefreshResult) -> None:
        self._outcomes.append(
            VersionOutcome(version=number, verdict=result.verdict, detail=result.detail)
        )

    async def _consider_latest(self) -> FetchedSchema | None:
        """Consider the latest version, unless the walk has met it with the same content.

        Return it instead if data would pass over versions that were not read.

        Raises:
            NotFound, RegistryError: the registry has none, or its response is unusable.
        """
        fetched_schema = await self._reading.read(None)
        if isinstance(fetched_schema, InvalidSchemaDocument):
            await self._consider_invalid_latest(fetched_schema)
            return None
        if isinstance(fetched_schema, SpawnError):
            raise fetched_schema
        if fetched_schema.schema.fingerprint in self._fingerprints.values():
            return None
        number = await self._find_number(fetched_schema)
        records = await self._dependencies.schemas.records(self._policy.kind)
        # A number that was met at its own path has the content there.
        is_met = self._numbers is not None and number in self._fingerprints
        is_decided = is_met or number in find_unread_rejections(records)
        if is_decided or _is_rejected(records, fetched_schema.schema):
            return None
        if number is None or not await self._may_take(number):
            return fetched_schema
        if not await self._walk_without_list(number):
            return fetched_schema
        await self._consider(fetched_schema, None if self._numbers is None else number)
        return None

    async def _consider_invalid_latest(self, invalid: InvalidSchemaDocument) -> None:
        """Quarantine the latest version, after those before it where there is no list."""
        if invalid.fingerprint in self._fingerprints.values():
            return
        number = find_stated_version(invalid.document)
        if number is not None:
            await self._walk_without_list(number)
        if self._numbers is None or number not in self._fingerprints:
            await self._quarantine(invalid, None)

    async def _take(self) -> FetchedSchema | None:
        """Consider the pinned version if the walk has not; return it if the list lacks it.

        A copy of it is taken only if the registry fails.

        Raises:
            NotFound, RegistryError: the registry does not publish it, or its response is unusable.
        """
        pin = self._policy.pin
        if pin is None or pin[1] in self._fingerprints:
            return None
        records = await self._dependencies.schemas.records(self._policy.kind)
        if pin[1] in find_unread_rejections(records):
            return None
        active = await self._dependencies.active_schema(self._policy.kind)
        if pin[1] == active.schema.version and pin[1] not in (self._numbers or pin[1:]):
            # It may be published no more, which a copy on the disk does not say.
            return None
        fetched_schema = await self._read(pin[1])
        if isinstance(fetched_schema, NotFound):
            raise fetched_schema
        if isinstance(fetched_schema, SpawnError):
            fetched_schema = await self._dependencies.registry.fetch(*pin, kind=self._policy.kind)
        if not await self._may_take(pin[1]) or not await self._walk_without_list(pin[1]):
            return fetched_schema
        await self._consider(fetched_schema)
        return None

    async def _may_take(self, number: int) -> bool:
        """Return whether no version can lie between the active one and this one but listed ones."""
        active = (await self._dependencies.active_schema(self._policy.kind)).schema.version
        is_known = self._numbers is None or number in self._numbers
        return (
            is_known
            or not active < number <= MAX_VERSION
            or not await has_data(self._dependencies, self._policy.kind)
        )

    async def _find_number(self, fetched_schema: FetchedSchema) -> int | None:
        """Return the number of the latest version; None if the list has another one there.

        Without a number in its document it is the highest of the list, if that is the same.
        """
        number, numbers = find_stated_version(fetched_schema.document), self._numbers
        if number is not None or numbers is None:
            return number or 0
        if not numbers:
            return None
        highest, fingerprint = numbers[-1], fetched_schema.schema.fingerprint
        records = await self._dependencies.schemas.records(self._policy.kind)
        if find_record(records, fingerprint, highest) is not None:
            return highest
        same = find_content_fingerprint(await self._reading.read(highest))
        return highest if same == fingerprint else None

    async def _consider(
        self, fetched_schema: FetchedSchema, number: int | None = None
    ) -> RefreshResult:
        """Adopt or quarantine a version; one without a number of its own gets the next."""
        schema, kind = fetched_schema.schema, self._policy.kind
        if number is None:
            records = await self._dependencies.schemas.records(kind)
            schema = assign_version(fetched_schema, records, kind)
        elif number != schema.version:
            schema = read_schema(
                fetched_schema.document, default_version=number, schema_id=schema.id, kind=kind
            )
        before = (await self._dependencies.active_schema(kind)).schema.version
        self._fingerprints[schema.version] = schema.fingerprint
        candidate = self._build_candidate(msgspec.structs.replace(fetched_schema, schema=schema))
        await self._record_content(schema.version, schema.fingerprint)
        if rejected := await self._keep_rejected(candidate):
            return rejected
        adoption = Adoption(
            self._dependencies, self._policy, candidate, self._actor, self._reading.confirm
        )
        result = await adoption.adopt_or_quarantine(should_retry=self._should_retry)
        if result.verdict is RefreshVerdict.ADOPTED:
            self._reading.begin_after(schema.version, schema.fingerprint)
        return self._note(self._name_gap(result, before, schema.version))

    async def _keep_rejected(self, record: SchemaRecord) -> RefreshResult | None:
        """Keep the document of a version that was rejected unread; None if it was not.

        The decision stands until another one, and the renames of the version count.
        """
        records = await self._dependencies.schemas.records(self._policy.kind)
        rejection = find_unread_rejections(records).get(record.schema.version)
        if rejection is None:
            return None
        result = await record_rejected(self._dependencies, record, rejection, self._actor)
        return self._note(result)

    def _restore_invalid(self, invalid: InvalidSchemaDocument, number: int) -> SchemaRecord:
        """Return the record of an invalid document if it is rejected."""
        schema = restore_schema(
            invalid.document,
            schema_id=self._policy.schema_id,
            version=number,
            kind=self._policy.kind,
        )
        return SchemaRecord(
            schema=schema,
            document=invalid.document,
            state=SchemaState.REJECTED,
            provenance=Provenance.LIVE,
            recorded_at=self._dependencies.clock.now(),
        )

    def _build_candidate(self, fetched_schema: FetchedSchema) -> SchemaRecord:
        return build_record(
            self._dependencies, fetched_schema.schema, fetched_schema, SchemaState.CANDIDATE
        )

    def _name_gap(self, result: RefreshResult, before: int, number: int) -> RefreshResult:
        """Return the result of an adoption with the few numbers that the list lacks before it."""
        numbers = range(before + 1, number)
        if result.verdict is not RefreshVerdict.ADOPTED or not before or self._numbers is None:
            return result
        missing = [n for n in numbers[: MAX_NAMED_GAP + 1] if n not in self._numbers]
        if not missing or len(numbers) > MAX_NAMED_GAP:
            return result
        detail = f"{result.detail}; not listed before it: {', '.join(map(str, missing))}"
        return msgspec.structs.replace(result, detail=detail)

    async def _quarantine(
        self, invalid: InvalidSchemaDocument, number: int | None
    ) -> RefreshResult:
        """Quarantine an invalid document.

        Raises:
            InvalidSchemaDocument: it has no fingerprint to record, since it is no JSON.
        """
        fingerprint = invalid.fingerprint
        if fingerprint is None:
            raise invalid
        self._fingerprints[-1 - len(self._fingerprints) if number is None else number] = fingerprint
        if number is None:
            return self._note(await self._quarantine_invalid(invalid, None))
        await self._record_content(number, fingerprint)
        records = await self._dependencies.schemas.records(self._policy.kind)
        is_rejected = number in find_unread_rejections(records)
        record = self._restore_invalid(invalid, number) if is_rejected else None
        if record is not None and (rejected := await self._keep_rejected(record)):
            return rejected
        return self._note(await self._quarantine_invalid(invalid, number))

    async def _quarantine_invalid(
        self, invalid: InvalidSchemaDocument, number: int | None
    ) -> RefreshResult:
        return await quarantine_invalid_document(
            self._dependencies, self._policy, invalid, self._actor, number
        )

    def _note(self, result: RefreshResult) -> RefreshResult:
        self._results.append(result)
        return result

    async def _withdraw(self) -> None:
        """Record which versions the registry publishes no more, so that health forgets them.

        After a version that was not read, only what the walk has passed is known, and with a pin
        what is up to it.
        """
        pin = self._policy.pin
        all_numbers = frozenset(self._numbers or ())
        fingerprints = frozenset(self._fingerprints.values())

        def is_published(schema: Schema) -> bool:
            is_passed = self._unread is None or schema.version < self._unread
            is_passed = is_passed and (pin is None or schema.version <= pin[1])
            if schema.fingerprint in fingerprints or not is_passed:
                return True
            return schema.version in all_numbers and schema.version not in self._fingerprints

        await withdraw_unpublished(self._dependencies, self._policy, is_published)

    def summarize(self) -> RefreshResult:
        """Return one result: the gravest, with the sentences of all that changed something."""
        if not self._results:
            return RefreshResult(RefreshVerdict.UNCHANGED, "the registry publishes nothing newer")
        return _join_results(self._results, self._outcomes)


def _skip_unused(missing: int, recorded_numbers: Sequence[int], unused_count: int) -> int:
    """Return the next missing number to read, or one above all versions if there is none.

    After many unused ones the rest was never used, but for the numbers that are recorded.
    """
    if unused_count < MAX_UNUSED:
        return missing
    index = bisect_left(recorded_numbers, missing)
    return recorded_numbers[index] if index < len(recorded_numbers) else MAX_VERSION + 1


def _join_results(
    results: Sequence[RefreshResult], outcomes: Sequence[VersionOutcome] = ()
) -> RefreshResult:
    """Return the gravest result with the sentences of all news, and the outcomes of each."""
    gravest = max(reversed(results), key=lambda result: _SEVERITY.index(result.verdict))
    news = [r.detail for r in results if r.verdict is not RefreshVerdict.UNCHANGED]
    return msgspec.structs.replace(
        gravest,
        detail=_join_sentences(news) or gravest.detail,
        outcomes=(*outcomes, *(one for result in results for one in result.outcomes)),
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


def _is_rejected(records: Sequence[SchemaRecord], schema: Schema) -> bool:
    return any(
        record.state is SchemaState.REJECTED and record.schema.fingerprint == schema.fingerprint
        for record in records
    )


def _find_fingerprint(content: FetchedSchema | InvalidSchemaDocument) -> str | None:
    return content.schema.fingerprint if isinstance(content, FetchedSchema) else content.fingerprint
