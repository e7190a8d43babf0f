"""Methods of the synchronous client for financing."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from spawn.client import calls
from spawn.client.calls import Operation, reading_response, to_params
from spawn.client.financing import (
    approvals,
    cases,
    covenants,
    exchange_rates,
    facilities,
    portfolios,
    stress,
)
from spawn.client.financing.approvals import ApprovalRecord, Verdict
from spawn.client.financing.cases import (
    ActualsDocument,
    ActualsRecord,
    CaseComparisonRecord,
    CaseDocument,
    CaseRecord,
    CaseReferenceDocument,
    CaseVarianceRecord,
    RecordedActualsRecord,
)
from spawn.client.financing.covenants import (
    ComplianceCertificateRecord,
    CovenantDocument,
    CovenantOutlookRecord,
    CovenantRecord,
    CovenantStateRecord,
    CovenantTestDocument,
    MilestoneDecisionDocument,
    MilestoneDocument,
    MilestoneListRecord,
    RecordedTestRecord,
    ReserveAccountDocument,
    ReserveAccountRecord,
    ReserveBalanceDocument,
    ReserveOnDayRecord,
    WaiverDocument,
)
from spawn.client.financing.exchange_rates import (
    FxConversionRecord,
    FxRateSetDocument,
    FxRateSetRecord,
)
from spawn.client.financing.facilities import (
    BalanceRecord,
    EntryFactsDocument,
    FacilityDocument,
    LedgerEntryRecord,
    LedgerState,
    ProjectFacilityRecord,
    RepaymentScheduleRecord,
    ResolveFacility,
    ReversalRequestDocument,
    StatementRecord,
)
from spawn.client.financing.financing_records import (
    Day,
    ExactNumber,
    Instant,
    get_report,
    post_document,
    read_item,
)
from spawn.client.financing.portfolios import (
    FlowPeriod,
    HoldingDocument,
    HoldingRecord,
    MaturityStep,
    PortfolioConcentrationRecord,
    PortfolioDocument,
    PortfolioExposureRecord,
    PortfolioForecastRecord,
    PortfolioRecord,
    ReportKey,
)
from spawn.client.financing.stress import PortfolioStressRecord, StressTermsDocument
from spawn.client.records import Json, ProjectRecord

T = TypeVar("T")


class FinancingMethods:
    """Facilities, portfolios, covenants and approvals of a service."""

    def _run(self, operation: Operation[T]) -> T:
        """Send the requests of an operation, and return its result."""
        raise NotImplementedError

    def _iterate(self, path: str, options: Mapping[str, Any]) -> Iterator[dict[str, Json]]:
        """Yield the items of a list, page by page."""
        raise NotImplementedError

    def _iterate_as(self, kind: type[T], path: str, options: Mapping[str, Any]) -> Iterator[T]:
        for item in self._iterate(path, options):
            with reading_response():
                record = read_item(kind, item)
            yield record

    # -- facilities -------------------------------------------------------------------------

    def iterate_facilities(
        self, project_id: str, *, limit: int = 500
    ) -> Iterator[ProjectFacilityRecord]:
        """Yield the facilities of a project, by rank and then as created, page by page."""
        path = facilities.project_facilities_path(project_id)
        return self._iterate_as(ProjectFacilityRecord, path, {"limit": limit})

    def get_facility(self, facility_id: str, **options: Any) -> ProjectFacilityRecord:
        """Return a facility; options are `as_of` and `schema_version`."""
        return self._run(facilities.get_facility(facility_id, options))

    def create_facility(
        self,
        project_id: str,
        terms: FacilityDocument | Mapping[str, Json],
        *,
        key: str | None = None,
    ) -> ProjectFacilityRecord:
        """Create a facility; a repetition with the same key returns the first result."""
        return self._run(facilities.create_facility(project_id, terms, key))

    def amend_facility(
        self,
        facility: ProjectFacilityRecord,
        changes: Mapping[str, Json],
        *,
        resolve: ResolveFacility | None = None,
        key: str | None = None,
    ) -> ProjectFacilityRecord:
        """Amend exactly this version; `resolve` and `key` are as in `update_project`.

        Raises:
            StaleVersionProblem: another change came first and nothing resolved it.
        """
        return self._run(facilities.amend_facility(facility, changes, resolve, key))

    def add_entry(
        self,
        facility_id: str,
        facts: EntryFactsDocument | Mapping[str, Json],
        *,
        based_on: LedgerState | None = None,
        key: str | None = None,
    ) -> LedgerEntryRecord:
        """Record an entry of the ledger of a facility, such as a draw or a payment.

        Args:
            facility_id: of the facility.
            facts: kind, value date, and what the kind needs.
            based_on: the balance or the last entry that the decision rests on: an entry that
                others recorded meanwhile is an error. Without it the ledger may have any.
            key: makes a repetition return the first result.

        Raises:
            StaleVersionProblem: the ledger has other entries than `based_on`.
        """
        return self._run(facilities.add_entry(facility_id, facts, based_on, key))

    def get_entry(self, facility_id: str, number: int) -> LedgerEntryRecord:
        """Return the entry of a number, from 1; its tag is that of the ledger now."""
        return self._run(facilities.get_entry(facility_id, number))

    def iterate_entries(
        self, facility_id: str, options: Mapping[str, Any] | None = None, *, limit: int = 500
    ) -> Iterator[LedgerEntryRecord]:
        """Yield entries as recorded; options are `kind` and `restated_since`."""
        path = facilities.entries_path(facility_id)
        return self._iterate_as(LedgerEntryRecord, path, {**(options or {}), "limit": limit})

    def reverse_entry(
        self,
        entry: LedgerEntryRecord,
        reversal: ReversalRequestDocument | Mapping[str, Json],
        *,
        based_on: LedgerState | None = None,
        key: str | None = None,
    ) -> LedgerEntryRecord:
        """Reverse an entry for a reason, and return the reversal; others are as in `add_entry`."""
        return self._run(facilities.reverse_entry(entry, reversal, based_on, key))

    def get_balance(
        self, facility_id: str, on: Day | None = None, *, as_of: Instant | None = None
    ) -> BalanceRecord:
        """Return the figures of a facility on a day (default: today), as known at `as_of`."""
        return self._run(facilities.get_balance(facility_id, {"on": on, "as_of": as_of}))

    def get_statement(
        self,
        facility_id: str,
        start: Day,
        end: Day | None = None,
        *,
        as_of: Instant | None = None,
    ) -> StatementRecord:
        """Return the statement from one day to another (default: today), both included."""
        path = f"{facilities.facility_path(facility_id)}/statement"
        options = {"from": start, "to": end, "as_of": as_of}
        return self._run(get_report(path, StatementRecord, options))

    def get_schedule(
        self, facility_id: str, on: Day | None = None, *, as_of: Instant | None = None
    ) -> RepaymentScheduleRecord:
        """Return what the terms and the entries up to a day (default: today) make due."""
        path = f"{facilities.facility_path(facility_id)}/schedule"
        options = {"on": on, "as_of": as_of}
        return self._run(get_report(path, RepaymentScheduleRecord, options))

    # -- portfolios -------------------------------------------------------------------------

    def iterate_portfolios(
        self, *, as_of: Instant | None = None, limit: int = 500
    ) -> Iterator[PortfolioRecord]:
        """Yield portfolios in order of creation, page by page."""
        options = {"as_of": as_of, "limit": limit}
        return self._iterate_as(PortfolioRecord, portfolios.PORTFOLIOS, options)

    def get_portfolio(self, portfolio_id: str, *, as_of: Instant | None = None) -> PortfolioRecord:
        """Return a portfolio, now or as recorded at an instant."""
        resource = portfolios.portfolio_resource(portfolio_id)
        return self._run(calls.get_resource(resource, to_params({"as_of": as_of})))

    def get_exposure(
        self, portfolio_id: str, by: ReportKey | Sequence[ReportKey] = "country", **options: Any
    ) -> PortfolioExposureRecord:
        """Return the exposure by keys; options are `on`, `as_of` and `currency`."""
        path = f"{portfolios.portfolio_path(portfolio_id)}/exposure"
        options = {**options, "by": portfolios.join_keys(by)}
        return self._run(get_report(path, PortfolioExposureRecord, options))

    def get_forecast(
        self, portfolio_id: str, interval: FlowPeriod = "year", **options: Any
    ) -> PortfolioForecastRecord:
        """Return the forecast by period; options are `by`, `on`, `as_of` and `currency`."""
        path = f"{portfolios.portfolio_path(portfolio_id)}/forecast"
        options = {**options, "interval": interval}
        return self._run(get_report(path, PortfolioForecastRecord, options))

    def get_maturity_ladder(
        self, portfolio_id: str, interval: FlowPeriod = "year", **options: Any
    ) -> tuple[MaturityStep, ...]:
        """Return what is repaid in each period, and what stays; options are as in the forecast."""
        forecast = self.get_forecast(portfolio_id, interval, **options)
        return forecast.build_maturity_ladder()

    def create_portfolio(
        self, terms: PortfolioDocument | Mapping[str, Json], *, key: str | None = None
    ) -> PortfolioRecord:
        """Create a portfolio; a repetition with the same key returns the first result."""
        return self._run(post_document(portfolios.PORTFOLIOS, PortfolioRecord, terms, key))

    def amend_portfolio(
        self,
        portfolio: PortfolioRecord,
        changes: Mapping[str, Json],
        *,
        resolve: Callable[[PortfolioRecord], Mapping[str, Json] | None] | None = None,
        key: str | None = None,
    ) -> PortfolioRecord:
        """Amend exactly this version; `resolve` and `key` are as in `update_project`.

        Raises:
            StaleVersionProblem: another change came first and nothing resolved it.
        """
        resource = portfolios.portfolio_resource(portfolio.portfolio_id)
        return self._run(calls.amend(resource, portfolio, changes, resolve, key))

    def iterate_holdings(
        self, portfolio_id: str, *, as_of: Instant | None = None, limit: int = 500
    ) -> Iterator[HoldingRecord]:
        """Yield the holdings of a portfolio in order of creation, page by page."""
        path = portfolios.holdings_path(portfolio_id)
        return self._iterate_as(HoldingRecord, path, {"as_of": as_of, "limit": limit})

    def get_holding(
        self, portfolio_id: str, holding_id: str, *, as_of: Instant | None = None
    ) -> HoldingRecord:
        """Return a holding, now or as recorded at an instant."""
        resource = portfolios.holding_resource(portfolio_id, holding_id)
        return self._run(calls.get_resource(resource, to_params({"as_of": as_of})))

    def add_holding(
        self,
        portfolio_id: str,
        terms: HoldingDocument | Mapping[str, Json],
        *,
        key: str | None = None,
    ) -> HoldingRecord:
        """Add a share of a facility, or of the equity of a project, to a portfolio."""
        path = portfolios.holdings_path(portfolio_id)
        return self._run(post_document(path, HoldingRecord, terms, key))

    def amend_holding(
        self,
        holding: HoldingRecord,
        changes: Mapping[str, Json],
        *,
        resolve: Callable[[HoldingRecord], Mapping[str, Json] | None] | None = None,
        key: str | None = None,
    ) -> HoldingRecord:
        """Amend exactly this version, such as its end by a sale; others are as for portfolios."""
        resource = portfolios.holding_resource(holding.portfolio_id, holding.holding_id)
        return self._run(calls.amend(resource, holding, changes, resolve, key))

    def remove_holding(self, holding: HoldingRecord, *, key: str | None = None) -> HoldingRecord:
        """Remove a holding that was recorded in error; its history remains."""
        return self._run(portfolios.remove_holding(holding, key))

    def get_concentration(
        self, portfolio_id: str, by: ReportKey | Sequence[ReportKey] = "country", **options: Any
    ) -> PortfolioConcentrationRecord:
        """Return the concentration by each key; options are `top`, `on`, `as_of`, `currency`."""
        path = f"{portfolios.portfolio_path(portfolio_id)}/concentration"
        options = {**options, "by": portfolios.join_keys(by)}
        return self._run(get_report(path, PortfolioConcentrationRecord, options))

    def stress_portfolio(
        self, portfolio_id: str, terms: StressTermsDocument | Mapping[str, Json], **options: Any
    ) -> PortfolioStressRecord:
        """Return a stress of debt service; options are `on`, `as_of` and `currency`.

        Nothing is stored: the same seed and `as_of` give the same result.
        """
        return self._run(stress.stress_portfolio(portfolio_id, terms, options))

    # -- exchange rates ---------------------------------------------------------------------

    def publish_fx_rates(self, rates: FxRateSetDocument | Mapping[str, Json]) -> FxRateSetRecord:
        """Publish the rates of a source on a day; equal rates again change nothing."""
        path = exchange_rates.FX_RATE_SETS
        return self._run(post_document(path, FxRateSetRecord, rates, None))

    def iterate_fx_rate_sets(self, **options: Any) -> Iterator[FxRateSetRecord]:
        """Yield sets of rates, newest first; options are `source`, `on`, `as_of` and `limit`."""
        return self._iterate_as(FxRateSetRecord, exchange_rates.FX_RATE_SETS, options)

    def get_fx_rate_set(self, set_id: str, **options: Any) -> FxRateSetRecord:
        """Return the newest revision of a set; options are `revision` and `as_of`."""
        path = exchange_rates.rate_set_path(set_id)
        return self._run(get_report(path, FxRateSetRecord, options))

    def convert_amount(
        self, amount: ExactNumber, source_currency: str, target_currency: str, **options: Any
    ) -> FxConversionRecord:
        """Return an amount in another currency.

        Options are `source` of the rates, which is required, `on`, `as_of` and `max_age_days`.
        """
        options = {**options, "amount": amount, "from": source_currency, "to": target_currency}
        return self._run(get_report(exchange_rates.FX_CONVERSION, FxConversionRecord, options))

    # -- cases and actuals ------------------------------------------------------------------

    def create_case(
        self,
        project_id: str,
        terms: CaseDocument | Mapping[str, Json],
        *,
        key: str | None = None,
    ) -> CaseRecord:
        """Create a case of a project; a repetition with the same key returns the first result."""
        path = cases.project_cases_path(project_id)
        return self._run(post_document(path, CaseRecord, terms, key))

    def iterate_cases(self, project_id: str, *, limit: int = 500) -> Iterator[CaseRecord]:
        """Yield the cases of a project, page by page."""
        path = cases.project_cases_path(project_id)
        return self._iterate_as(CaseRecord, path, {"limit": limit})

    def get_case(self, case_id: str, **options: Any) -> CaseRecord:
        """Return a case; options are `version` and `as_of`."""
        return self._run(calls.get_resource(cases.case_resource(case_id), to_params(options)))

    def revise_case(
        self, case: CaseRecord, changes: Mapping[str, Json], *, key: str | None = None
    ) -> CaseRecord:
        """Revise exactly this version of a case; a used one needs a `reason`."""
        resource = cases.case_resource(case.case_id)
        return self._run(calls.amend(resource, case, changes, None, key))

    def compare_cases(
        self, references: Sequence[CaseReferenceDocument | str]
    ) -> CaseComparisonRecord:
        """Return cases beside each other by period, with differences from the first one."""
        return self._run(cases.compare_cases(references))

    def get_case_variance(self, case_id: str, **options: Any) -> CaseVarianceRecord:
        """Return a case beside the actuals; options are `version`, `on` and `as_of`."""
        path = f"{cases.case_resource(case_id).path}/variance"
        return self._run(get_report(path, CaseVarianceRecord, options))

    def record_actuals(
        self,
        project_id: str,
        actuals: ActualsDocument | Mapping[str, Json],
        *,
        key: str | None = None,
    ) -> RecordedActualsRecord:
        """Record what a project has paid in periods."""
        path = cases.actuals_path(project_id)
        return self._run(post_document(path, RecordedActualsRecord, actuals, key))

    def get_actuals(self, project_id: str, **options: Any) -> ActualsRecord:
        """Return what a project has paid; options are `on` and `as_of`."""
        path = cases.actuals_path(project_id)
        return self._run(get_report(path, ActualsRecord, options))

    # -- covenants --------------------------------------------------------------------------

    def create_covenant(
        self,
        project_id: str,
        terms: CovenantDocument | Mapping[str, Json],
        *,
        key: str | None = None,
    ) -> CovenantRecord:
        """Create a covenant; a repetition with the same key returns the first result."""
        path = covenants.project_part_path(project_id, "covenants")
        return self._run(post_document(path, CovenantRecord, terms, key))

    def iterate_covenants(self, project_id: str, *, limit: int = 500) -> Iterator[CovenantRecord]:
        """Yield the covenants of a project, page by page."""
        path = covenants.project_part_path(project_id, "covenants")
        return self._iterate_as(CovenantRecord, path, {"limit": limit})

    def get_covenant(self, covenant_id: str, *, as_of: Instant | None = None) -> CovenantRecord:
        """Return a covenant, now or as recorded at an instant."""
        resource = covenants.covenant_resource(covenant_id)
        return self._run(calls.get_resource(resource, to_params({"as_of": as_of})))

    def amend_covenant(
        self, covenant: CovenantRecord, changes: Mapping[str, Json], *, key: str | None = None
    ) -> CovenantRecord:
        """Amend exactly this version of a covenant.

        Raises:
            StaleVersionProblem: another change came first, such as a test or a waiver.
        """
        resource = covenants.covenant_resource(covenant.covenant_id)
        return self._run(calls.amend(resource, covenant, changes, None, key))

    def test_covenant(
        self,
        covenant_id: str,
        test: CovenantTestDocument | Mapping[str, Json],
        *,
        key: str | None = None,
    ) -> RecordedTestRecord:
        """Record a test of a covenant on a date; one that was tested already needs a reason."""
        path = covenants.covenant_tests_path(covenant_id)
        return self._run(post_document(path, RecordedTestRecord, test, key))

    def iterate_covenant_tests(
        self, project_id: str, *, covenant_id: str | None = None, limit: int = 500
    ) -> Iterator[RecordedTestRecord]:
        """Yield the tests of a project, or of one of its covenants, page by page."""
        path = covenants.project_part_path(project_id, "covenant-tests")
        chosen = {} if covenant_id is None else {"covenant_id": covenant_id}
        return self._iterate_as(RecordedTestRecord, path, {**chosen, "limit": limit})

    def get_covenant_test(self, test_id: str) -> RecordedTestRecord:
        """Return a test with the versions that it rests on."""
        path = covenants.covenant_test_path(test_id)
        return self._run(get_report(path, RecordedTestRecord, {}))

    def waive_covenant(
        self,
        covenant: CovenantRecord,
        waiver: WaiverDocument | Mapping[str, Json],
        *,
        key: str | None = None,
    ) -> CovenantRecord:
        """Waive exactly this version of a covenant from one day to another."""
        return self._run(covenants.waive_covenant(covenant, waiver, key))

    def get_covenant_state(self, covenant_id: str, **options: Any) -> CovenantStateRecord:
        """Return a covenant on a day with its headroom; options are `on` and `as_of`."""
        path = f"{covenants.covenant_resource(covenant_id).path}/state"
        return self._run(get_report(path, CovenantStateRecord, options))

    def get_covenant_headroom(
        self, covenant_id: str, case_id: str, case_version: int | None = None
    ) -> CovenantOutlookRecord:
        """Return the headroom on each test date to come, by a case."""
        path = f"{covenants.covenant_resource(covenant_id).path}/headroom"
        options = {"case_id": case_id, "case_version": case_version}
        return self._run(get_report(path, CovenantOutlookRecord, options))

    def get_certificate(
        self, project_id: str, on: Day | None = None, *, as_of: Instant | None = None
    ) -> ComplianceCertificateRecord:
        """Return the compliance certificate of a project on a day (default: today)."""
        path = covenants.project_part_path(project_id, "compliance-certificate")
        options = {"on": on, "as_of": as_of}
        return self._run(get_report(path, ComplianceCertificateRecord, options))

    # -- reserve accounts and milestones ----------------------------------------------------

    def open_reserve_account(
        self,
        project_id: str,
        terms: ReserveAccountDocument | Mapping[str, Json],
        *,
        key: str | None = None,
    ) -> ReserveAccountRecord:
        """Open a reserve account of a project."""
        path = covenants.project_part_path(project_id, "reserve-accounts")
        return self._run(post_document(path, ReserveAccountRecord, terms, key))

    def iterate_reserve_accounts(
        self, project_id: str, *, limit: int = 500
    ) -> Iterator[ReserveAccountRecord]:
        """Yield the reserve accounts of a project, page by page."""
        path = covenants.project_part_path(project_id, "reserve-accounts")
        return self._iterate_as(ReserveAccountRecord, path, {"limit": limit})

    def get_reserve_account(self, account_id: str, **options: Any) -> ReserveOnDayRecord:
        """Return a reserve account on a day, with its target.

        Options are `on`, `as_of`, and `case_id` with `case_version`, of which the target comes.
        """
        path = covenants.reserve_account_path(account_id)
        return self._run(get_report(path, ReserveOnDayRecord, options))

    def record_reserve_balance(
        self,
        account_id: str,
        balance: ReserveBalanceDocument | Mapping[str, Json],
        *,
        key: str | None = None,
    ) -> ReserveAccountRecord:
        """Record the balance of a reserve account on a day."""
        path = f"{covenants.reserve_account_path(account_id)}/balances"
        return self._run(post_document(path, ReserveAccountRecord, balance, key))

    def get_milestones(self, project_id: str, **options: Any) -> MilestoneListRecord:
        """Return milestones and what is open; options are `on` and `as_of`."""
        path = covenants.project_part_path(project_id, "milestones")
        return self._run(get_report(path, MilestoneListRecord, options))

    def add_milestone(
        self,
        project: ProjectRecord,
        milestone: MilestoneDocument | Mapping[str, Json],
        *,
        key: str | None = None,
    ) -> ProjectRecord:
        """Add a milestone to exactly this version of a project."""
        return self._run(covenants.change_milestones(project, "milestones", milestone, key))

    def decide_milestone(
        self,
        project: ProjectRecord,
        decision: MilestoneDecisionDocument | Mapping[str, Json],
        *,
        key: str | None = None,
    ) -> ProjectRecord:
        """Meet, waive or reopen a milestone of exactly this version of a project."""
        return self._run(
            covenants.change_milestones(project, "milestones/decisions", decision, key)
        )

    # -- approvals --------------------------------------------------------------------------

    def iterate_approvals(self, **options: Any) -> Iterator[ApprovalRecord]:
        """Yield approvals, newest first; options are `state`, `maker`, `command` and `limit`."""
        return self._iterate_as(ApprovalRecord, approvals.APPROVALS, options)

    def get_approval(self, approval_id: str) -> ApprovalRecord:
        """Return an approval, with what its command changes."""
        return self._run(get_report(approvals.approval_path(approval_id), ApprovalRecord, {}))

    def decide_approval(
        self, approval_id: str, decision: Verdict, reason: str, *, key: str | None = None
    ) -> ApprovalRecord:
        """Approve or reject the command of another person, or withdraw your own."""
        path = f"{approvals.approval_path(approval_id)}/decision"
        document = {"decision": decision, "reason": reason}
        return self._run(post_document(path, ApprovalRecord, document, key))
