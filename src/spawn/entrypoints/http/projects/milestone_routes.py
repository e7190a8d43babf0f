"""Routes of milestones and conditions precedent: list, add, decide."""

from datetime import date
from typing import Annotated, Any, Final, Self

import msgspec
from msgspec import Meta

from spawn.application.projects.commands import (
    MilestoneOrder,
    add_project_milestone,
    decide_project_milestone,
)
from spawn.application.projects.queries import get_project
from spawn.domain.change import StoredAggregate
from spawn.domain.dates import parse_date
from spawn.domain.json_tokens import parse_object
from spawn.domain.principal import Scope
from spawn.domain.projects.milestones import (
    MAX_EVIDENCE_LENGTH,
    MAX_ID_LENGTH,
    MAX_TITLE_LENGTH,
    Milestone,
    MilestoneDecision,
    MilestoneKind,
    MilestoneState,
    get_state,
    is_open,
    list_open_conditions,
)
from spawn.domain.projects.project import MAX_REASON, PROJECT_KIND, Project, list_draw_stops
from spawn.domain.struct_reader import compile_reader, line_reader, prose_reader
from spawn.entrypoints.http.projects.preconditions import read_expected_version
from spawn.entrypoints.http.projects.routes import (
    CHANGE_PROBLEMS,
    PROJECT_HEADERS,
    READ_PATH,
    TAG,
    ProjectCommandAttempt,
    run_project_command,
)
from spawn.entrypoints.http.protocol.operation import (
    IDEMPOTENCY_KEY,
    IF_MATCH,
    Approvable,
    Body,
    Parameter,
    Success,
)
from spawn.entrypoints.http.protocol.query_params import KNOWN_AS_OF, read_moment
from spawn.entrypoints.http.protocol.request import StrictRequest
from spawn.entrypoints.http.protocol.response import Response
from spawn.entrypoints.http.protocol.route import Route, route
from spawn.entrypoints.http.wire import Reason, ResourceId, Version, WireStruct

MILESTONES: Final = READ_PATH + "/milestones"
_ON: Final = Parameter(
    "on", {"type": "string", "format": "date"}, "The day of `is_overdue`; by default today, in UTC."
)


class MilestoneView(WireStruct, frozen=True, kw_only=True):
    """A milestone with its state; an open one is overdue after its due date."""

    milestone_id: str
    title: str
    kind: MilestoneKind
    state: MilestoneState
    draw_stop: bool
    due_date: date | None
    met_on: date | None
    waived_on: date | None
    evidence: str | None
    is_overdue: bool

    @classmethod
    def of_milestone(cls, milestone: Milestone, on: date) -> Self:
        """Return the wire form of a milestone on a day."""
        is_late = milestone.due_date is not None and milestone.due_date < on
        return cls(
            **msgspec.structs.asdict(milestone),
            state=get_state(milestone),
            is_overdue=is_late and is_open(milestone),
        )


class MilestoneListView(WireStruct, frozen=True, kw_only=True):
    """The milestones of a project at a version.

    `open_conditions` stop the financial close, `draw_stops` each draw.
    """

    project_id: ResourceId
    version: Version
    milestones: tuple[MilestoneView, ...]
    open_conditions: tuple[str, ...]
    draw_stops: tuple[str, ...]

    @classmethod
    def of_project(cls, aggregate: StoredAggregate[Project], on: date) -> Self:
        """Return the wire form of a project's milestones on a day."""
        project = aggregate.state
        return cls(
            project_id=aggregate.id,
            version=aggregate.version,
            milestones=tuple(MilestoneView.of_milestone(one, on) for one in project.milestones),
            open_conditions=tuple(
                one.milestone_id for one in list_open_conditions(project.milestones)
            ),
            draw_stops=tuple(one.milestone_id for one in list_draw_stops(project)),
        )


class MilestoneRequestView(WireStruct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A milestone or condition precedent to add; it is open."""

    milestone_id: Annotated[str, Meta(min_length=1, max_length=MAX_ID_LENGTH)]
    title: Annotated[str, Meta(min_length=1, max_length=MAX_TITLE_LENGTH)]
    kind: MilestoneKind = MilestoneKind.MILESTONE
    due_date: date | None = None
    draw_stop: bool = False


class MilestoneDecisionRequestView(
    WireStruct, frozen=True, kw_only=True, forbid_unknown_fields=True
):
    """A decision about a milestone; `on` is its day, `reason` goes into the history."""

    milestone_id: Annotated[str, Meta(min_length=1, max_length=MAX_ID_LENGTH)]
    decision: MilestoneDecision
    on: date | None = None
    evidence: Annotated[str, Meta(max_length=MAX_EVIDENCE_LENGTH)] | None = None
    reason: Reason | None = None


_read_milestone: Final = compile_reader(
    MilestoneRequestView,
    {"milestone_id": line_reader(MAX_ID_LENGTH), "title": line_reader(MAX_TITLE_LENGTH)},
    null_is_absent=True,
)
_read_decision: Final = compile_reader(
    MilestoneDecisionRequestView,
    {
        "milestone_id": line_reader(MAX_ID_LENGTH),
        "evidence": prose_reader(MAX_EVIDENCE_LENGTH),
        "reason": prose_reader(MAX_REASON, allows_blank=False),
    },
    null_is_absent=True,
)


@route(
    "GET",
    MILESTONES,
    "listMilestones",
    scopes=(Scope.PROJECTS_READ,),
    serves_row_scopes=True,
    tag=TAG,
    summary="List the milestones of a project",
    description="Milestones and conditions precedent now, or as recorded at an instant (`as_of`).",
    parameters=(_ON, KNOWN_AS_OF),
    returns=Success(MilestoneListView, "The milestones."),
    problems=("not_found",),
)
async def read_milestones(request: StrictRequest, project_id: str) -> MilestoneListView:
    """Return the milestones of a project, with what they stop."""
    dependencies, text = request.dependencies, request.query.get("on")
    on = dependencies.clock.now().date() if text is None else parse_date(text, pointer="/on")
    as_of = read_moment(request.query, "as_of")
    project = await get_project(dependencies, request.principal, project_id, as_of=as_of)
    return MilestoneListView.of_project(project, on)


@route(
    "POST",
    MILESTONES,
    "addMilestone",
    scopes=(Scope.PROJECTS_WRITE,),
    serves_row_scopes=True,
    tag=TAG,
    summary="Add a milestone to a project",
    description="The milestone is open. A condition precedent stops the financial close.",
    parameters=(IF_MATCH, IDEMPOTENCY_KEY),
    body=Body(
        MilestoneRequestView,
        example={
            "milestone_id": "cp-permit",
            "title": "Building permit",
            "kind": "CONDITION_PRECEDENT",
            "due_date": "2026-09-30",
            "draw_stop": True,
        },
    ),
    returns=Success("Project", "The project.", status=200, headers=PROJECT_HEADERS),
    problems=CHANGE_PROBLEMS,
    approval=Approvable(),
)
async def post_milestone(request: StrictRequest, project_id: str) -> Response:
    """Add a milestone to a project."""

    async def run(attempt: ProjectCommandAttempt, body: bytes) -> Response:
        view: MilestoneRequestView = _read_milestone(parse_object(body), "")
        version = await read_expected_version(request, PROJECT_KIND, project_id)
        members: dict[str, Any] = msgspec.structs.asdict(view)
        result = await add_project_milestone(
            request.dependencies,
            request.principal,
            project_id,
            Milestone(**members),
            attempt.command_context(200, version=version),
        )
        return await attempt.respond(result, 200)

    return await run_project_command(request, run, project_id=project_id)


@route(
    "POST",
    MILESTONES + "/decisions",
    "decideMilestone",
    scopes=(Scope.PROJECTS_WRITE,),
    serves_row_scopes=True,
    tag=TAG,
    summary="Record that a milestone is met, waived or open again",
    description=(
        "A waiver and a reopening have a `reason`, which the history keeps. An open draw-stop "
        "stops each draw, an open condition precedent the financial close."
    ),
    parameters=(IF_MATCH, IDEMPOTENCY_KEY),
    body=Body(
        MilestoneDecisionRequestView,
        example={
            "milestone_id": "cp-permit",
            "decision": "MET",
            "on": "2026-09-12",
            "evidence": "permit of the district office",
        },
    ),
    returns=Success("Project", "The project.", headers=PROJECT_HEADERS),
    problems=CHANGE_PROBLEMS,
    approval=Approvable(),
)
async def post_milestone_decision(request: StrictRequest, project_id: str) -> Response:
    """Record a decision about a milestone."""

    async def run(attempt: ProjectCommandAttempt, body: bytes) -> Response:
        view: MilestoneDecisionRequestView = _read_decision(parse_object(body), "")
        version = await read_expected_version(request, PROJECT_KIND, project_id)
        result = await decide_project_milestone(
            request.dependencies,
            request.principal,
            project_id,
            MilestoneOrder(**msgspec.structs.asdict(view)),
            attempt.command_context(200, version=version),
        )
        return await attempt.respond(result, 200)

    return await run_project_command(request, run, project_id=project_id)


ROUTES: Final[list[Route]] = [read_milestones, post_milestone, post_milestone_decision]
