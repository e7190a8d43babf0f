"""Sample states of every kind of aggregate, with a value in each field.

The values follow from the types of the fields, so that a new aggregate or field is covered without
an edit here. A state with invariants across its fields is built by hand.
"""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

import msgspec
from msgspec import inspect

from spawn.domain.aggregates import AGGREGATE_TYPES, AggregateType
from spawn.domain.covenants.cash_periods import CashPeriod
from spawn.domain.covenants.cfads_case import CASE_KIND, CaseKind, CaseStatus, CfadsCase
from spawn.domain.covenants.covenant_set import (
    COVENANT_KIND,
    CovenantBand,
    CovenantSet,
    CovenantWaiver,
    CureRights,
    RegisteredTest,
)
from spawn.domain.covenants.exact_ratios import CoverMetric, WindowDirection
from spawn.domain.covenants.project_reserve import (
    RESERVE_KIND,
    ReserveAccountState,
    ReserveBalance,
    ReserveKind,
)
from spawn.domain.facilities.facility import FACILITY_KIND, Facility, FacilityTermSheet
from spawn.domain.projects.milestones import Milestone, MilestoneKind
from spawn.domain.projects.parties import Spv
from spawn.domain.projects.project import PROJECT_KIND, ExternalRef, Project, ProjectStatus
from spawn.domain.schema_version import Value
from spawn.testing.builders import a_project, some_sponsors

SAMPLE_COUNT = 6
"""Samples of a kind that differ in their indexed columns."""

_START = datetime(2030, 5, 4, 3, 2, 1, 7, tzinfo=UTC)


def a_state(kind: str, number: int) -> msgspec.Struct:
    """Build the state of a kind for a number; other numbers have other values.

    Every third one lacks what a state may lack.
    """
    if (build := _BUILT_BY_HAND.get(kind)) is not None:
        return build(number)
    state_type = AGGREGATE_TYPES[kind].state_type
    state: msgspec.Struct = _build(inspect.type_info(state_type), number, "")
    return state


def a_sample_id(aggregate_type: AggregateType, number: int) -> str:
    """Return an id for the sample of a number, in an order unlike that of creation."""
    return f"{aggregate_type.kind}-{(number * 5) % SAMPLE_COUNT}-é"


def _build(type_: Any, number: int, name: str) -> Any:
    build = _BUILDERS.get(type(type_))
    if build is None:
        raise TypeError(f"{name}: there is no sample of {type_}")
    return build(type_, number, name)


def _build_union(type_: inspect.UnionType, number: int, name: str) -> Any:
    present = [t for t in type_.types if not isinstance(t, inspect.NoneType)]
    if number % 3 == 2 and len(present) < len(type_.types):
        return None
    return _build(present[number % len(present)], number, name)


def _build_struct(type_: inspect.StructType, number: int, _name: str) -> Any:
    fields = {f.name: _build(f.type, number, f.name) for f in type_.fields}
    return type_.cls(**fields)


def _build_dict(type_: inspect.DictType, number: int, name: str) -> Any:
    key, value = type_.key_type, type_.value_type
    return {_build(key, number, name): _build(value, number, name)}


def _build_enum(type_: inspect.EnumType, number: int, _name: str) -> Any:
    members = list(type_.cls)
    return members[number % len(members)]


_BUILDERS: dict[type[inspect.Type], Any] = {
    inspect.StrType: lambda _, number, name: f"{name} {number % 4} ñ\\\"'",
    inspect.IntType: lambda _, number, _name: number % 4 + 1,
    inspect.FloatType: lambda _, number, _name: number / 3 + 0.1,
    inspect.BoolType: lambda _, number, _name: number % 2 == 0,
    inspect.DecimalType: lambda _, number, _name: Decimal(f"{number}.250"),
    inspect.DateTimeType: lambda _, number, _name: _START + timedelta(hours=number % 4),
    inspect.DateType: lambda _, number, _name: date(2031, 1, number + 1),
    inspect.EnumType: _build_enum,
    inspect.LiteralType: lambda type_, number, _name: type_.values[number % len(type_.values)],
    inspect.FrozenSetType: lambda type_, number, name: frozenset(
        {_build(type_.item_type, number, name)}
    ),
    inspect.StructType: _build_struct,
    inspect.UnionType: _build_union,
    inspect.DictType: _build_dict,
    inspect.VarTupleType: lambda type_, number, name: (_build(type_.item_type, number, name),),
    inspect.AnyType: lambda _, number, name: f"{name} {number}",
}


def _build_project(number: int) -> Project:
    """Build a project; the one of number 0 has a value in every field."""
    is_sparse = number % 3 == 2
    attributes: dict[str, Value] = {
        "capacity_mw": Decimal(f"{number}.5000"),
        "ratio": Decimal("12345678901234567890.0123456789"),
        "technology": f"pv {number % 4} ñ\\\"'",
        "licensed_on": date(2030, 1, number + 1),
        "units": -number,
        "grid_id": 2**62 + number % 4,
        "load": number / 3,
        "merchant": number % 2 == 0,
        "metered_at": _START + timedelta(hours=number % 4),
    }
    optional: dict[str, Any] = {
        "status": ProjectStatus.SUSPENDED,
        "status_reason": "grid delay",
        "status_effective_on": date(2031, 2, 3),
        "suspended_from": ProjectStatus.CONSTRUCTION,
        "subdivision_code": "ES-IB",
        "description": "Tiësto's plant\nby the sea",
        "financial_close_date": date(2028, 1, 1 + number),
        "cod_date": date(2029, 1, 1),
        "end_date": date(2050, 1, 1),
        "spv": Spv(name="Cala SPV", country_code="ESP"),
        "sponsors": some_sponsors("60.5", "39.5"),
        "milestones": (
            Milestone(
                milestone_id="m-1",
                title="Grid",
                kind=MilestoneKind.CONDITION_PRECEDENT,
                due_date=date(2030, 12, 31),
                met_on=date(2030, 1, 1),
            ),
        ),
        "external_ref": ExternalRef(source="erp", id=f"ä/{number}"),
        "attributes": attributes,
        "extensions": {"x_note": msgspec.Raw(b'{"a":1.50}')},
        "hidden_attributes": {"former": "value"},
    }
    return a_project(
        project_name=f"Project {number % 4}",
        total_amount=Decimal(number * 1_000).scaleb(-2),
        maturity_years=None if is_sparse else Decimal(20 + number % 8) / 2,
        **({} if is_sparse else optional),
    )


def _build_case(number: int) -> CfadsCase:
    """Build a case of two periods; every third one has no debt."""
    has_debt = number % 3 != 2
    periods = tuple(
        CashPeriod(
            starts_on=date(2030 + year, 1, 1),
            ends_on=date(2030 + year, 12, 31),
            cfads=Decimal(f"{number}20.50"),
            interest=Decimal("4.00") if has_debt else None,
            principal=Decimal("40.00") if has_debt else None,
            lines={"revenue ñ": Decimal(f"{number}20.50")},
        )
        for year in range(2)
    )
    return CfadsCase(
        case_id=f"case {number}",
        project_id=f"project {number % 4}",
        name=f"Case {number % 4} ñ\\\"'",
        kind=[*CaseKind][number % len(CaseKind)],
        currency_code="EUR",
        periods=periods,
        opening_debt=Decimal("80.00") if has_debt else None,
        equity=Decimal("20.00") if has_debt else None,
        engine_version=f"0.{number % 4}.0",
        status=[*CaseStatus][number % 2],
        revision=number % 4 + 1,
        revision_reason="refinanced\nin part" if has_debt else None,
    )


def _build_covenant(number: int) -> CovenantSet:
    """Build a covenant; every third one has no waiver, and no level but a default level."""
    is_sparse = number % 3 == 2
    optional: dict[str, Any] = {
        "lockup_level": Decimal("1.15"),
        "release_level": Decimal("1.20"),
        "window_months": 12,
        "window_direction": [*WindowDirection][number % 2],
        "cure_rights": CureRights(max_cures=3),
        "waivers": (
            CovenantWaiver(
                starts_on=date(2031, 1, 1),
                ends_on=date(2031, 6, 30),
                reason="outage ñ",
                granted_by="majority lenders",
                recorded_by="key:desk",
            ),
        ),
        "tests": (
            RegisteredTest(test_id="t", tested_on=date(2030, 12, 31), band=CovenantBand.HOLD),
        ),
    }
    return CovenantSet(
        covenant_id=f"covenant {number}",
        project_id=f"project {number % 4}",
        name=f"Covenant {number % 4} ñ\\\"'",
        metric=CoverMetric.DSCR,
        default_level=Decimal("1.05"),
        test_dates=(date(2030, 12, 31), date(2031, 6, 30)),
        **({} if is_sparse else optional),
    )


def _build_reserve(number: int) -> ReserveAccountState:
    """Build a reserve account; every third one has a target in months and no balance."""
    is_sparse = number % 3 == 2
    balance = ReserveBalance(value_date=date(2031, 1, 1), amount=Decimal("7.50"), reason="ñ")
    return ReserveAccountState(
        account_id=f"account {number}",
        project_id=f"project {number % 4}",
        name=f"Reserve {number % 4} ñ\\\"'",
        kind=ReserveKind.DSRA if is_sparse else [*ReserveKind][number % len(ReserveKind)],
        currency_code="EUR",
        target_months=number + 1 if is_sparse else None,
        target_amount=None if is_sparse else Decimal(f"{number}.25"),
        balances=() if is_sparse else (balance,),
    )


def _build_facility(number: int) -> Facility:
    """Build a facility; every third one has no fields beside its terms."""
    is_sparse = number % 3 == 2
    terms = _build(inspect.type_info(FacilityTermSheet), number, "")
    more: dict[str, Any] = {
        "attributes": {"green_label": f"label {number % 4} ñ"},
        "extensions": {"x_note": msgspec.Raw(b'{"a":1.50}')},
        "hidden_attributes": {"former": "value"},
    }
    return Facility(
        facility_id=f"facility {number}",
        project_id=f"project {number % 4}",
        **{name: getattr(terms, name) for name in terms.__struct_fields__},
        **({} if is_sparse else more),
    )


_BUILT_BY_HAND: Final[dict[str, Callable[[int], msgspec.Struct]]] = {
    PROJECT_KIND: _build_project,
    FACILITY_KIND: _build_facility,
    CASE_KIND: _build_case,
    COVENANT_KIND: _build_covenant,
    RESERVE_KIND: _build_reserve,
}
