"""A synthetic portfolio: seeded, plausible, and written through the ordinary use cases.

Figures follow what is known of project finance: total cost is lognormal (median 104 m USD,
sigma 1.57), tenors run 10-18 years, coverage targets, overruns and delays depend on the sector.
Names of companies and places are made up or merely geographical; no real project is meant.
"""

import asyncio
import math
import random
from collections.abc import Iterator
from datetime import date, timedelta
from decimal import ROUND_HALF_EVEN, Decimal

import msgspec

from spawn.application.dependencies import Services
from spawn.application.projects.commands import create_project, transition_project
from spawn.domain.errors import Duplicate
from spawn.domain.money import CURRENCIES
from spawn.domain.principal import Principal
from spawn.domain.projects.project import (
    ExternalRef,
    Milestone,
    MilestoneKind,
    Sponsor,
    Spv,
    Status,
)
from spawn.domain.schemas.validator import Attributes

SOURCE = "spawn.sample"
"""The external references of the sample: seeding twice adds nothing."""

TODAY = date(2026, 1, 1)
"""The day that statuses are seen from: fixed, so that one seed makes one portfolio."""

MEDIAN_SIZE_USD = 104e6
SIZE_SIGMA = 1.57
MEDIAN_DELAY_YEARS = 1.5
_WRITERS = 16
_DAYS_PER_YEAR = 365.25


class Sector(msgspec.Struct, frozen=True, kw_only=True):
    """What projects of a sector have in common.

    `share` of the portfolio; `dscr` the median target; `overrun` the mean excess of cost over
    budget; `build_years` planned construction; `irr` the mean expected return per annum.
    """

    name: str
    noun: str
    share: float
    dscr: float
    overrun: float
    build_years: float
    irr: float


SECTORS = (
    Sector(
        name="Solar", noun="Solar", share=30, dscr=1.20, overrun=0.01, build_years=1.0, irr=0.075
    ),
    Sector(
        name="Wind", noun="Wind Farm", share=25, dscr=1.40, overrun=0.13, build_years=1.5, irr=0.08
    ),
    Sector(
        name="Offshore wind",
        noun="Offshore Wind Farm",
        share=8,
        dscr=1.50,
        overrun=0.13,
        build_years=2.5,
        irr=0.085,
    ),
    Sector(
        name="Hydro", noun="Hydro", share=9, dscr=1.80, overrun=0.30, build_years=4.0, irr=0.095
    ),
    Sector(
        name="Road", noun="Motorway", share=12, dscr=1.35, overrun=0.24, build_years=3.0, irr=0.105
    ),
    Sector(
        name="Rail", noun="Rail Link", share=8, dscr=1.30, overrun=0.39, build_years=5.0, irr=0.1
    ),
    Sector(name="Dam", noun="Dam", share=8, dscr=1.60, overrun=0.96, build_years=6.0, irr=0.11),
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
"""Country → currency, units of it to a US dollar (rough), and place names."""

COMPANIES = (
    *("Meridian Infrastructure", "Northgate Capital", "Aurora Renewables", "Blue Basin Energy"),
    *("Cobalt Concessions", "Tern Utilities", "Halyard Partners", "Kestrel Power"),
    *("Longreach Pension Fund", "Orchard Asset Management", "Stonebridge Transport"),
    *("Vantage Water", "Pinecrest Holdings", "Sable Point Developers", "Lighthouse Equity"),
)

_CONDITIONS = ("Land rights", "Environmental permit", "Offtake contract", "Equity bridge signed")


class Step(msgspec.Struct, frozen=True):
    """A transition on the way to where the project stands."""

    to: Status
    reason: str
    effective_on: date


class Sample(msgspec.Struct, frozen=True):
    """One synthetic project: what it is created with, and its steps since."""

    attributes: Attributes
    steps: tuple[Step, ...]


async def seed_portfolio(
    services: Services, principal: Principal, *, projects: int = 500, seed: int = 1
) -> int:
    """Write a synthetic portfolio; the number of projects that were not there before."""
    room = asyncio.Semaphore(_WRITERS)

    async def write(sample: Sample) -> int:
        async with room:
            return await _write(services, principal, sample)

    samples = synthetic_portfolio(projects, seed)
    return sum(await asyncio.gather(*(write(sample) for sample in samples)))


async def _write(services: Services, principal: Principal, sample: Sample) -> int:
    try:
        outcome = await create_project(services, principal, attributes=sample.attributes)
    except Duplicate:
        return 0
    if outcome.stored is not None:
        for step in sample.steps:
            await transition_project(
                services,
                principal,
                outcome.stored.id,
                to=step.to,
                reason=step.reason,
                effective_on=step.effective_on,
            )
    return 1


def synthetic_portfolio(projects: int, seed: int) -> Iterator[Sample]:
    """The samples of a seed, always the same."""
    draw = random.Random(seed)  # noqa: S311 - a portfolio to look at, no secret
    names: dict[str, int] = {}
    for number in range(1, projects + 1):
        yield _sample(draw, number, names)


class _Life(msgspec.Struct, frozen=True, kw_only=True):
    """The days of a project: as planned at close, and as they came."""

    close: date
    planned_cod: date
    cod: date
    end: date
    tenor_years: int


def _sample(draw: random.Random, number: int, names: dict[str, int]) -> Sample:
    sector = draw.choices(SECTORS, [sector.share for sector in SECTORS])[0]
    country = draw.choice(sorted(COUNTRIES))
    life = _life(draw, sector)
    name = _name(draw, sector, country, names)
    started = life.close <= TODAY
    core: dict[str, object] = {
        "project_name": name,
        "sector": sector.name,
        "country_code": country,
        "maturity_years": life.tenor_years,
        "expected_irr": _rate(draw.gauss(sector.irr, 0.012), "0.0001"),
        "dscr": _rate(max(1.05, draw.gauss(sector.dscr, 0.06)), "0.01"),
        "financial_close_date": life.close,
        "cod_date": life.cod if started else life.planned_cod,
        "end_date": life.end,
        "spv": Spv(name=f"{name} SPV", country_code=country),
        "sponsors": _sponsors(draw),
        "milestones": _milestones(draw, life),
        "external_ref": ExternalRef(source=SOURCE, id=f"{seed_id(number)}"),
        "description": f"{sector.name} project, {life.tenor_years}-year tenor. Synthetic sample.",
    }
    extensions = _size(draw, sector, country, core, started=started)
    extensions["x_equity_share"] = _raw(str(_rate(draw.uniform(0.2, 0.4), "0.001")))
    if started:
        extensions["x_planned_cod_date"] = _raw(f'"{life.planned_cod.isoformat()}"')
    return Sample(Attributes(core, {}, dict(extensions)), tuple(_steps(draw, life)))


def seed_id(number: int) -> str:
    """The reference of the sample's project `number`."""
    return f"P{number:05d}"


def _life(draw: random.Random, sector: Sector) -> _Life:
    close = date(2008, 1, 1) + timedelta(days=draw.randrange(int(20 * _DAYS_PER_YEAR)))
    build_days = sector.build_years * _DAYS_PER_YEAR * draw.uniform(0.8, 1.2)
    planned = close + timedelta(days=round(build_days))
    late = draw.random() < 0.5  # noqa: PLR2004 - half of all projects are late at all
    delay_years = MEDIAN_DELAY_YEARS * math.exp(draw.gauss(0, 0.5)) if late else 0.0
    tenor = draw.randint(10, 18)
    return _Life(
        close=close,
        planned_cod=planned,
        cod=planned + timedelta(days=round(delay_years * _DAYS_PER_YEAR)),
        end=planned + timedelta(days=round((tenor + draw.choice((2, 5, 10))) * _DAYS_PER_YEAR)),
        tenor_years=tenor,
    )


def _name(draw: random.Random, sector: Sector, country: str, names: dict[str, int]) -> str:
    name = f"{draw.choice(COUNTRIES[country][2])} {sector.noun}"
    names[name] = names.get(name, 0) + 1
    return name if names[name] == 1 else f"{name} {names[name]}"


def _size(
    draw: random.Random,
    sector: Sector,
    country: str,
    core: dict[str, object],
    *,
    started: bool,
) -> dict[str, msgspec.Raw | None]:
    """Put currency and cost into `core`; the budget goes into an extension."""
    code, per_usd, _ = COUNTRIES[country]
    budget = MEDIAN_SIZE_USD * math.exp(draw.gauss(0, SIZE_SIGMA)) * per_usd
    excess = max(-0.1, draw.gauss(sector.overrun, 0.15)) if started else 0.0
    scale = Decimal(1).scaleb(-(CURRENCIES[code].exponent or 0))
    core["currency_code"] = code
    core["total_amount"] = _round_sum(budget * (1 + excess)).quantize(scale)
    return {"x_budget_amount": _raw(f'"{_round_sum(budget).quantize(scale)}"')}


def _round_sum(amount: float) -> Decimal:
    """To three significant digits, as budgets are quoted."""
    exact = Decimal(round(amount))
    return exact.quantize(Decimal(1).scaleb(exact.adjusted() - 2), ROUND_HALF_EVEN)


def _rate(value: float, quantum: str) -> Decimal:
    return Decimal(repr(value)).quantize(Decimal(quantum), ROUND_HALF_EVEN)


def _raw(text: str) -> msgspec.Raw:
    return msgspec.Raw(text.encode())


def _sponsors(draw: random.Random) -> tuple[Sponsor, ...]:
    names = draw.sample(COMPANIES, draw.choice((1, 2, 2, 3)))
    if len(names) == 1:
        return (Sponsor(name=names[0], share=Decimal(100)),)
    shares = [Decimal(draw.randrange(20, 35)) for _ in names[1:]]
    shares.insert(0, Decimal(100) - sum(shares))
    return tuple(Sponsor(name=n, share=s) for n, s in zip(names, shares, strict=True))


def _milestones(draw: random.Random, life: _Life) -> tuple[Milestone, ...]:
    """Conditions precedent, met before close where that lies behind, and the two great days."""
    found = []
    for index, title in enumerate(draw.sample(_CONDITIONS, 3)):
        due = life.close - timedelta(days=30 * (index + 1))
        found.append(
            Milestone(
                milestone_id=f"cp-{index + 1}",
                title=title,
                kind=MilestoneKind.CONDITION_PRECEDENT,
                due_date=due,
                met_on=due if life.close <= TODAY else None,
                draw_stop=True,
            )
        )
    done = life.cod if life.cod <= TODAY else None
    found.append(
        Milestone(
            milestone_id="cod", title="Commercial operation", due_date=life.planned_cod, met_on=done
        )
    )
    return tuple(found)


def _steps(draw: random.Random, life: _Life) -> Iterator[Step]:
    """The way from proposal to where the project stands today."""
    mandate = life.close - timedelta(days=draw.randrange(180, 500))
    chance = draw.random()
    if mandate > TODAY:
        if chance < 0.05:  # noqa: PLR2004 - one proposal in twenty comes to nothing
            yield Step(Status.CANCELLED, "Offtake not secured", TODAY)
        return
    yield Step(Status.MANDATED, "Lead arrangers mandated", mandate)
    if life.close > TODAY:
        return
    yield Step(Status.FINANCIAL_CLOSE, "All conditions precedent met", life.close)
    start = life.close + timedelta(days=60)
    if start > TODAY:
        return
    yield Step(Status.CONSTRUCTION, "Notice to proceed", start)
    if life.cod > TODAY:
        if chance < 0.06:  # noqa: PLR2004 - a few sites stand still
            yield Step(Status.SUSPENDED, "Works suspended by the authority", TODAY)
        return
    yield Step(Status.OPERATION, "Commercial operation certified", max(start, life.cod))
    if life.end <= TODAY:
        yield Step(Status.COMPLETED, "Debt repaid", life.end)
    elif chance < 0.03:  # noqa: PLR2004 - the long-run rate of default
        yield Step(Status.DEFAULTED, "Payment missed", TODAY)
