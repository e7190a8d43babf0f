"""HTTP route of the stress of a portfolio."""

from fractions import Fraction
from functools import cache
from typing import Annotated, Any, Final, Self

from msgspec import Meta

from spawn.application.portfolios.stress_reports import (
    CoverFigures,
    ProjectStress,
    StressReport,
    report_stress,
)
from spawn.application.struct_schemas import input_schema
from spawn.domain.finance.simulation.monte_carlo_case import DistributionSummary
from spawn.domain.json_tokens import parse_object
from spawn.domain.money import get_exponent
from spawn.domain.portfolios.debt_service_stress import (
    MAX_STRESS_SCENARIOS,
    LeftOutReason,
    StressTerms,
)
from spawn.domain.struct_reader import compile_reader
from spawn.entrypoints.http.portfolios.exposure_routes import REPORT_PARAMETERS, read_report_query
from spawn.entrypoints.http.portfolios.exposure_wire import format_units
from spawn.entrypoints.http.portfolios.fx_routes import READERS, TAG
from spawn.entrypoints.http.portfolios.fx_wire import AmountText, CurrencyCode, FxUseView
from spawn.entrypoints.http.portfolios.routes import PORTFOLIO
from spawn.entrypoints.http.protocol.operation import BODY_PROBLEMS, Body, Computed, Success
from spawn.entrypoints.http.protocol.request import StrictRequest
from spawn.entrypoints.http.protocol.route import Route, route
from spawn.entrypoints.http.wire import Count, Day, Instant, ResourceId, Version, WireStruct

_read_terms: Final = compile_reader(StressTerms)
_Probability = Annotated[float, Meta(ge=0, le=1)]


class ShortfallView(WireStruct, frozen=True, kw_only=True):
    """Debt service that is not covered: `pN` is not exceeded in N % of the scenarios."""

    mean: AmountText
    p50: AmountText
    p75: AmountText
    p90: AmountText
    p95: AmountText
    p99: AmountText

    @classmethod
    def of_summary(cls, summary: DistributionSummary, mean: int, currency_code: str) -> Self:
        """Return the wire form; the mean is in minor units, the percentiles are rounded to them."""
        scale = 10 ** get_exponent(currency_code)
        names = cls.__struct_fields__[1:]
        amounts = {name: round(Fraction(getattr(summary, name)) * scale) for name in names}
        texts = {name: format_units(units, currency_code) for name, units in amounts.items()}
        return cls(mean=format_units(mean, currency_code), **texts)


class CoverFiguresView(WireStruct, frozen=True, kw_only=True):
    """The cover of debt service over the scenarios; the base figures are without shocks.

    `uncovered_probability` is the share of scenarios in which CFADS is below the debt service of
    any period. `shortfall` is the portfolio's part of what is not covered, summed over periods.
    """

    base_min_dscr: float
    base_shortfall: AmountText
    min_dscr: DistributionSummary
    uncovered_probability: _Probability
    shortfall: ShortfallView

    @classmethod
    def of_figures(cls, figures: CoverFigures, currency_code: str) -> Self:
        """Return the wire form of figures."""
        return cls(
            base_min_dscr=figures.base_min_dscr,
            base_shortfall=format_units(figures.base_shortfall, currency_code),
            min_dscr=figures.min_dscr,
            uncovered_probability=figures.uncovered_probability,
            shortfall=ShortfallView.of_summary(
                figures.shortfall, figures.mean_shortfall, currency_code
            ),
        )


class ProjectStressView(WireStruct, frozen=True, kw_only=True):
    """The stress of a project, with the case and the days that it rests on."""

    project_id: ResourceId
    name: str
    case_id: ResourceId
    case_version: Version
    tested_from: Day
    tested_to: Day
    periods: Count
    figures: CoverFiguresView

    @classmethod
    def of_stress(cls, stress: ProjectStress, currency_code: str) -> Self:
        """Return the wire form of the stress of a project."""
        basis = stress.input
        return cls(
            project_id=basis.project.project_id,
            name=basis.project.project_name,
            case_id=basis.case.id,
            case_version=basis.case.version,
            tested_from=basis.tested_from,
            tested_to=basis.tested_to,
            periods=len(basis.claims),
            figures=CoverFiguresView.of_figures(stress.figures, currency_code),
        )


class LeftOutProjectView(WireStruct, frozen=True, kw_only=True):
    """A project that is not tested, with the reason."""

    project_id: ResourceId
    name: str
    reason: LeftOutReason
    detail: str


class PortfolioStressView(WireStruct, frozen=True, kw_only=True):
    """The stress of a portfolio on a day, as recorded at an instant.

    `total` has the lowest DSCR of any project and the sum of shortfalls of each scenario; it is
    null without a project that can be basis. Means and base shortfalls of the projects add up
    exactly to those of the total.
    """

    portfolio_id: ResourceId
    on: Day
    as_of: Instant
    currency_code: CurrencyCode
    fx: FxUseView | None
    scenarios: Count
    seed: int
    total: CoverFiguresView | None
    projects: tuple[ProjectStressView, ...]
    left_out: tuple[LeftOutProjectView, ...]

    @classmethod
    def of_report(cls, report: StressReport, terms: StressTerms) -> Self:
        """Return the wire form of a stress."""
        code, snapshot, total = report.currency_code, report.snapshot, report.total
        return cls(
            portfolio_id=snapshot.portfolio.id,
            on=snapshot.on,
            as_of=snapshot.as_of,
            currency_code=code,
            fx=None if report.fx is None else FxUseView.of_use(report.fx),
            scenarios=terms.scenarios,
            seed=terms.seed,
            total=None if total is None else CoverFiguresView.of_figures(total, code),
            projects=tuple(ProjectStressView.of_stress(one, code) for one in report.projects),
            left_out=tuple(map(LeftOutProjectView.of, report.left_out)),
        )


@cache
def _get_terms_schema() -> Any:
    return input_schema(StressTerms)


@route(
    "POST",
    PORTFOLIO + "/stress",
    "stressPortfolio",
    scopes=READERS,
    is_calculation=True,
    tag=TAG,
    summary="Stress the debt service of a portfolio",
    description=(
        "Draws scenarios of CFADS and interest rates as the simulation does, and sets the CFADS "
        "of the newest case of each project against the debt service of all its facilities after "
        f"the day. At most {MAX_STRESS_SCENARIOS} scenarios. Nothing is stored; the same request "
        "with the same `as_of` gives the same result. Projects that cannot be tested are left out "
        "with the reason."
    ),
    parameters=REPORT_PARAMETERS,
    body=Body(
        Computed(_get_terms_schema),
        example={
            "scenarios": 2000,
            "seed": 7,
            "shocks": {
                "cfads": {
                    "distribution": "lognormal",
                    "median": 1.0,
                    "sigma": 0.15,
                    "loadings": {"global": 0.3, "sector": 0.4},
                },
                "rates": {"distribution": "normal", "mean": 0.0, "standard_deviation": 0.01},
            },
        },
    ),
    returns=Success(PortfolioStressView, "The stress."),
    problems=("not_found", *BODY_PROBLEMS, "overloaded", "deadline_exceeded"),
)
async def post_stress(request: StrictRequest, portfolio_id: str) -> PortfolioStressView:
    """Return the stress of a portfolio."""
    query = read_report_query(request.query)
    terms: StressTerms = _read_terms(parse_object(await request.read_body()), "")
    report = await report_stress(
        request.dependencies,
        request.http_state.calculation_pool,
        request.principal,
        portfolio_id,
        terms,
        query,
    )
    return PortfolioStressView.of_report(report, terms)


ROUTES: Final[list[Route]] = [post_stress]
"""Routes of the stress of a portfolio."""
