"""Pipeline of a portfolio: its projects with their exposure, by status."""

from collections import defaultdict
from collections.abc import Sequence

import msgspec

from spawn.application.dependencies import require
from spawn.application.portfolios.exposure_reports import ExposureReport
from spawn.domain.portfolios.exposure import ExposureAmounts
from spawn.domain.principal import Principal, Scope
from spawn.domain.projects.lifecycle import ProjectStatus
from spawn.domain.projects.project import Project


class ProjectExposure(msgspec.Struct, frozen=True):
    """A project with what the portfolio holds of it, in minor units of the report's currency."""

    project: Project
    amounts: ExposureAmounts


class PipelineStage(msgspec.Struct, frozen=True):
    """The projects of a status: their number and their exposure."""

    status: ProjectStatus
    projects: int
    amounts: ExposureAmounts


def list_project_exposures(
    principal: Principal, report: ExposureReport
) -> Sequence[ProjectExposure]:
    """Return the projects of a portfolio, the largest exposure first; all add up to the total.

    Raises:
        Forbidden: the principal may not read projects.
    """
    require(principal, Scope.PROJECTS_READ)
    exposure = report.exposure
    projects = {one.project.project_id: one.project for one in report.snapshot.book.facilities}
    sums: dict[str, ExposureAmounts] = defaultdict(ExposureAmounts)
    for part, amounts in zip(exposure.positions, exposure.parts, strict=True):
        sums[part.project_id] += amounts
    ranked = sorted(sums, key=lambda key: (-sums[key].total, projects[key].project_name, key))
    return [ProjectExposure(projects[key], sums[key]) for key in ranked]


def summarize_pipeline(exposures: Sequence[ProjectExposure]) -> Sequence[PipelineStage]:
    """Return the stages that have a project, in the order of the life of a project."""
    stages = []
    for status in ProjectStatus:
        amounts = [one.amounts for one in exposures if one.project.status is status]
        if amounts:
            total = sum(amounts, ExposureAmounts())
            stages.append(PipelineStage(status, len(amounts), total))
    return stages
