"""Route of the compliance certificate: JSON, or a page to read and print."""

from datetime import date
from typing import Final, Self

from spawn.application.covenants.compliance_certificate import (
    CertifiedCovenant,
    ComplianceCertificate,
    read_certificate,
)
from spawn.domain.covenants.covenant_set import CovenantStanding, CovenantWaiver
from spawn.domain.dates import format_instant
from spawn.domain.errors import InvalidInput
from spawn.domain.principal import Scope
from spawn.entrypoints.http.covenants.case_routes import PROJECT, TAG, read_day
from spawn.entrypoints.http.covenants.covenant_wire import (
    CovenantView,
    LevelHeadroomView,
    RecordedTestView,
)
from spawn.entrypoints.http.html.rendering import page_response
from spawn.entrypoints.http.protocol.operation import HTML, JSON, Parameter, Success
from spawn.entrypoints.http.protocol.query_params import KNOWN_AS_OF, read_moment
from spawn.entrypoints.http.protocol.request import StrictRequest
from spawn.entrypoints.http.protocol.response import NO_CACHE, Response
from spawn.entrypoints.http.protocol.route import Result, Route, route
from spawn.entrypoints.http.wire import Instant, ResourceId, Version, WireStruct

CERTIFICATE: Final = PROJECT + "/compliance-certificate"
_TEMPLATE: Final = "compliance_certificate.html"
_TEST_DATE: Final = Parameter(
    "on", {"type": "string", "format": "date"}, "The test date.", is_required=True
)


class CertifiedCovenantView(WireStruct, frozen=True, kw_only=True):
    """A covenant on the test date; without a recorded test of the date `test` is null."""

    covenant: CovenantView
    test: RecordedTestView | None
    standing: CovenantStanding
    waivers: tuple[CovenantWaiver, ...]
    headroom: LevelHeadroomView | None

    @classmethod
    def of_certified(cls, certified: CertifiedCovenant) -> Self:
        """Return the wire form of a certified covenant."""
        test, headroom = certified.test, certified.headroom
        return cls(
            covenant=CovenantView.of_covenant(certified.covenant),
            test=None if test is None else RecordedTestView.of_test(test),
            standing=certified.standing,
            waivers=certified.waivers,
            headroom=None if headroom is None else LevelHeadroomView.of_levels(headroom),
        )


class ComplianceCertificateView(WireStruct, frozen=True, kw_only=True):
    """The covenants of a project with a test on a day, as they were known at a time."""

    project_id: ResourceId
    project_name: str
    project_version: Version
    on: date
    as_of: Instant
    is_complete: bool
    allows_distributions: bool
    in_lockup: tuple[ResourceId, ...]
    in_default: tuple[ResourceId, ...]
    covenants: tuple[CertifiedCovenantView, ...]

    @classmethod
    def of_certificate(cls, certificate: ComplianceCertificate) -> Self:
        """Return the wire form of a certificate."""
        project = certificate.project
        return cls(
            project_id=project.id,
            project_name=project.state.project_name,
            project_version=project.version,
            on=certificate.on,
            as_of=certificate.as_of,
            is_complete=certificate.is_complete,
            allows_distributions=certificate.allows_distributions,
            in_lockup=certificate.list_covenants_in(CovenantStanding.LOCKUP),
            in_default=certificate.list_covenants_in(CovenantStanding.DEFAULT),
            covenants=tuple(map(CertifiedCovenantView.of_certified, certificate.covenants)),
        )


@route(
    "GET",
    CERTIFICATE,
    "getComplianceCertificate",
    scopes=(Scope.FINANCE_READ,),
    serves_row_scopes=True,
    tag=TAG,
    summary="Get the compliance certificate of a test date",
    description=(
        "Each covenant with a test on the day: levels, ratio, formula, inputs with the positions "
        "of their versions, state and headroom. `in_lockup` and `in_default` name every covenant "
        "of the project in that state on the day, tested on it or not. "
        "`text/html` is a page to print. The same `on` and `as_of` give the same certificate later."
    ),
    parameters=(_TEST_DATE, KNOWN_AS_OF),
    returns=Success(ComplianceCertificateView, "The certificate.", alternatives={HTML: str}),
    problems=("not_found",),
    formats={"json": JSON, "html": HTML},
)
async def read_compliance_certificate(request: StrictRequest, project_id: str) -> Response | Result:
    """Return the certificate as JSON, or as a page by Accept."""
    on = read_day(request)
    if on is None:
        raise InvalidInput.at("/on", "missing", "is required: a test date")
    certificate = await read_certificate(
        request.dependencies,
        request.principal,
        project_id,
        on,
        as_of=read_moment(request.query, "as_of"),
    )
    view = ComplianceCertificateView.of_certificate(certificate)
    if request.media_type != HTML:
        return Result(view, (NO_CACHE,))
    return await page_response(_TEMPLATE, build_certificate_page(view), headers=(NO_CACHE,))


def build_certificate_page(view: ComplianceCertificateView) -> dict[str, object]:
    """Return the context of the page of a certificate."""
    tested = {one.covenant.covenant_id for one in view.covenants}
    return {
        "untested_in_breach": len({*view.in_lockup, *view.in_default} - tested),
        "certificate": view,
        "as_of": format_instant(view.as_of),
        "marks": {"OK": "ok", "LOCKUP": "warn", "DEFAULT": "bad", "NOT_TESTED": "warn"},
    }


ROUTES: Final[list[Route]] = [read_compliance_certificate]
