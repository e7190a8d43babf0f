"""Builders of valid domain values for tests, with defaults for every field."""

from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from hashlib import sha256
from typing import Any

import msgspec

from spawn.domain.principal import Principal
from spawn.domain.projects.project import Milestone, MilestoneKind, Project, Sponsor
from spawn.domain.schema_version import Column, ColumnType, Schema, TypeName

PROJECT_ID = "0190b5a0-0000-7000-8000-000000000001"
"""Default id of a built project; a UUIDv7."""

CAPACITY = Column(name="capacity_mw", type=ColumnType(TypeName.DECIMAL, precision=18, scale=4))
TECHNOLOGY = Column(name="technology", type=ColumnType(TypeName.STRING, max_length=50))
LICENSED_ON = Column(name="licensed_on", type=ColumnType(TypeName.DATE))
"""Governed columns of a built schema by default: these three."""


def a_project(**overrides: Any) -> Project:
    """Build a proposed solar project in euro; any field can be overridden."""
    fields: dict[str, Any] = {
        "project_id": PROJECT_ID,
        "project_name": "Cala Blanca Solar",
        "total_amount": Decimal("104000000.00"),
        "currency_code": "EUR",
        "sector": "Solar",
        "country_code": "ESP",
        "maturity_years": Decimal(18),
        "expected_irr": Decimal("0.0950"),
        "dscr": Decimal("1.20"),
    }
    return Project(**fields | overrides)


def a_schema(
    columns: Sequence[Column] = (CAPACITY, TECHNOLOGY, LICENSED_ON), **overrides: Any
) -> Schema:
    """Build `project_schema` version 1 with these governed columns."""
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
    """Build an analyst with every permission."""
    return Principal(**{"id": "analyst"} | overrides)


def some_sponsors(*shares: str) -> tuple[Sponsor, ...]:
    """Build sponsors with these shares, as percentages in text that add up to 100."""
    return tuple(
        Sponsor(name=f"Sponsor {number}", share=Decimal(share))
        for number, share in enumerate(shares, start=1)
    )


def a_condition(milestone_id: str = "cp-1", **overrides: Any) -> Milestone:
    """Build an open condition precedent, due on 31 December 2030."""
    fields: dict[str, Any] = {
        "milestone_id": milestone_id,
        "title": "Grid connection agreement signed",
        "kind": MilestoneKind.CONDITION_PRECEDENT,
        "due_date": date(2030, 12, 31),
    }
    return Milestone(**fields | overrides)
