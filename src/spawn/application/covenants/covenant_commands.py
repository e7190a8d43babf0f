"""Commands of covenants: create, amend, test, waive."""

from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal

import msgspec

from spawn.application.commands import Decision
from spawn.application.covenants.figure_sources import (
    FigureSource,
    RatioComputer,
    load_actual_figures,
    load_case_figures,
    refer_to_input,
)
from spawn.application.covenants.state_saving import (
    SavedState,
    StateDecision,
    check_expected_version,
    decide_state,
    require_project,
    save_state,
)
from spawn.application.dependencies import Dependencies, require
from spawn.application.projects.commands import CommandContext
from spawn.domain.change import StoredAggregate, Write
from spawn.domain.covenants.cfads_case import CASE_KIND, CASE_USED_EVENT, CaseStatus, mark_used
from spawn.domain.covenants.covenant_record import (
    COVENANT_TEST_KIND,
    MAX_TEST_REASON,
    TEST_RECORDED_EVENT,
    CovenantFigures,
    RecordedCovenantTest,
    list_amounts,
    outcome_of,
)
from spawn.domain.covenants.covenant_set import (
    COVENANT_AMENDED_EVENT,
    COVENANT_CREATED_EVENT,
    COVENANT_KIND,
    COVENANT_TESTED_EVENT,
    COVENANT_WAIVED_EVENT,
    CovenantSet,
    CovenantTermSheet,
    CovenantWaiver,
    RegisteredTest,
    add_waiver,
    amend_covenant,
    compare_with_levels,
    find_test,
    fold_standing,
    list_active_waivers,
    register_test,
)
from spawn.domain.covenants.exact_ratios import (
    CoverMetric,
    ExactRatio,
    format_fraction,
    format_ratio,
)
from spawn.domain.errors import FieldError, InvalidInput
from spawn.domain.events.event import DomainEvent
from spawn.domain.money import fit_amount
from spawn.domain.principal import Principal, Scope
from spawn.domain.text import check_prose


class CovenantTestOrder(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A test to carry out: the date, and the figures to test on.

    `case_id` names a case, `case_version` a used version of it; without a case the figures are the
    actuals, as they were recorded at `as_of`. `equity_cure` is added to the CFADS. `reason` is
    required for a date that was tested before.
    """

    tested_on: date
    figures: CovenantFigures
    case_id: str | None = None
    case_version: int | None = None
    as_of: datetime | None = None
    equity_cure: Decimal | None = None
    reason: str | None = None


async def create_covenant(
    dependencies: Dependencies,
    principal: Principal,
    project_id: str,
    terms: CovenantTermSheet,
    context: CommandContext,
) -> SavedState:
    """Create a covenant of a project under a new id.

    Raises:
        NotFound: no such project.
    """
    require(principal, Scope.FINANCE_WRITE)

    async def decide() -> StateDecision:
        await require_project(dependencies, project_id)
        key = dependencies.ids.new()
        covenant = CovenantSet(
            **msgspec.structs.asdict(terms), covenant_id=key, project_id=project_id
        )
        return decide_state(COVENANT_KIND, key, None, covenant, COVENANT_CREATED_EVENT)

    return await save_state(dependencies, principal, decide, context)


async def change_covenant(
    dependencies: Dependencies,
    principal: Principal,
    covenant_id: str,
    change_terms: Callable[[CovenantSet], CovenantTermSheet],
    reason: str | None,
    context: CommandContext,
) -> SavedState:
    """Change the terms of a covenant; earlier tests keep the levels of their day.

    Args:
        dependencies: the ports.
        principal: the caller.
        covenant_id: the covenant.
        change_terms: returns the new terms for the stored ones.
        reason: the reason of the change, for the history.
        context: of the command.

    Raises:
        NotFound: no such covenant.
        StaleVersion: the covenant is not at the expected version.
        InvalidInput: a rule of the terms is violated; each term is named.
    """
    require(principal, Scope.FINANCE_WRITE)

    async def decide() -> StateDecision:
        before = await _load(dependencies, covenant_id, context)
        after = amend_covenant(before.state, change_terms(before.state))
        return decide_state(
            COVENANT_KIND, covenant_id, before, after, COVENANT_AMENDED_EVENT, reason=reason
        )

    return await save_state(dependencies, principal, decide, context)


async def waive_covenant(
    dependencies: Dependencies,
    principal: Principal,
    covenant_id: str,
    build_waiver: Callable[[str], CovenantWaiver],
    context: CommandContext,
) -> SavedState:
    """Record a waiver of a covenant, granted by the lenders.

    Args:
        dependencies: the ports.
        principal: the caller, who records it.
        covenant_id: the covenant.
        build_waiver: returns the waiver for the id of the caller.
        context: of the command.

    Raises:
        NotFound: no such covenant.
        StaleVersion: the covenant is not at the expected version.
        InvalidInput: the waiver ends before it begins, or a text is invalid.
    """
    require(principal, Scope.FINANCE_WRITE)
    waiver = build_waiver(principal.id)

    async def decide() -> StateDecision:
        before = await _load(dependencies, covenant_id, context)
        after = add_waiver(before.state, waiver)
        return decide_state(
            COVENANT_KIND, covenant_id, before, after, COVENANT_WAIVED_EVENT, reason=waiver.reason
        )

    return await save_state(dependencies, principal, decide, context)


async def record_covenant_test(
    dependencies: Dependencies,
    principal: Principal,
    covenant_id: str,
    order: CovenantTestOrder,
    context: CommandContext,
) -> SavedState:
    """Test a covenant on a date and record the test; nothing changes it later.

    The register of the covenant and the use of the case are written in the same change, so that of
    two tests of a date at once the second knows the first.

    Raises:
        NotFound: no such covenant.
        InvalidInput: no test date, no such figures, a re-test without a reason, or a cure beyond
            the cure rights.
    """
    require(principal, Scope.FINANCE_WRITE)
    _check_order(order)

    async def decide() -> StateDecision:
        before = await _load(dependencies, covenant_id, context)
        source = await _load_figures(dependencies, before.state.project_id, order)
        return await _decide_test(dependencies, before, source, order)

    return await save_state(dependencies, principal, decide, context)


async def _load(
    dependencies: Dependencies, covenant_id: str, context: CommandContext
) -> StoredAggregate[CovenantSet]:
    before: StoredAggregate[CovenantSet] = await dependencies.reads.get(COVENANT_KIND, covenant_id)
    check_expected_version(before, context)
    return before


def _check_order(order: CovenantTestOrder) -> None:
    """Check that the members of an order belong together.

    Raises:
        InvalidInput: naming each member that does not.
    """
    errors: list[FieldError] = []
    is_case = order.figures is CovenantFigures.CASE
    if is_case and order.case_id is None:
        errors.append(FieldError("/case_id", "missing", "is required for the figures of a case"))
    others = ("as_of",) if is_case else ("case_id", "case_version")
    for name in others:
        if getattr(order, name) is not None:
            detail = f"does not go with the figures {order.figures}"
            errors.append(FieldError(f"/{name}", "not_applicable", detail))
    if order.equity_cure is not None and not order.equity_cure > 0:
        errors.append(FieldError("/equity_cure", "not_positive", "must be above 0"))
    if order.reason is not None:
        check_prose(order.reason, "/reason", MAX_TEST_REASON, errors)
    if errors:
        raise InvalidInput(errors)


async def _load_figures(
    dependencies: Dependencies, project_id: str, order: CovenantTestOrder
) -> FigureSource:
    if order.case_id is not None:
        return await load_case_figures(dependencies, project_id, order.case_id, order.case_version)
    return await load_actual_figures(dependencies, project_id, order.tested_on, order.as_of)


async def _decide_test(
    dependencies: Dependencies,
    before: StoredAggregate[CovenantSet],
    source: FigureSource,
    order: CovenantTestOrder,
) -> StateDecision:
    """Return the decision to record a test, register it and mark its case as used."""
    covenant = before.state
    cure = order.equity_cure or Decimal(0)
    if order.equity_cure is not None:
        cure = fit_amount(cure, source.currency_code, pointer="/equity_cure")
        if covenant.metric is not CoverMetric.DSCR:
            detail = "an equity cure adds to CFADS, which only a DSCR divides"
            raise InvalidInput.at("/equity_cure", "not_applicable", detail)
    ratio = RatioComputer(covenant, source).compute(order.tested_on, cure)
    follows = find_test(covenant, order.tested_on)
    if follows is not None and not (order.reason or "").strip():
        detail = f"is required: test {follows.test_id} is of this date, and this one follows it"
        raise InvalidInput.at("/reason", "required", detail)
    registered = RegisteredTest(
        test_id=dependencies.ids.new(),
        tested_on=order.tested_on,
        band=compare_with_levels(covenant, ratio.value),
        is_cured=order.equity_cure is not None,
    )
    after = register_test(covenant, registered)
    references = [await refer_to_input(dependencies, one) for one in (before, source.stored)]
    test = _build_test(before, after, registered, source, order, ratio)
    test = msgspec.structs.replace(
        test,
        follows=None if follows is None else follows.test_id,
        references=tuple(references),
    )
    return _write_test(before, after, test, source)


def _build_test(
    before: StoredAggregate[CovenantSet],
    after: CovenantSet,
    registered: RegisteredTest,
    source: FigureSource,
    order: CovenantTestOrder,
    ratio: ExactRatio,
) -> RecordedCovenantTest:
    """Return the record of a test, still without the test that it follows."""
    covenant, value = before.state, ratio.value
    is_case = source.kind == CASE_KIND
    window_starts_on, window_ends_on = ratio.window or (None, None)
    return RecordedCovenantTest(
        test_id=registered.test_id,
        project_id=covenant.project_id,
        covenant_id=covenant.covenant_id,
        covenant_version=before.version,
        metric=covenant.metric,
        definition_version=covenant.definition_version,
        tested_on=registered.tested_on,
        figures=order.figures,
        currency_code=source.currency_code,
        case_id=source.stored.id if is_case else None,
        case_version=source.stored.version if is_case else None,
        actuals_version=None if is_case else source.stored.version,
        actuals_as_of=None if is_case else source.stored.updated_at,
        window_starts_on=window_starts_on,
        window_ends_on=window_ends_on,
        formula=ratio.formula,
        inputs=list_amounts(ratio.inputs),
        ratio=None if value is None else format_fraction(value),
        printed_ratio=None if value is None else format_ratio(value),
        untested_reason=ratio.untested_reason,
        lockup_level=covenant.lockup_level,
        release_level=covenant.release_level,
        default_level=covenant.default_level,
        band=registered.band,
        outcome=outcome_of(registered.band, fold_standing(after, registered.tested_on)),
        is_waived=bool(list_active_waivers(covenant, registered.tested_on)),
        reason=order.reason,
    )


def _write_test(
    before: StoredAggregate[CovenantSet],
    after: CovenantSet,
    test: RecordedCovenantTest,
    source: FigureSource,
) -> StateDecision:
    """Return the change of a test; the draft of a case is written as used."""
    covenant_id = test.covenant_id
    tested_event = DomainEvent(
        type=COVENANT_TESTED_EVENT, kind=COVENANT_KIND, id=covenant_id, changed=("tests",)
    )
    writes = [Write(COVENANT_KIND, covenant_id, before.version, after)]
    events = [tested_event]
    stored = source.stored
    if source.kind == CASE_KIND and stored.state.status is CaseStatus.DRAFT:
        writes.append(Write(CASE_KIND, stored.id, stored.version, mark_used(stored.state)))
        events.append(
            DomainEvent(type=CASE_USED_EVENT, kind=CASE_KIND, id=stored.id, changed=("status",))
        )
    return decide_state(
        COVENANT_TEST_KIND,
        test.test_id,
        None,
        test,
        TEST_RECORDED_EVENT,
        reason=test.reason,
        beside=Decision(writes=tuple(writes), events=tuple(events)),
    )
