"""The approvals that a caller with a row scope has asked for, as long as it sees their rows."""

from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec

from spawn.application.access.scoped_financing import READABLE_KINDS
from spawn.domain.approvals.approval import APPROVAL_KIND, Approval
from spawn.domain.change import StoredAggregate
from spawn.domain.errors import NotFound
from spawn.domain.principal import RowScope
from spawn.domain.projects.project import PROJECT_KIND
from spawn.domain.query import MAX_LIMIT, Filter, Operator, Page, Query
from spawn.domain.schema_version import Value
from spawn.ports.storage import ReadStore

MAX_SCANS: Final = 20
"""Pages of own approvals that one read scans for visible ones."""

_MISSING: Final = "There is no approval of this id."
_ROWS: Final = READABLE_KINDS | {PROJECT_KIND}

CheckVisible = Callable[[str, str], Awaitable[object]]
"""Raises NotFound unless the aggregate of a kind and id is visible."""


class OwnApprovals:
    """Reads of the approvals of one maker with a row scope.

    One is visible if the maker had the same row scope, and sees every aggregate that the command
    rests on: a maker who lost a row reads nothing of it in an old command either.
    """

    def __init__(
        self, reads: ReadStore, row_scope: RowScope, maker: str, check_visible: CheckVisible
    ) -> None:
        self._reads = reads
        self._row_scope = row_scope
        self._maker = maker
        self._check_visible = check_visible

    async def get(self, key: str, version: int | None) -> StoredAggregate[Any]:
        """Return a visible approval.

        Raises:
            NotFound: there is none of this id.
        """
        try:
            aggregate: StoredAggregate[Any] = await self._reads.get(
                APPROVAL_KIND, key, version=version
            )
        except NotFound:
            raise NotFound(_MISSING) from None
        if not await self._is_visible(aggregate.state):
            raise NotFound(_MISSING)
        return aggregate

    async def page(self, query: Query) -> Page[StoredAggregate[Any]]:
        """Return a page of visible approvals; its cursor names the last of them.

        Where a scan ends before the page is full, the cursor names the last approval of the scan.

        The query is in order of creation, with the order of the ids behind it.
        """
        maker = Filter("maker", Operator.EQ, (self._maker,))
        scan: Query | None = msgspec.structs.replace(
            query, filters=(*query.filters, maker), limit=MAX_LIMIT
        )
        visible: list[StoredAggregate[Any]] = []
        for _ in range(MAX_SCANS):
            if scan is None or len(visible) > query.limit:
                break
            page: Page[StoredAggregate[Any]] = await self._reads.page(scan)
            visible += [one for one in page.items if await self._is_visible(one.state)]
            scan = msgspec.structs.replace(scan, after=page.next) if page.next else None
        items = tuple(visible[: query.limit])
        if len(visible) > len(items):
            return Page(items, _build_cursor(query, items[-1]))
        return Page(items, None if scan is None else _build_cursor(query, page.items[-1]))

    async def _is_visible(self, approval: Approval) -> bool:
        if approval.maker != self._maker or approval.maker_rows != self._row_scope:
            return False
        for guard in approval.preview.rests_on:
            if guard.id and guard.kind in _ROWS:
                try:
                    await self._check_visible(guard.kind, guard.id)
                except NotFound:
                    return False
        return True


def _build_cursor(query: Query, last: StoredAggregate[Any]) -> tuple[Value | None, ...]:
    by_field: dict[str, Value] = {"created_at": last.created_at, "id": last.id}
    return tuple(by_field[sort.field] for sort in query.sort)
