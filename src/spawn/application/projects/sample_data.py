"""Synthetic sample projects: seeded, plausible, written through the ordinary use cases.

Figures follow the project finance literature: total cost is lognormal (median 104 m USD,
sigma 1.57), tenors are 10-18 years, coverage targets, overruns and delays depend on the sector.
Company names are fictitious and places are geographical; no real project is meant.
"""

import asyncio
import math
import random
from collections.abc import Iterator, Sequence
from datetime import date, timedelta
from decimal import ROUND_HALF_EVEN, Decimal

import msgspec

from spawn.application.dependencies import Dependencies
from spawn.application.projects.commands import create_project, transition_project
from spawn.domain.errors import Duplicate
from spawn.domain.money import CURRENCIES
from spawn.domain.principal import Principal
from spawn.domain.projects.project import (
    ExternalRef,
    Milestone,
    MilestoneKind,
    ProjectStatus,
    Sponsor,
    Spv,
)
from spawn.domain.schemas.validator import ProjectInput

SOURCE = "spawn.sample"
"""Source of the samples' external references, so that seeding twice adds nothing."""

TODAY = date(2026, 1, 1)
"""Date of all statuses; fixed, so that a seed always yields the same projects."""

MEDIAN_SIZE_USD = 104e6
SIZE_SIGMA = 1.57
MEDIAN_DELAY_YEARS = 1.5
_CONCURRENT_WRITES = 16
_DAYS_PER_YEAR = 365.25


class SectorProfile(msgspec.Struct, frozen=True, kw_only=True):
    """Parameters of the projects of a sector.

    `share` is the weight in the sample, `dscr` the median target, `overrun` the mean excess of
    cost over budget, `build_years` the planned construction time and `irr` the mean expected
    return per annum.
    """

    name: str
    noun: str
    share: float
    dscr: float
    overrun: float
    build_years: float
    irr: float


SECTORS = (
    SectorProfile(
        name="Solar", noun="Solar", share=30, dscr=1.20, overrun=0.01, build_years=1.0, irr=0.075
    ),
    SectorProfile(
        name="Wind", noun="Wind Farm", share=25, dscr=1.40, overrun=0.13, build_years=1.5, irr=0.08
    ),
    SectorProfile(
        name="Offshore wind",
        noun="Offshore Wind Farm",
        share=8,
        dscr=1.50,
        overrun=0.13,
        build_years=2.5,
        irr=0.085,
    ),
    SectorProfile(
        name="Hydro", noun="Hydro", share=9, dscr=1.80, overrun=0.30, build_years=4.0, irr=0.095
    ),
    SectorProfile(
        name="Road", noun="Motorway", share=12, dscr=1.35, overrun=0.24, build_years=3.0, irr=0.105
    ),
    SectorProfile(
        name="Rail", noun="Rail Link", share=8, dscr=1.30, overrun=0.39, build_years=5.0, irr=0.1
    ),
    SectorProfile(
        name="Dam", noun="Dam", share=8, dscr=1.60, overrun=0.96, build_years=6.0, irr=0.11
    ),
)

COUNTRIES: dict[str, tuple[str, float, tuple[str, ...]]] = {
    "ESP": ("EUR", 0.92, ("Ebro", "Duero", "Tajo", "Sierra Morena", "Campo Alto", "Llano Claro")),
    "PRT": ("EUR", 0.92, ("Alentejo", "Douro", "Vale Verde", "Serra Branca", "Costa Clara")),
    "FRA": ("EUR", 0.92, ("Garonne", "Plateau Nord", "Val de Loire", "Beauce", "Causse Vert")),
    "DEU": ("EUR", 0.92, ("Elbtal", "Nordfeld", "Harzblick", "Weserland", "Ostsee")),
    "GBR": ("GBP", 0.79, ("Solway", "Fenland", "Moray", "Severn", "Pentland", "Wolds")),
    "POL": ("PLN", 3.95, ("Mazury", "Warta", "Kujawy", "Pomorze")),
    "USA": ("USD", 1.0, ("Mesa Grande", "Prairie", "High Plains", "Cedar Creek", "Gulf Bend")),
    "CAN": ("CAD", 1.36, ("Lac Clair", "Foothills", "Prairie North", "Spruce River")),
    "MEX": ("MXN", 17.5, ("Sonora", "Istmo", "Llano Seco", "Bajio")),
    "BRA": ("BRL", 5.1, ("Serra do Vento", "Sertao", "Rio Claro", "Chapada", "Lagoa Nova")),
    "CHL": ("CLP", 900.0, ("Atacama", "Pampa", "Cordillera", "Maule")),
    "ZAF": ("ZAR", 18.5, ("Karoo", "Highveld", "Kalahari", "Overberg")),
    "KEN": ("USD", 1.0, ("Turkana", "Rift Valley", "Tana")),
    "MAR": ("MAD", 10.0, ("Souss", "Draa", "Atlas", "Tarfaya")),
    "IND": ("INR", 83.0, ("Thar", "Deccan", "Kaveri", "Narmada", "Malwa")),
    "VNM": ("USD", 1.0, ("Mekong", "Ninh Hai", "Central Coast")),
    "IDN": ("USD", 1.0, ("Sumatra", "Java", "Sulawesi")),
    "JPN": ("JPY", 150.0, ("Tohoku", "Kyushu", "Akita", "Inland Sea")),
    "AUS": ("AUD", 1.52, ("Riverina", "Gibb Plain", "Darling", "Coral Range", "Nullarbor")),
    "PHL": ("PHP", 56.0, ("Luzon", "Visayas", "Mindanao")),
}
"""Country → currency, approximate units per US dollar, and place names."""

COMPANIES = (
    *("Meridian Infrastructure", "Northgate Capital", "Aurora Renewables", "Blue Basin Energy"),
    *("Cobalt Concessions", "Tern Utilities", "Halyard Partners", "Kestrel Power"),
    *("Longreach Pension Fund", "Orchard Asset Management", "Stonebridge Transport"),
    *("Vantage Water", "Pinecrest Holdings", "Sable Point Developers", "Lighthouse Equity"),
)

_CONDITIONS = ("Land rights", "Environmental permit", "Offtake contract", "Equity bridge signed")


class SampleTransition(msgspec.Struct, frozen=True):
    """A transition on the way to the current status."""

    to: ProjectStatus
    reason: str
    effective_on: date


class SampleProject(msgspec.Struct, frozen=True):
    """One synthetic project: its initial attributes and its transitions."""

    attributes: ProjectInput
    transitions: tuple[SampleTransition, ...]


async def seed_sample_projects(
    dependencies: Dependencies, principal: Principal, *, projects: int = 500, seed: int = 1
) -> int:
    """Create the sample projects and return the number of new ones."""
    semaphore = asyncio.Semaphore(_CONCURRENT_WRITES)

    async def write(sample: SampleProject) -> int:
        async with semaphore:
            project_id = await write_sample_project(dependencies, principal, sample)
            return int(project_id is not None)

    samples = generate_sample_projects(projects, seed)
    return sum(await asyncio.gather(*(write(sample) for sample in samples)))


async def write_sample_project(
    dependencies: Dependencies, principal: Principal, sample: SampleProject
) -> str | None:
    """Create a sample project in its current status; return its id, None if it is there already."""
    try:
        result = await create_project(dependencies, principal, attributes=sample.attributes)
    except Duplicate:
        return None
    if result.aggregate is None:
        return None
    await write_transitions(dependencies, principal, result.aggregate.id, sample.transitions)
    return result.aggregate.id


async def write_transitions(
    dependencies: Dependencies,
    principal: Principal,
    project_id: str,
    transitions: Sequence[SampleTransition],
) -> None:
    """Bring a sample project through transitions, one after the other."""
    for one in transitions:
        await transition_project(
            dependencies,
            principal,
            project_id,
            to=one.to,
            reason=one.reason,
            effective_on=one.effective_on,
        )


def generate_sample_projects(projects: int, seed: int) -> Iterator[SampleProject]:
    """Yield the sample projects of a seed, always the same ones."""
    rng = random.Random(seed)  # noqa: S311 - sample data, not a secret
    names: dict[str, int] = {}
    for number in range(1, projects + 1):
        yield _sample(rng, number, names)


class _Timeline(msgspec.Struct, frozen=True, kw_only=True):
    """Dates of a project, as planned at financial close and as they happened."""

    financial_close: date
    planned_cod: date
    cod: date
    end: date
    tenor_years: int


def _sample(rng: random.Random, number: int, names: dict[str, int]) -> SampleProject:
    sector = rng.choices(SECTORS, [sector.share for sector in SECTORS])[0]
    country = rng.choice(sorted(COUNTRIES))
    timeline = _timeline(rng, sector)
    name = _name(rng, sector, country, names)
    has_closed = timeline.financial_close <= TODAY
    core: dict[str, object] = {
        "project_name": name,
        "sector": sector.name,
        "country_code": country,
        "maturity_years": Decimal(timeline.tenor_years),
        "expected_irr": _rate(rng.gauss(sector.irr, 0.012), "0.0001"),
        "dscr": _rate(max(1.05, rng.gauss(sector.dscr, 0.06)), "0.01"),
        "financial_close_date": timeline.financial_close,
        "cod_date": timeline.cod if has_closed else timeline.planned_cod,
        "end_date": timeline.end,
        "spv": Spv(name=f"{name} SPV", country_code=country),
        "sponsors": _sponsors(rng),
        "milestones": _milestones(rng, timeline),
        "external_ref": ExternalRef(source=SOURCE, id=f"{sample_reference_id(number)}"),
        "description": (
            f"{sector.name} project, {timeline.tenor_years}-year tenor. Synthetic sample."
        ),
    }
    extensions = _add_cost(rng, sector, country, core, has_closed=has_closed)
    extensions["x_equity_share"] = _raw(str(_rate(rng.uniform(0.2, 0.4), "0.001")))
    if has_closed:
        extensions["x_planned_cod_date"] = _raw(f'"{timeline.planned_cod.isoformat()}"')
    return SampleProject(
        ProjectInput(core, {}, dict(extensions)), tuple(_transitions(rng, timeline))
    )


def sample_reference_id(number: int) -> str:
    """Return the external reference of the sample project `number`."""
    return f"P{number:05d}"


def _timeline(rng: random.Random, sector: SectorProfile) -> _Timeline:
    financial_close = date(2008, 1, 1) + timedelta(days=rng.randrange(int(20 * _DAYS_PER_YEAR)))
    build_days = sector.build_years * _DAYS_PER_YEAR * rng.uniform(0.8, 1.2)
    planned_cod = financial_close + timedelta(days=round(build_days))
    late = rng.random() < 0.5  # noqa: PLR2004 - half of all projects are late
    delay_years = MEDIAN_DELAY_YEARS * math.exp(rng.gauss(0, 0.5)) if late else 0.0
    tenor = rng.randint(10, 18)
    return _Timeline(
        financial_close=financial_close,
        planned_cod=planned_cod,
        cod=planned_cod + timedelta(days=round(delay_years * _DAYS_PER_YEAR)),
        end=planned_cod + timedelta(days=round((tenor + rng.choice((2, 5, 10))) * _DAYS_PER_YEAR)),
        tenor_years=tenor,
    )


def _name(rng: random.Random, sector: SectorProfile, country: str, names: dict[str, int]) -> str:
    name = f"{rng.choice(COUNTRIES[country][2])} {sector.noun}"
    names[name] = names.get(name, 0) + 1
    return name if names[name] == 1 else f"{name} {names[name]}"


def _add_cost(
    rng: random.Random,
    sector: SectorProfile,
    country: str,
    core: dict[str, object],
    *,
    has_closed: bool,
) -> dict[str, msgspec.Raw | None]:
    """Put currency and cost into `core`; return the budget as an extension."""
    code, per_usd, _ = COUNTRIES[country]
    budget = MEDIAN_SIZE_USD * math.exp(rng.gauss(0, SIZE_SIGMA)) * per_usd
    excess = max(-0.1, rng.gauss(sector.overrun, 0.15)) if has_closed else 0.0
    scale = Decimal(1).scaleb(-(CURRENCIES[code].exponent or 0))
    core["currency_code"] = code
    core["total_amount"] = _round_sum(budget * (1 + excess)).quantize(scale)
    return {"x_budget_amount": _raw(f'"{_round_sum(budget).quantize(scale)}"')}


def _round_sum(amount: float) -> Decimal:
    """Round to three significant digits, as budgets are quoted."""
    exact = Decimal(round(amount))
    return exact.quantize(Decimal(1).scaleb(exact.adjusted() - 2), ROUND_HALF_EVEN)


def _rate(value: float, quantum: str) -> Decimal:
    return Decimal(repr(value)).quantize(Decimal(quantum), ROUND_HALF_EVEN)


def _raw(text: str) -> msgspec.Raw:
    return msgspec.Raw(text.encode())


def _sponsors(rng: random.Random) -> tuple[Sponsor, ...]:
    names = rng.sample(COMPANIES, rng.choice((1, 2, 2, 3)))
    if len(names) == 1:
        return (Sponsor(name=names[0], share=Decimal(100)),)
    shares = [Decimal(rng.randrange(20, 35)) for _ in names[1:]]
    shares.insert(0, Decimal(100) - sum(shares))
    return tuple(Sponsor(name=n, share=s) for n, s in zip(names, shares, strict=True))


def _milestones(rng: random.Random, timeline: _Timeline) -> tuple[Milestone, ...]:
    """Return the conditions precedent, met before a past close, and commercial operation."""
    milestones = []
    for index, title in enumerate(rng.sample(_CONDITIONS, 3)):
        due = timeline.financial_close - timedelta(days=30 * (index + 1))
        milestones.append(
            Milestone(
                milestone_id=f"cp-{index + 1}",
                title=title,
                kind=MilestoneKind.CONDITION_PRECEDENT,
                due_date=due,
                met_on=due if timeline.financial_close <= TODAY else None,
                draw_stop=True,
            )
        )
    completed_on = timeline.cod if timeline.cod <= TODAY else None
    milestones.append(
        Milestone(
            milestone_id="cod",
            title="Commercial operation",
            due_date=timeline.planned_cod,
            met_on=completed_on,
        )
    )
    return tuple(milestones)


def _transitions(rng: random.Random, timeline: _Timeline) -> Iterator[SampleTransition]:
    """Yield the transitions from the proposal to the current status."""
    mandate = timeline.financial_close - timedelta(days=rng.randrange(180, 500))
    chance = rng.random()
    if mandate > TODAY:
        if chance < 0.05:  # noqa: PLR2004 - one proposal in twenty is cancelled
            yield SampleTransition(ProjectStatus.CANCELLED, "Offtake not secured", TODAY)
        return
    yield SampleTransition(ProjectStatus.MANDATED, "Lead arrangers mandated", mandate)
    if timeline.financial_close > TODAY:
        return
    yield SampleTransition(
        ProjectStatus.FINANCIAL_CLOSE, "All conditions precedent met", timeline.financial_close
    )
    start = timeline.financial_close + timedelta(days=60)
    if start > TODAY:
        return
    yield SampleTransition(ProjectStatus.CONSTRUCTION, "Notice to proceed", start)
    if timeline.cod > TODAY:
        if chance < 0.06:  # noqa: PLR2004 - a few sites are suspended
            yield SampleTransition(
                ProjectStatus.SUSPENDED, "Works suspended by the authority", TODAY
            )
        return
    yield SampleTransition(
        ProjectStatus.OPERATION, "Commercial operation certified", max(start, timeline.cod)
    )
    if timeline.end <= TODAY:
        yield SampleTransition(ProjectStatus.COMPLETED, "Debt repaid", timeline.end)
    elif chance < 0.03:  # noqa: PLR2004 - the long-run rate of default
        yield SampleTransition(ProjectStatus.DEFAULTED, "Payment missed", TODAY)
