"""The Project aggregate: a financed real asset from proposal to completion.

Every invariant of a project holds from its construction on: the constructor collects every
violation and raises one `InvalidInput` that lists them all. `propose_project`, `apply_amendment`
and `apply_transition` are the only ways to create or change a project; all are pure.
"""

from collections.abc import Callable, Mapping
from datetime import date, datetime
from decimal import Decimal
from itertools import compress, repeat
from math import isfinite
from operator import attrgetter, is_, is_not
from typing import Any, Final
from urllib.parse import quote

import msgspec

from spawn.domain.errors import Conflict, FieldError, IllegalTransition, InvalidInput
from spawn.domain.iso.countries import ALPHA_3
from spawn.domain.money import DECIMAL_CONTEXT, fit_amount
from spawn.domain.projects.codes import check_codes
from spawn.domain.projects.extensions import check_extensions
from spawn.domain.projects.lifecycle import (
    SUSPENDABLE,
    ProjectStatus,
    get_next_statuses,
    parse_status,
)
from spawn.domain.projects.milestones import (
    Milestone,
    MilestoneKind,
    check_milestones,
    is_open,
    list_open_conditions,
)
from spawn.domain.projects.parties import Sponsor, Spv, check_sponsors, check_spv
from spawn.domain.schema_version import Value
from spawn.domain.text import check_line, check_prose, escape_pointer_token, trim

__all__ = [
    "AMENDED_EVENT",
    "CORE_FIELDS",
    "CREATED_EVENT",
    "PROJECT_KIND",
    "RESERVATION_KIND",
    "TRANSITIONED_EVENT",
    "ExternalRef",
    "ExternalRefReservation",
    "Milestone",
    "MilestoneKind",
    "Project",
    "ProjectStatus",
    "Sponsor",
    "Spv",
    "apply_amendment",
    "apply_transition",
    "build_reservation_id",
    "get_next_statuses",
    "is_open",
    "list_changed_fields",
    "list_draw_stops",
    "list_open_conditions",
    "parse_status",
    "propose_project",
]

PROJECT_KIND: Final = "project"
RESERVATION_KIND: Final = "external_ref"
"""Kinds of the aggregates of this module."""

CREATED_EVENT: Final = "project.created"
AMENDED_EVENT: Final = "project.amended"
TRANSITIONED_EVENT: Final = "project.transitioned"

MAX_NAME, MAX_KEY, MAX_SECTOR = 500, 64, 100
"""Characters of a name or title, of a key, and of a sector."""
MAX_REASON, MAX_DESCRIPTION = 1_000, 10_000
"""Characters of prose."""
MAX_ATTRIBUTE_TEXT = 65_536
"""Characters of a governed text, even if its schema allows more."""
MAX_REF_ID = 200
"""Characters of an id in another system."""
MAX_ATTRIBUTES = 500
"""Governed attributes of one project."""
MIN_MATURITY_YEARS, MAX_MATURITY_YEARS = Decimal("0.5"), 99
MATURITY_DECIMALS = 2
"""Decimals of a maturity: half years, quarters and months as they are quoted."""
ORDERED_DATES = ("financial_close_date", "cod_date", "end_date")
"""Dates of which none is before an earlier one of the list."""
_NO_DATES = (None, None, None)
_NO_DEBT: Mapping[str, Decimal] = {}
_get_ordered_dates = attrgetter(*ORDERED_DATES)
INITIAL_STATUS_REASON = "initial status on creation"
"""The default reason of an initial status other than PROPOSED."""


class ExternalRef(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The project's key in another system; unique across projects."""

    source: str
    id: str


class Project(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A project; version and times belong to the store, not to the aggregate.

    `total_amount` is in major units of `currency_code`, ≥ 0, at most the currency's scale; None if
    the file that the project was imported from does not say what it costs.
    `subdivision_code` belongs to `country_code` and is only valid with it.
    `maturity_years` is a number of years, from 0.5 to 99, without trailing zeros.
    `expected_irr` is a fraction per annum (0.095 is 9.5 %). `dscr` is a ratio.
    `attributes` holds governed values by canonical column name (absent ones are not keys);
    `extensions` the bounded JSON of `x_…` fields, as received; `hidden_attributes` the values of
    columns that the schema no longer has, stored with the project and not served.
    `suspended_from` is the status before SUSPENDED, to which the project may return.
    """

    project_id: str
    project_name: str
    total_amount: Decimal | None
    currency_code: str = "USD"
    status: ProjectStatus = ProjectStatus.PROPOSED
    status_reason: str | None = None
    status_effective_on: date | None = None
    suspended_from: ProjectStatus | None = None
    description: str | None = None
    sector: str | None = None
    country_code: str | None = None
    subdivision_code: str | None = None
    maturity_years: Decimal | None = None
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
    hidden_attributes: Mapping[str, Value] = msgspec.field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check every invariant and raise one `InvalidInput` with all violations."""
        errors: list[FieldError] = []
        check_line(self.project_id, "/project_id", MAX_KEY, errors)
        check_line(self.project_name, "/project_name", MAX_NAME, errors)
        _check_amount(self, errors)
        _check_texts(self, errors)
        _check_measures(self, errors)
        _check_dates(self, errors)
        _check_status(self, errors)
        if self.spv is not None:
            check_spv(self.spv, errors)
        if self.sponsors:
            check_sponsors(self.sponsors, errors)
        if self.milestones:
            check_milestones(self.milestones, errors)
        if self.external_ref is not None:
            check_line(self.external_ref.source, "/external_ref/source", MAX_KEY, errors)
            check_line(self.external_ref.id, "/external_ref/id", MAX_REF_ID, errors)
        if self.attributes:
            check_attributes(self.attributes, errors)
        if self.hidden_attributes:
            check_attributes(self.hidden_attributes, errors)
        if self.extensions:
            check_extensions(self.extensions, errors)
        if errors:
            raise InvalidInput(errors)


class ExternalRefReservation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The project that owns an external reference; None once it is released.

    An aggregate of kind `external_ref` whose id is made by `build_reservation_id`. Writing it in
    the change that sets the reference makes references unique.
    """

    project_id: str | None


def build_reservation_id(ref: ExternalRef) -> str:
    """Return the id of a reference's reservation; it is unique per reference."""
    return f"{quote(ref.source, safe='')}:{ref.id}"


_MAPPINGS = frozenset({"attributes", "extensions", "hidden_attributes"})
CORE_FIELDS: tuple[str, ...] = tuple(n for n in Project.__struct_fields__ if n not in _MAPPINGS)
"""The core fields of a project, in document order."""

_SET_BY_TRANSITION = frozenset({"status_reason", "status_effective_on", "suspended_from"})
_AMENDABLE = frozenset(CORE_FIELDS) - _SET_BY_TRANSITION - {"project_id", "status"}
_CREATABLE = frozenset(CORE_FIELDS) - {"project_id", "suspended_from"}
_REQUIRED = ("project_name", "total_amount", "currency_code")
_RESERVED_NAMES = frozenset(Project.__struct_fields__) | {"version", "created_at", "updated_at"}


def propose_project(
    *,
    project_id: str,
    fields: Mapping[str, object],
    attributes: Mapping[str, Value | None],
    extensions: Mapping[str, msgspec.Raw | None],
    allows_unknown_amount: bool = False,
) -> Project:
    """Return a new project from typed fields by name; None means absent.

    Names are trimmed and alpha-2 countries become alpha-3. The status is PROPOSED by default; any
    other initial status is recorded with a reason.

    Raises:
        InvalidInput: unknown or missing fields, or else every violated invariant at once.
    """
    values = _drop_absent(fields)
    errors: list[FieldError] = []
    if not values.keys() <= _CREATABLE:
        errors += [_unknown_field(name) for name in values if name not in _CREATABLE]
    if allows_unknown_amount:
        values.setdefault("total_amount", None)
    errors += [_required_field(name) for name in _REQUIRED[:2] if name not in values]
    if errors:
        raise InvalidInput(errors)
    _normalize(values)
    if "status" in values:
        values["status"] = parse_status(values["status"])
        if values["status"] is not ProjectStatus.PROPOSED:
            values.setdefault("status_reason", INITIAL_STATUS_REASON)
    return Project(
        project_id=project_id,
        attributes=_drop_absent(attributes),
        extensions=_drop_absent(extensions),
        **values,
    )


def apply_amendment(
    project: Project,
    fields: Mapping[str, object],
    attributes: Mapping[str, Value | None],
    extensions: Mapping[str, msgspec.Raw | None],
) -> Project:
    """Return the project after a merge patch: a value replaces, None removes, absence keeps.

    Lists and objects are replaced whole. A status equal to the present one is no change.

    Raises:
        InvalidInput: `use_transition` for the status and what goes with it, `required` for the
            removal of a required field, `unknown_field`, or every violated invariant at once.
    """
    errors = [error for item in fields.items() if (error := _find_amend_error(project, *item))]
    if errors:
        raise InvalidInput(errors)
    values = {name: value for name, value in fields.items() if name != "status"}
    for name in _LISTS:
        if name in values and values[name] is None:
            values[name] = ()
    _normalize(values)
    return msgspec.structs.replace(
        project,
        attributes=_merge(project.attributes, attributes),
        extensions=_merge(project.extensions, extensions),
        **values,
    )


def apply_transition(
    project: Project,
    to: ProjectStatus,
    *,
    reason: str,
    effective_on: date | None = None,
    debt_outstanding: Mapping[str, Decimal] = _NO_DEBT,
    states_debt: bool = True,
) -> Project:
    """Return the project after a status transition, with its reason and business date.

    `debt_outstanding` is the outstanding amount of all its debt by currency; an error states it to
    those who may read it (`states_debt`).

    Raises:
        InvalidInput: the reason is empty or invalid, at `/reason`.
        IllegalTransition: there is no such step from the present status.
        Conflict: financial close with an open condition precedent, completion with debt.
    """
    _check_reason(reason)
    next_statuses = get_next_statuses(project.status, project.suspended_from)
    if to not in next_statuses:
        choices = ", ".join(status for status in ProjectStatus if status in next_statuses)
        raise IllegalTransition(
            f"{project.status} cannot become {to}; allowed: {choices or 'none, it is final'}"
        )
    if to is ProjectStatus.FINANCIAL_CLOSE and (unmet := list_open_conditions(project.milestones)):
        names = ", ".join(milestone.milestone_id for milestone in unmet[:10])
        raise Conflict(f"{len(unmet)} conditions precedent are open: {names}")
    if to is ProjectStatus.COMPLETED and any(debt_outstanding.values()):
        amounts = "some"
        if states_debt:
            amounts = ", ".join(f"{debt} {code}" for code, debt in debt_outstanding.items() if debt)
        raise Conflict(f"a project completes without debt; {amounts} is outstanding")
    return msgspec.structs.replace(
        project,
        status=to,
        status_reason=trim(reason),
        status_effective_on=effective_on,
        suspended_from=project.status if to is ProjectStatus.SUSPENDED else None,
    )


def list_draw_stops(project: Project) -> tuple[Milestone, ...]:
    """Return the milestones that block a drawdown: open and marked `draw_stop`."""
    return tuple(m for m in project.milestones if m.draw_stop and is_open(m))


_CHANGEABLE = CORE_FIELDS[1:]
_get_core_values = attrgetter(*_CHANGEABLE)
_LISTS = ("sponsors", "milestones")
"""Core fields that are absent as an empty tuple; all others are absent as None."""


def list_changed_fields(before: Project | None, after: Project) -> tuple[str, ...]:
    """Return the changed fields in document order; of a new project, all it has."""
    if before is None:
        # Without a loop in the interpreter, which would be the longest of a new project.
        core = [*compress(_CHANGEABLE, map(is_not, _get_core_values(after), repeat(None)))]
        for name in _LISTS:
            if not getattr(after, name):
                core.remove(name)
        return (*core, *after.attributes, *after.extensions)
    core = [name for name in CORE_FIELDS if getattr(after, name) != getattr(before, name)]
    return (
        *core,
        *_list_differences(before.attributes, after.attributes),
        *_list_differences(before.extensions, after.extensions),
    )


def _list_differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    names = dict.fromkeys((*after, *before))
    return [name for name in names if before.get(name) != after.get(name)]


def _merge(before: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    return _drop_absent({**before, **patch}) if patch else dict(before)


def _drop_absent(values: Mapping[str, Any]) -> dict[str, Any]:
    if not any(map(is_, values.values(), repeat(None))):
        return dict(values)
    return {name: value for name, value in values.items() if value is not None}


def _find_amend_error(project: Project, name: str, value: object) -> FieldError | None:
    if name == "status" and value == project.status:
        return None
    if name == "status" or name in _SET_BY_TRANSITION:
        return FieldError(f"/{name}", "use_transition", "changes only by a transition")
    if name not in _AMENDABLE:
        return _unknown_field(name)
    if value is None and name in _REQUIRED:
        return _required_field(name)
    return None


def _unknown_field(name: str) -> FieldError:
    return FieldError(
        f"/{escape_pointer_token(name)}", "unknown_field", "is not a field that can be set"
    )


def _required_field(name: str) -> FieldError:
    return FieldError(f"/{name}", "required", "is required")


def _normalize(values: dict[str, Any]) -> None:
    """Trim names and convert countries to alpha-3; unknown codes stay, to be rejected."""
    if values.get("project_name") is not None:
        values["project_name"] = trim(values["project_name"])
    if values.get("country_code") is not None:
        values["country_code"] = ALPHA_3.get(values["country_code"], values["country_code"])
    if spv := values.get("spv"):
        code = ALPHA_3.get(spv.country_code, spv.country_code)
        values["spv"] = msgspec.structs.replace(spv, name=trim(spv.name), country_code=code)
    if sponsors := values.get("sponsors"):
        values["sponsors"] = tuple(
            msgspec.structs.replace(sponsor, name=trim(sponsor.name)) for sponsor in sponsors
        )
    if milestones := values.get("milestones"):
        values["milestones"] = tuple(
            msgspec.structs.replace(m, title=trim(m.title)) for m in milestones
        )


def _check_reason(reason: str) -> None:
    errors: list[FieldError] = []
    check_prose(reason, "/reason", MAX_REASON, errors)
    if not reason.strip():
        errors.append(FieldError("/reason", "empty", "a transition needs a reason"))
    if errors:
        raise InvalidInput(errors)


def _check_amount(project: Project, errors: list[FieldError]) -> None:
    if project.total_amount is None:
        return
    try:
        amount = fit_amount(
            project.total_amount,
            project.currency_code,
            pointer="/total_amount",
            currency_pointer="/currency_code",
        )
    except InvalidInput as error:
        errors.extend(error.errors)
        return
    if amount < 0:
        errors.append(FieldError("/total_amount", "out_of_range", "must not be negative"))
    # Stored at the currency's scale, so that equal projects have equal documents.
    msgspec.structs.force_setattr(project, "total_amount", amount)


def _check_texts(project: Project, errors: list[FieldError]) -> None:
    if project.description is not None:
        check_prose(project.description, "/description", MAX_DESCRIPTION, errors)
    if project.sector is not None:
        check_prose(project.sector, "/sector", MAX_SECTOR, errors)
    if project.status_reason is not None:
        check_prose(project.status_reason, "/status_reason", MAX_REASON, errors)
    check_codes(project, errors)


_Bounds = tuple[Decimal, Decimal, Decimal]
"""Inclusive minimum, exclusive maximum and finest step."""
_IRR_BOUNDS: _Bounds = (Decimal(-1), Decimal("1E+8"), Decimal("1E-10"))
_DSCR_BOUNDS: _Bounds = (Decimal("-1E+10"), Decimal("1E+10"), Decimal("1E-8"))


def _check_measures(project: Project, errors: list[FieldError]) -> None:
    if project.maturity_years is not None:
        _check_maturity(project, project.maturity_years, errors)
    if project.expected_irr is not None:
        _check_ratio(project.expected_irr, "/expected_irr", _IRR_BOUNDS, errors)
    if project.dscr is not None:
        _check_ratio(project.dscr, "/dscr", _DSCR_BOUNDS, errors)


_MATURITY_QUANTUM = Decimal(1).scaleb(-MATURITY_DECIMALS)


def _check_maturity(project: Project, years: Decimal, errors: list[FieldError]) -> None:
    pointer = "/maturity_years"
    if not years.is_finite():
        errors.append(FieldError(pointer, "not_finite", "must be a finite number"))
    elif not MIN_MATURITY_YEARS <= years <= MAX_MATURITY_YEARS:
        detail = f"must be {MIN_MATURITY_YEARS} to {MAX_MATURITY_YEARS}"
        errors.append(FieldError(pointer, "out_of_range", detail))
    elif years.quantize(_MATURITY_QUANTUM, None, DECIMAL_CONTEXT) != years:
        detail = f"must have at most {MATURITY_DECIMALS} decimals"
        errors.append(FieldError(pointer, "too_precise", detail))
    else:
        # Equal projects have equal documents, and 18 years are 18 in each of them, never 18.0.
        is_whole = years == years.to_integral_value()
        plain = Decimal(int(years)) if is_whole else years.normalize(DECIMAL_CONTEXT)
        msgspec.structs.force_setattr(project, "maturity_years", plain)


def _check_ratio(value: Decimal, pointer: str, bounds: _Bounds, errors: list[FieldError]) -> None:
    low, limit, quantum = bounds
    if not value.is_finite():
        errors.append(FieldError(pointer, "not_finite", "must be a finite number"))
    elif not low <= value < limit:
        errors.append(
            FieldError(pointer, "out_of_range", f"must be from {low:f} to below {limit:f}")
        )
    elif value.quantize(quantum, None, DECIMAL_CONTEXT) != value:
        places = -quantum.adjusted()
        errors.append(FieldError(pointer, "too_precise", f"must have at most {places} decimals"))


def _check_dates(project: Project, errors: list[FieldError]) -> None:
    if _get_ordered_dates(project) == _NO_DATES:
        return
    earlier, earlier_name = None, ""
    for name in ORDERED_DATES:
        day: date | None = getattr(project, name)
        if day is None:
            continue
        if earlier is not None and day < earlier:
            detail = f"must not be before {earlier_name}"
            errors.append(FieldError(f"/{name}", "date_order", detail))
        earlier, earlier_name = day, name


def _check_status(project: Project, errors: list[FieldError]) -> None:
    if project.status is ProjectStatus.FINANCIAL_CLOSE and list_open_conditions(project.milestones):
        detail = "financial close allows no open condition precedent"
        errors.append(FieldError("/milestones", "open_condition", detail))
    origin = project.suspended_from
    if origin is None:
        return
    if project.status is not ProjectStatus.SUSPENDED or origin not in SUSPENDABLE:
        detail = "goes with SUSPENDED and is CONSTRUCTION or OPERATION"
        errors.append(FieldError("/suspended_from", "out_of_range", detail))


_INT_LIMIT = 2**63
_MAX_DIGITS = 38


def check_attributes(attributes: Mapping[str, Value], errors: list[FieldError]) -> None:
    """Append the errors that no schema allows in governed values: type, size, finiteness."""
    if len(attributes) > MAX_ATTRIBUTES:
        errors.append(FieldError("", "too_many", f"at most {MAX_ATTRIBUTES} governed attributes"))
        return
    for name, value in attributes.items():
        if name in _RESERVED_NAMES or name[:2] == "x_":
            errors.append(_unknown_field(name))
        elif value.__class__ is not str or len(value) > MAX_ATTRIBUTE_TEXT:
            error = _VALUE_CHECKS.get(value.__class__, _check_unsupported)(value)
            if error is not None:
                errors.append(FieldError(f"/{escape_pointer_token(name)}", *error))
        elif not value.isprintable():
            check_prose(value, f"/{escape_pointer_token(name)}", MAX_ATTRIBUTE_TEXT, errors)


_CheckResult = tuple[str, str] | None


def _check_decimal(value: Decimal) -> _CheckResult:
    if not value.is_finite():
        return "not_finite", "must be a finite number"
    # Eight more characters than digits: a sign, a point and an exponent such as E-38.
    if abs(value.adjusted()) > _MAX_DIGITS or len(str(value)) > _MAX_DIGITS + 8:
        return "out_of_range", f"must have at most {_MAX_DIGITS} digits"
    return None


def _check_float(value: float) -> _CheckResult:
    return None if isfinite(value) else ("not_finite", "must be a finite number")


def _check_integer(value: int) -> _CheckResult:
    fits = -_INT_LIMIT <= value < _INT_LIMIT
    return None if fits else ("out_of_range", "must fit into 64 bits")


def _check_instant(value: datetime) -> _CheckResult:
    return None if value.tzinfo is not None else ("naive_time", "must have an offset")


def _check_text_length(value: str) -> _CheckResult:
    return "too_long", f"must have at most {MAX_ATTRIBUTE_TEXT} characters; it has {len(value)}"


def _accept(_: Value) -> _CheckResult:
    return None


def _check_unsupported(value: object) -> _CheckResult:
    return "unsupported", f"a {type(value).__name__} is not a valid attribute value"


_VALUE_CHECKS: dict[type, Callable[[Any], _CheckResult]] = {
    bool: _accept,
    date: _accept,
    datetime: _check_instant,
    Decimal: _check_decimal,
    float: _check_float,
    int: _check_integer,
    str: _check_text_length,
}
