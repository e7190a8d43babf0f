"""Routes of publishers: their status, and the end of a stop."""

from typing import Annotated, Final, Self

from loguru import logger
from msgspec import Meta

from spawn.application.events.publisher_status import list_publishers, resume_publisher
from spawn.application.events.relay import DeliveryStatus
from spawn.domain.principal import Scope
from spawn.domain.struct_reader import compile_reader, line_reader
from spawn.entrypoints.http.protocol.operation import BODY_PROBLEMS, Body, Cache, Success
from spawn.entrypoints.http.protocol.request import StrictRequest
from spawn.entrypoints.http.protocol.route import Route, route
from spawn.entrypoints.http.wire import Count, PageView, WireStruct

PATH: Final = "/v1/admin/publishers"
_MAX_NAME: Final = 2_000


class PublisherView(WireStruct, frozen=True, kw_only=True):
    """The delivery of events to a publisher; `position` is null before the first event."""

    name: str
    position: str | None
    backlog: Annotated[Count, Meta(description="Journal rows after the position.")]
    waiting: Annotated[Count, Meta(description="Aggregates that a failure blocks.")]
    lag_s: Annotated[float, Meta(extra_json_schema={"minimum": 0})]
    delivered: Annotated[Count, Meta(description="Events since the start of the process.")]
    dead_letters: Count
    error: str | None
    is_stopped: Annotated[bool, Meta(description="Whether the consumer wants no more events.")]

    @classmethod
    def of_status(cls, status: DeliveryStatus) -> Self:
        """Return the wire form of a delivery."""
        position = None if status.position is None else str(status.position)
        return cls.of(status, position=position, lag_s=round(status.lag_s, 3))


class ResumptionView(WireStruct, frozen=True, forbid_unknown_fields=True):
    """The name of a publisher to resume."""

    name: str


_read_resumption: Final = compile_reader(ResumptionView, {"name": line_reader(_MAX_NAME)})


@route(
    "GET",
    PATH,
    "listPublishers",
    tag="admin",
    scopes=(Scope.ADMIN,),
    summary="List the publishers of events",
    returns=Success(PageView[PublisherView], "Every configured publisher."),
    cache=Cache.NO_STORE,
)
async def get_publishers(request: StrictRequest) -> PageView[PublisherView]:
    """Return the status of the delivery to each publisher."""
    statuses = await list_publishers(request.http_state.relay, request.principal)
    return PageView(tuple(map(PublisherView.of_status, statuses)), next=None)


@route(
    "POST",
    PATH + "/resume",
    "resumePublisher",
    tag="admin",
    scopes=(Scope.ADMIN,),
    summary="Resume a publisher that stopped",
    description=(
        "A webhook that responds with 410 is sent nothing further. Once its receiver is back, this "
        "continues after the last event that it accepted."
    ),
    body=Body(ResumptionView, example={"name": "risk"}),
    returns=Success(PublisherView, "The publisher, no longer stopped."),
    problems=(*BODY_PROBLEMS, "not_found", "conflict"),
)
async def post_resumption(request: StrictRequest) -> PublisherView:
    """Resume the delivery to a publisher whose consumer is back."""
    view: ResumptionView = _read_resumption(await request.read_json_object(), "")
    status = await resume_publisher(request.http_state.relay, request.principal, view.name)
    logger.warning("the publisher {} was resumed by {}", view.name, request.principal.id)
    return PublisherView.of_status(status)


ROUTES: Final[list[Route]] = [get_publishers, post_resumption]
