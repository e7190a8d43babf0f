"""The Project aggregate: a financed real asset from proposal to completion.

Everything that must always hold for a project holds from its construction on: the constructor
collects every broken rule and raises one `InvalidInput` that points to each. `propose`, `amend` and
`transition` are the only ways in which a project comes about or changes; all are pure.
"""

from collections.abc import Callable, Mapping
from datetime import date, datetime
from decimal import Decimal
from math import isfinite
from operator import attrgetter
from typing import Any
from urllib.parse import quote

import msgspec

from spawn.domain.errors import Conflict, FieldError, IllegalTransition, InvalidInput
from spawn.domain.iso.countries import ALPHA_3
from spawn.domain.money import CONTEXT, fit
from spawn.domain.projects.extensions import check_extensions
from spawn.domain.projects.lifecycle import SUSPENDABLE, Status, status_of, steps_from
from spawn.domain.projects.milestones import (
    Milestone,
    MilestoneKind,
    check_milestones,
    is_open,
    open_conditions,
)
from spawn.domain.projects.parties import Sponsor, Spv, check_country, check_sponsors, check_spv
from spawn.domain.schemas.model import Value
from spawn.domain.text import check_line, check_prose, pointer_token, trimmed

__all__ = [
    "FIELDS",
    "ExternalRef",
    "Milestone",
    "MilestoneKind",
    "Project",
    "Reservation",
    "Sponsor",
    "Spv",
    "Status",
    "amend",
    "changed_fields",
    "draw_stops",
    "is_open",
    "open_conditions",
    "propose",
    "reference_id",
    "status_of",
    "steps_from",
    "transition",
]

MAX_NAME, MAX_KEY, MAX_SECTOR = 200, 64, 100
"""Characters of a name or title, of a key, and of a sector."""
MAX_REASON, MAX_DESCRIPTION = 1_000, 10_000
"""Characters of prose."""
MAX_ATTRIBUTE_TEXT = 65_536
"""Characters of a governed text, whatever its schema allows."""
MAX_REF_ID = 200
"""Characters of an id in another system."""
MAX_ATTRIBUTES = 500
"""Governed attributes of one project."""
MAX_MATURITY_YEARS = 99
INITIAL_STATUS_REASON = "initial status on creation"
"""The recorded reason of a first status other than PROPOSED, if none is given."""


class ExternalRef(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The project's key in another system; unique across projects."""

    source: str
    id: str


class Project(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A project. Version and times are the store's matter (`Stored`), not the aggregate's.

    `total_amount` is in major units of `currency_code`, ≥ 0, at most the currency's scale.
    `expected_irr` is a fraction per annum (0.095 is 9.5 %). `dscr` is a ratio.
    `attributes` holds governed values by canonical column name (absent ones are not keys);
    `extensions` the bounded JSON of `x_…` fields, as received; `hidden_attributes` the values of
    columns that the schema no longer has, kept with the project and not served.
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
    hidden_attributes: Mapping[str, Value] = msgspec.field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check every invariant and raise one `InvalidInput` naming all that are broken."""
        faults: list[FieldError] = []
        check_line(self.project_id, "/project_id", MAX_KEY, faults)
        check_line(self.project_name, "/project_name", MAX_NAME, faults)
        _check_amount(self, faults)
        _check_texts(self, faults)
        _check_measures(self, faults)
        _check_dates(self, faults)
        _check_status(self, faults)
        if self.spv is not None:
            check_spv(self.spv, faults)
        if self.sponsors:
            check_sponsors(self.sponsors, faults)
        if self.milestones:
            check_milestones(self.milestones, faults)
        if self.external_ref is not None:
            check_line(self.external_ref.source, "/external_ref/source", MAX_KEY, faults)
            check_line(self.external_ref.id, "/external_ref/id", MAX_REF_ID, faults)
        if self.attributes:
            check_attributes(self.attributes, faults)
        if self.hidden_attributes:
            check_attributes(self.hidden_attributes, faults)
        if self.extensions:
            check_extensions(self.extensions, faults)
        if faults:
            raise InvalidInput(faults)


class Reservation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which project holds an external reference; None once it was released.

    An aggregate of kind `external_ref` whose id is the `reference_id`: writing it in the change
    that sets the reference is what keeps references unique.
    """

    project_id: str | None


def reference_id(ref: ExternalRef) -> str:
    """The id of the reservation of a reference: no two references share one."""
    return f"{quote(ref.source, safe='')}:{ref.id}"


_MAPPINGS = frozenset({"attributes", "extensions", "hidden_attributes"})
FIELDS: tuple[str, ...] = tuple(n for n in Project.__struct_fields__ if n not in _MAPPINGS)
"""The core fields of a project, in document order."""

_SET_BY_TRANSITION = frozenset({"status_reason", "status_effective_on", "suspended_from"})
_AMENDABLE = frozenset(FIELDS) - _SET_BY_TRANSITION - {"project_id", "status"}
_CREATABLE = frozenset(FIELDS) - {"project_id", "suspended_from"}
_REQUIRED = ("project_name", "total_amount", "currency_code")
_RESERVED = frozenset(Project.__struct_fields__) | {"version", "created_at", "updated_at"}


def propose(
    *,
    project_id: str,
    fields: Mapping[str, object],
    attributes: Mapping[str, Value | None],
    extensions: Mapping[str, msgspec.Raw | None],
) -> Project:
    """A new project from its typed core fields by name; a None is the same as absence.

    Names are trimmed and alpha-2 countries become alpha-3. The status is PROPOSED by default; any
    other first status is recorded with a reason.

    Raises:
        InvalidInput: unknown or missing fields, or else every broken invariant at once.
    """
    values = _present(fields)
    faults = [_unknown(name) for name in values if name not in _CREATABLE]
    faults += [_required(name) for name in _REQUIRED[:2] if name not in values]
    if faults:
        raise InvalidInput(faults)
    _tidy(values)
    if "status" in values:
        values["status"] = status_of(values["status"])
        if values["status"] is not Status.PROPOSED:
            values.setdefault("status_reason", INITIAL_STATUS_REASON)
    return Project(
        project_id=project_id,
        attributes=_present(attributes),
        extensions=_present(extensions),
        **values,
    )


def amend(
    project: Project,
    fields: Mapping[str, object],
    attributes: Mapping[str, Value | None],
    extensions: Mapping[str, msgspec.Raw | None],
) -> Project:
    """The project after a merge patch: a value replaces, None removes, absence keeps.

    Lists and objects are replaced whole. A status equal to the present one is no change.

    Raises:
        InvalidInput: `use_transition` for the status and what goes with it, `required` for the
            removal of a required field, `unknown_field`, or every broken invariant at once.
    """
    faults = [fault for item in fields.items() if (fault := _amend_fault(project, *item))]
    if faults:
        raise InvalidInput(faults)
    values = {name: value for name, value in fields.items() if name != "status"}
    for name in ("sponsors", "milestones"):
        if name in values and values[name] is None:
            values[name] = ()
    _tidy(values)
    return msgspec.structs.replace(
        project,
        attributes=_merged(project.attributes, attributes),
        extensions=_merged(project.extensions, extensions),
        **values,
    )


def transition(
    project: Project,
    to: Status,
    *,
    reason: str,
    effective_on: date | None = None,
    debt_outstanding: Decimal = Decimal(0),
) -> Project:
    """The project after a step of the status machine, with its reason and business date.

    `debt_outstanding` is what remains of all its debt, in any one currency.

    Raises:
        InvalidInput: the reason is empty or unfit to keep, at `/reason`.
        IllegalTransition: there is no such step from the present status.
        Conflict: financial close with an open condition precedent, completion with debt.
    """
    _check_reason(reason)
    steps = steps_from(project.status, project.suspended_from)
    if to not in steps:
        choice = ", ".join(status for status in Status if status in steps) or "nowhere: it ended"
        raise IllegalTransition(f"{project.status} cannot become {to}; it may go to {choice}")
    if to is Status.FINANCIAL_CLOSE and (still_open := open_conditions(project.milestones)):
        names = ", ".join(milestone.milestone_id for milestone in still_open[:10])
        raise Conflict(f"{len(still_open)} conditions precedent are still open: {names}")
    if to is Status.COMPLETED and debt_outstanding != 0:
        raise Conflict(f"a project completes without debt; {debt_outstanding} is outstanding")
    return msgspec.structs.replace(
        project,
        status=to,
        status_reason=trimmed(reason),
        status_effective_on=effective_on,
        suspended_from=project.status if to is Status.SUSPENDED else None,
    )


def draw_stops(project: Project) -> tuple[Milestone, ...]:
    """What forbids a drawdown: every open milestone or condition marked `draw_stop`."""
    return tuple(m for m in project.milestones if m.draw_stop and is_open(m))


_VALUES = attrgetter(*FIELDS[1:])


def changed_fields(before: Project | None, after: Project) -> tuple[str, ...]:
    """Names of the fields that differ, in document order; of a new project, those it has."""
    if before is None:
        # An empty tuple counts as absent; comparing each value with one costs more than all else.
        given = zip(FIELDS[1:], _VALUES(after), strict=True)
        core = [n for n, v in given if v is not None and (v.__class__ is not tuple or v)]
        return (*core, *after.attributes, *after.extensions)
    core = [name for name in FIELDS if getattr(after, name) != getattr(before, name)]
    return (
        *core,
        *_differing(before.attributes, after.attributes),
        *_differing(before.extensions, after.extensions),
    )


def _differing(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    names = dict.fromkeys((*after, *before))
    return [name for name in names if before.get(name) != after.get(name)]


def _merged(before: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    return _present({**before, **patch}) if patch else dict(before)


def _present(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _amend_fault(project: Project, name: str, value: object) -> FieldError | None:
    if name == "status" and value == project.status:
        return None
    if name == "status" or name in _SET_BY_TRANSITION:
        return FieldError(f"/{name}", "use_transition", "changes by a transition only")
    if name not in _AMENDABLE:
        return _unknown(name)
    if value is None and name in _REQUIRED:
        return _required(name)
    return None


def _unknown(name: str) -> FieldError:
    return FieldError(f"/{pointer_token(name)}", "unknown_field", "is not a field that can be set")


def _required(name: str) -> FieldError:
    return FieldError(f"/{name}", "required", "is required")


def _tidy(values: dict[str, Any]) -> None:
    """Trim names and bring countries to alpha-3; what cannot be read stays, to be refused."""
    if values.get("project_name") is not None:
        values["project_name"] = trimmed(values["project_name"])
    if values.get("country_code") is not None:
        values["country_code"] = ALPHA_3.get(values["country_code"], values["country_code"])
    if spv := values.get("spv"):
        code = ALPHA_3.get(spv.country_code, spv.country_code)
        values["spv"] = msgspec.structs.replace(spv, name=trimmed(spv.name), country_code=code)
    if sponsors := values.get("sponsors"):
        values["sponsors"] = tuple(
            msgspec.structs.replace(sponsor, name=trimmed(sponsor.name)) for sponsor in sponsors
        )
    if milestones := values.get("milestones"):
        values["milestones"] = tuple(
            msgspec.structs.replace(m, title=trimmed(m.title)) for m in milestones
        )


def _check_reason(reason: str) -> None:
    faults: list[FieldError] = []
    check_prose(reason, "/reason", MAX_REASON, faults)
    if not reason.strip():
        faults.append(FieldError("/reason", "empty", "a transition needs a reason"))
    if faults:
        raise InvalidInput(faults)


def _check_amount(project: Project, faults: list[FieldError]) -> None:
    try:
        amount = fit(
            project.total_amount,
            project.currency_code,
            pointer="/total_amount",
            currency_pointer="/currency_code",
        )
    except InvalidInput as error:
        faults.extend(error.errors)
        return
    if amount < 0:
        faults.append(FieldError("/total_amount", "out_of_range", "must not be negative"))
    # Held at the currency's scale, so that equal projects have equal documents.
    msgspec.structs.force_setattr(project, "total_amount", amount)


def _check_texts(project: Project, faults: list[FieldError]) -> None:
    if project.description is not None:
        check_prose(project.description, "/description", MAX_DESCRIPTION, faults)
    if project.sector is not None:
        check_prose(project.sector, "/sector", MAX_SECTOR, faults)
    if project.status_reason is not None:
        check_prose(project.status_reason, "/status_reason", MAX_REASON, faults)
    if project.country_code is not None:
        check_country(project.country_code, "/country_code", faults)


_Bounds = tuple[Decimal, Decimal, Decimal]
"""From, below, and the finest step."""
_IRR_BOUNDS: _Bounds = (Decimal(-1), Decimal("1E+8"), Decimal("1E-10"))
_DSCR_BOUNDS: _Bounds = (Decimal("-1E+10"), Decimal("1E+10"), Decimal("1E-8"))


def _check_measures(project: Project, faults: list[FieldError]) -> None:
    years = project.maturity_years
    if years is not None and not 1 <= years <= MAX_MATURITY_YEARS:
        faults.append(
            FieldError("/maturity_years", "out_of_range", f"must be 1 to {MAX_MATURITY_YEARS}")
        )
    if project.expected_irr is not None:
        _check_ratio(project.expected_irr, "/expected_irr", _IRR_BOUNDS, faults)
    if project.dscr is not None:
        _check_ratio(project.dscr, "/dscr", _DSCR_BOUNDS, faults)


def _check_ratio(value: Decimal, pointer: str, bounds: _Bounds, faults: list[FieldError]) -> None:
    low, limit, quantum = bounds
    if not value.is_finite():
        faults.append(FieldError(pointer, "not_finite", "must be a finite number"))
    elif not low <= value < limit:
        faults.append(
            FieldError(pointer, "out_of_range", f"must be from {low:f} to below {limit:f}")
        )
    elif value.quantize(quantum, None, CONTEXT) != value:
        places = -quantum.adjusted()
        faults.append(FieldError(pointer, "too_precise", f"must have at most {places} decimals"))


def _check_dates(project: Project, faults: list[FieldError]) -> None:
    earlier, earlier_name = project.financial_close_date, "financial_close_date"
    for name, day in (("cod_date", project.cod_date), ("end_date", project.end_date)):
        if day is None:
            continue
        if earlier is not None and day < earlier:
            detail = f"must not be before {earlier_name}"
            faults.append(FieldError(f"/{name}", "date_order", detail))
        earlier, earlier_name = day, name


def _check_status(project: Project, faults: list[FieldError]) -> None:
    if project.status is Status.FINANCIAL_CLOSE and open_conditions(project.milestones):
        detail = "financial close allows no open condition precedent"
        faults.append(FieldError("/milestones", "open_condition", detail))
    origin = project.suspended_from
    if origin is None:
        return
    if project.status is not Status.SUSPENDED or origin not in SUSPENDABLE:
        detail = "goes with SUSPENDED and is CONSTRUCTION or OPERATION"
        faults.append(FieldError("/suspended_from", "out_of_range", detail))


_INT_LIMIT = 2**63
_MAX_DIGITS = 38


def check_attributes(attributes: Mapping[str, Value], faults: list[FieldError]) -> None:
    """Append what no schema allows in governed values: unstorable, endless, unbounded ones."""
    if len(attributes) > MAX_ATTRIBUTES:
        faults.append(FieldError("", "too_many", f"at most {MAX_ATTRIBUTES} governed attributes"))
        return
    for name, value in attributes.items():
        if name in _RESERVED or name[:2] == "x_":
            faults.append(_unknown(name))
        elif value.__class__ is not str or len(value) > MAX_ATTRIBUTE_TEXT:
            fault = _VALUE_FAULTS.get(value.__class__, _unsupported)(value)
            if fault is not None:
                faults.append(FieldError(f"/{pointer_token(name)}", *fault))
        elif not value.isprintable():
            check_prose(value, f"/{pointer_token(name)}", MAX_ATTRIBUTE_TEXT, faults)


_Fault = tuple[str, str] | None


def _decimal_fault(value: Decimal) -> _Fault:
    if not value.is_finite():
        return "not_finite", "must be a finite number"
    # Eight more characters than digits: a sign, a point and an exponent such as E-38.
    if abs(value.adjusted()) > _MAX_DIGITS or len(str(value)) > _MAX_DIGITS + 8:
        return "out_of_range", f"must have at most {_MAX_DIGITS} digits"
    return None


def _float_fault(value: float) -> _Fault:
    return None if isfinite(value) else ("not_finite", "must be a finite number")


def _integer_fault(value: int) -> _Fault:
    within = -_INT_LIMIT <= value < _INT_LIMIT
    return None if within else ("out_of_range", "must fit into 64 bits")


def _instant_fault(value: datetime) -> _Fault:
    return None if value.tzinfo is not None else ("naive_time", "must have an offset")


def _text_fault(value: str) -> _Fault:
    return "too_long", f"must have at most {MAX_ATTRIBUTE_TEXT} characters; it has {len(value)}"


def _no_fault(_: Value) -> _Fault:
    return None


def _unsupported(value: object) -> _Fault:
    return "unsupported", f"a {type(value).__name__} is no value of an attribute"


_VALUE_FAULTS: dict[type, Callable[[Any], _Fault]] = {
    bool: _no_fault,
    date: _no_fault,
    datetime: _instant_fault,
    Decimal: _decimal_fault,
    float: _float_fault,
    int: _integer_fault,
    str: _text_fault,
}
