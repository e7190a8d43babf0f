"""Consumers of a schema version, and the Sunsets that affect a version.

A consumer registers the version that it reads, so that a notice can name it before a column goes.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Final

import msgspec

from spawn.domain.errors import FieldError, InvalidInput
from spawn.domain.schema_version import Schema
from spawn.domain.schemas.evolution.migration_plan import MigrationPlan
from spawn.domain.schemas.evolution.version_conversion import current_name, find_removal_days

CONSUMER_KIND: Final = "schema_consumer"
MAX_CONSUMERS: Final = 500
"""Registered consumers of a store: one page, so that a notice names them all."""

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")


class SchemaConsumer(msgspec.Struct, frozen=True, kw_only=True):
    """A program or team that reads one version of a schema.

    `owner` is the principal that registered it and may change it. A consumer that left stays in
    the history and is not active.
    """

    name: str
    contact: str
    schema_id: str
    schema_version: int
    owner: str
    is_active: bool = True


class VersionSunset(msgspec.Struct, frozen=True, kw_only=True):
    """The first Sunset among the columns of a schema version; `column` has its name there."""

    column: str
    sunset_on: date


def check_consumer_name(name: str) -> None:
    """Raise InvalidInput unless a text is the name of a consumer."""
    if not _NAME.fullmatch(name):
        detail = "must be 1 to 63 of a-z, 0-9, '.', '_' and '-', beginning with a-z or 0-9"
        raise InvalidInput([FieldError("/name", "invalid_name", detail)])


def find_first_sunset(
    version: Schema, plans: Sequence[MigrationPlan], newest: Schema
) -> VersionSunset | None:
    """Return the first Sunset that clients of a version meet; None if none is announced.

    A column that was removed ends with its Sunset; one that is deprecated may go from it on.

    Args:
        version: the version that they read.
        plans: the plans from it to the newest version, oldest first.
        newest: the version that `plans` lead to.
    """
    days: dict[str, date | None] = dict(find_removal_days(plans))
    names = _name_columns(version, plans)
    sunsets = {column.name: column.announced_sunset for column in newest.columns}
    days |= {old: sunsets[new] for old, new in names.items() if new in sunsets}
    dated = [(day, name) for name, day in days.items() if day is not None]
    if not dated:
        return None
    day, column = min(dated)
    return VersionSunset(column=column, sunset_on=day)


def _name_columns(version: Schema, plans: Sequence[MigrationPlan]) -> Mapping[str, str]:
    """Return the newest name of each column of a version."""
    return {column.name: current_name(column.name, plans) for column in version.columns}
