"""The synthetic sample: the same projects for a seed, plausible figures, written once."""

import hashlib
from collections import Counter
from datetime import date
from decimal import Decimal
from functools import cache
from statistics import median
from typing import Any

import msgspec

from spawn.application.dependencies import Dependencies
from spawn.application.projects.sample_data import (
    COMPANIES,
    COUNTRIES,
    SOURCE,
    SampleProject,
    generate_sample_projects,
    sample_reference_id,
    seed_sample_projects,
)
from spawn.domain.principal import Principal
from spawn.domain.projects.project import PROJECT_KIND, Project, ProjectStatus
from spawn.domain.query import Query

DEMO = Principal(id="demo")

FIRST_OF_SEED_1 = """
{"core": {
  "project_name": "Spruce River Solar", "sector": "Solar", "country_code": "CAN",
  "maturity_years": "17", "expected_irr": "0.0763", "dscr": "1.17",
  "financial_close_date": "2013-09-20", "cod_date": "2014-07-26", "end_date": "2041-07-26",
  "spv": {
    "name": "Spruce River Solar SPV", "registration_number": null, "country_code": "CAN"},
  "sponsors": [{"name": "Lighthouse Equity", "share": "100"}],
  "milestones": [
    {"milestone_id": "cp-1", "title": "Equity bridge signed", "kind": "CONDITION_PRECEDENT",
     "due_date": "2013-08-21", "met_on": "2013-08-21", "waived_on": null, "draw_stop": true,
     "evidence": null},
    {"milestone_id": "cp-2", "title": "Environmental permit", "kind": "CONDITION_PRECEDENT",
     "due_date": "2013-07-22", "met_on": "2013-07-22", "waived_on": null, "draw_stop": true,
     "evidence": null},
    {"milestone_id": "cp-3", "title": "Land rights", "kind": "CONDITION_PRECEDENT",
     "due_date": "2013-06-22", "met_on": "2013-06-22", "waived_on": null, "draw_stop": true,
     "evidence": null},
    {"milestone_id": "cod", "title": "Commercial operation", "kind": "MILESTONE",
     "due_date": "2014-07-26", "met_on": "2014-07-26", "waived_on": null, "draw_stop": false,
     "evidence": null}],
  "external_ref": {"source": "spawn.sample", "id": "P00001"},
  "description": "Solar project, 17-year tenor. Synthetic sample.",
  "currency_code": "CAD", "total_amount": "84300000.00"},
 "extensions": {
  "x_budget_amount": "93600000.00", "x_equity_share": 0.360,
  "x_planned_cod_date": "2014-07-26"},
 "transitions": [
  {"to": "MANDATED", "reason": "Lead arrangers mandated", "effective_on": "2012-05-26"},
  {"to": "FINANCIAL_CLOSE", "reason": "All conditions precedent met",
   "effective_on": "2013-09-20"},
  {"to": "CONSTRUCTION", "reason": "Notice to proceed", "effective_on": "2013-11-19"},
  {"to": "OPERATION", "reason": "Commercial operation certified",
   "effective_on": "2014-07-26"}]}
"""

DIGEST_OF_SEED_1 = "cda6e5c728536129004968c42ad27cae0b9331cbfda05feede9fd54eba626335"
"""SHA-256 of the first 800 projects: whoever changes a figure on purpose writes it anew."""


def encode(sample: SampleProject) -> bytes:
    attributes = sample.attributes
    return msgspec.json.encode(
        {
            "core": attributes.core,
            "extensions": attributes.extensions,
            "transitions": sample.transitions,
        }
    )


@cache
def first_samples(number: int, seed: int = 1) -> list[SampleProject]:
    return list(generate_sample_projects(number, seed))


def amount_usd(sample: SampleProject) -> float:
    core: dict[str, Any] = sample.attributes.core
    return float(core["total_amount"]) / COUNTRIES[core["country_code"]][1]


def test_a_seed_always_yields_the_same_projects() -> None:
    samples = first_samples(800)
    assert msgspec.json.decode(encode(samples[0])) == msgspec.json.decode(FIRST_OF_SEED_1)
    digest = hashlib.sha256(b"\n".join(encode(sample) for sample in samples))
    assert digest.hexdigest() == DIGEST_OF_SEED_1
    assert first_samples(3) == samples[:3]
    assert encode(first_samples(1, seed=2)[0]) != encode(samples[0])


def test_figures_follow_the_sources_that_the_module_names() -> None:
    samples = first_samples(800)
    cores: list[dict[str, Any]] = [sample.attributes.core for sample in samples]
    assert 90e6 < median(amount_usd(sample) for sample in samples) < 135e6
    sectors = Counter(core["sector"] for core in cores)
    assert 0.27 < sectors["Solar"] / 800 < 0.33
    assert 0.06 < sectors["Dam"] / 800 < 0.10
    assert {core["maturity_years"] for core in cores} == set(range(10, 19))
    assert min(core["dscr"] for core in cores) >= Decimal("1.05")
    for core in cores:
        assert core["currency_code"] == COUNTRIES[core["country_code"]][0]
        assert sum(sponsor.share for sponsor in core["sponsors"]) == 100
        assert {sponsor.name for sponsor in core["sponsors"]} <= set(COMPANIES)
        assert core["financial_close_date"] < core["cod_date"] < core["end_date"]
        assert core["external_ref"].source == SOURCE
    assert len({core["project_name"] for core in cores}) == 800
    assert cores[-1]["external_ref"].id == sample_reference_id(800) == "P00800"


def test_projects_are_in_every_status_and_changed_it_before_the_date_of_the_sample() -> None:
    samples = first_samples(800)
    assert {step.to for sample in samples for step in sample.transitions} == set(ProjectStatus) - {
        ProjectStatus.PROPOSED
    }
    for sample in samples:
        days = [step.effective_on for step in sample.transitions]
        assert days == sorted(days)
        assert all(day <= date(2026, 1, 1) for day in days)


async def test_seeding_writes_each_project_once_in_its_current_status(
    dependencies: Dependencies,
) -> None:
    assert await seed_sample_projects(dependencies, DEMO, projects=60, seed=1) == 60
    assert await seed_sample_projects(dependencies, DEMO, projects=61, seed=1) == 1
    page = await dependencies.reads.page(Query(kind=PROJECT_KIND, limit=100))
    projects: dict[str, Project] = {one.state.project_name: one.state for one in page.items}
    assert len(projects) == 61
    for sample in first_samples(61):
        core: dict[str, Any] = sample.attributes.core
        project = projects[core["project_name"]]
        last = sample.transitions[-1].to if sample.transitions else ProjectStatus.PROPOSED
        assert (project.status, project.sponsors) == (last, core["sponsors"])
        assert project.total_amount == core["total_amount"]
