"""Versions of projects as of the events of one read, each looked up once."""

from collections.abc import Collection
from datetime import datetime

import msgspec

from spawn.domain.change import StoredAggregate
from spawn.domain.errors import NotFound
from spawn.domain.projects.project import PROJECT_KIND, Project
from spawn.ports.storage import ReadStore


class _Version(msgspec.Struct, frozen=True):
    """A version that was the newest from `since` until just before `until`."""

    project: StoredAggregate[Project]
    since: datetime
    until: datetime


class ProjectVersions:
    """The versions of projects as of instants, which ascend from call to call.

    A project that has not changed since costs a share of one look-up. Of another, each version
    costs two look-ups, however many events of the financing came while it was the newest.
    """

    def __init__(self, reads: ReadStore) -> None:
        self._reads = reads
        self._newest: dict[str, StoredAggregate[Project]] = {}
        self._last: dict[str, _Version] = {}

    async def load(self, project_ids: Collection[str]) -> None:
        """Load the projects of some events; call it after the events were read.

        A project that was loaded before may have changed until the events came.
        """
        if project_ids:
            self._newest |= await self._reads.get_many(PROJECT_KIND, sorted(project_ids))

    async def find(self, project_id: str, recorded_at: datetime) -> StoredAggregate[Project] | None:
        """Return a loaded project as of an instant; None if there was none."""
        newest = self._newest.get(project_id)
        if newest is None or recorded_at < newest.created_at:
            return None
        if newest.updated_at <= recorded_at:
            return newest
        last = self._last.get(project_id)
        if last is None or not last.since <= recorded_at < last.until:
            last = await self._read(newest, recorded_at)
            if last is None:
                return None
            self._last[project_id] = last
        return last.project

    async def _read(
        self, newest: StoredAggregate[Project], recorded_at: datetime
    ) -> _Version | None:
        try:
            project: StoredAggregate[Project] = await self._reads.get(
                PROJECT_KIND, newest.id, as_of=recorded_at
            )
        except NotFound:
            return None
        following = await self._reads.history(
            PROJECT_KIND, newest.id, after_version=project.version, limit=1
        )
        until = following[0].recorded_at if following else newest.updated_at
        return _Version(project, project.updated_at, until)
