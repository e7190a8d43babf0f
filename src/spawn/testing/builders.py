"""Builders of valid domain values for tests: say what matters, take the rest as it comes."""

from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from hashlib import sha256
from typing import Any

import msgspec

from spawn.domain.principal import Principal
from spawn.domain.projects.project import Milestone, MilestoneKind, Project, Sponsor
from spawn.domain.schemas.model import Column, ColumnType, Schema, TypeName

PROJECT_ID = "0190b5a0-0000-7000-8000-000000000001"
"""The id of a built project unless another is given; a UUIDv7."""

CAPACITY = Column(name="capacity_mw", type=ColumnType(TypeName.DECIMAL, precision=18, scale=4))
TECHNOLOGY = Column(name="technology", type=ColumnType(TypeName.STRING, max_length=50))
LICENSED_ON = Column(name="licensed_on", type=ColumnType(TypeName.DATE))
"""The governed columns of a built schema unless others are given."""


def a_project(**overrides: Any) -> Project:
    """A proposed solar project in euro; any field of `Project` may be overridden."""
    fields: dict[str, Any] = {
        "project_id": PROJECT_ID,
        "project_name": "Cala Blanca Solar",
        "total_amount": Decimal("104000000.00"),
        "currency_code": "EUR",
        "sector": "Solar",
        "country_code": "ESP",
        "maturity_years": 18,
        "expected_irr": Decimal("0.0950"),
        "dscr": Decimal("1.20"),
    }
    return Project(**fields | overrides)


def a_schema(
    columns: Sequence[Column] = (CAPACITY, TECHNOLOGY, LICENSED_ON), **overrides: Any
) -> Schema:
    """A schema, `project_schema` version 1, that governs these columns."""
    fields: dict[str, Any] = {
        "id": "project_schema",
        "version": 1,
        "name": "Projects",
        "columns": tuple(columns),
        "governed": tuple(columns),
        "fingerprint": sha256(msgspec.json.encode(columns)).hexdigest(),
    }
    return Schema(**fields | overrides)


def a_principal(**overrides: Any) -> Principal:
    """An analyst who may do everything."""
    return Principal(**{"id": "analyst"} | overrides)


def some_sponsors(*shares: str) -> tuple[Sponsor, ...]:
    """Sponsors with these shares, percentages as text; they must add up to 100."""
    return tuple(
        Sponsor(name=f"Sponsor {number}", share=Decimal(share))
        for number, share in enumerate(shares, start=1)
    )


def a_condition(milestone_id: str = "cp-1", **overrides: Any) -> Milestone:
    """An open condition precedent that is due on the last day of 2030."""
    fields: dict[str, Any] = {
        "milestone_id": milestone_id,
        "title": "Grid connection agreement signed",
        "kind": MilestoneKind.CONDITION_PRECEDENT,
        "due_date": date(2030, 12, 31),
    }
    return Milestone(**fields | overrides)
