"""The Project aggregate: a financed real asset from proposal to completion.

Everything that must always hold for a project holds from its construction on.
"""

from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from enum import StrEnum

import msgspec

from spawn.domain.schema.value import Value


class Status(StrEnum):
    """Where a project stands in its life."""

    PROPOSED = "PROPOSED"
    MANDATED = "MANDATED"
    FINANCIAL_CLOSE = "FINANCIAL_CLOSE"
    CONSTRUCTION = "CONSTRUCTION"
    OPERATION = "OPERATION"
    SUSPENDED = "SUSPENDED"
    DEFAULTED = "DEFAULTED"
    COMPLETED = "COMPLETED"
    CANCELLED = "CANCELLED"


class Sponsor(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An equity sponsor; `share` is a percentage of the SPV, > 0 and ≤ 100."""

    name: str
    share: Decimal


class Spv(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The special-purpose vehicle that borrows."""

    name: str
    registration_number: str | None = None
    country_code: str | None = None


class MilestoneKind(StrEnum):
    """What a milestone stands for."""

    MILESTONE = "MILESTONE"
    CONDITION_PRECEDENT = "CONDITION_PRECEDENT"


class Milestone(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A milestone or condition precedent; open while neither met nor waived.

    `draw_stop` says that no drawdown may happen while it is open.
    """

    milestone_id: str
    title: str
    kind: MilestoneKind = MilestoneKind.MILESTONE
    due_date: date | None = None
    met_on: date | None = None
    waived_on: date | None = None
    draw_stop: bool = False
    evidence: str | None = None


class ExternalRef(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The project's key in another system; unique across projects."""

    source: str
    id: str


class Project(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A project. Version and times are the store's matter (`Stored`), not the aggregate's.

    `total_amount` is in major units of `currency_code`, ≥ 0, at most the currency's scale.
    `expected_irr` is a fraction per annum (0.095 is 9.5 %). `dscr` is a ratio.
    `attributes` holds governed values by canonical column name (absent ones are not keys);
    `extensions` the bounded JSON of `x_…` fields, as received.
    `suspended_from` remembers where a SUSPENDED project may return to.
    """

    project_id: str
    project_name: str
    total_amount: Decimal
    currency_code: str = "USD"
    status: Status = Status.PROPOSED
    status_reason: str | None = None
    status_effective_on: date | None = None
    suspended_from: Status | None = None
    description: str | None = None
    sector: str | None = None
    country_code: str | None = None
    maturity_years: int | None = None
    expected_irr: Decimal | None = None
    dscr: Decimal | None = None
    financial_close_date: date | None = None
    cod_date: date | None = None
    end_date: date | None = None
    spv: Spv | None = None
    sponsors: tuple[Sponsor, ...] = ()
    milestones: tuple[Milestone, ...] = ()
    external_ref: ExternalRef | None = None
    attributes: Mapping[str, Value] = msgspec.field(default_factory=dict)
    extensions: Mapping[str, msgspec.Raw] = msgspec.field(default_factory=dict)
