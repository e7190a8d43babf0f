"""Declared routes, and the wire structs that they encode."""

from dataclasses import dataclass
from typing import Any

import httpx
import msgspec
import pytest
from msgspec import UNSET, UnsetType
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode
from tests.http.conftest import WIND, Start

from spawn.domain.errors import FieldError
from spawn.entrypoints.http.app import ROUTES
from spawn.entrypoints.http.openapi.document import OpenApiBuilder
from spawn.entrypoints.http.openapi.struct_schemas import WireSchemas
from spawn.entrypoints.http.protocol.operation import Cache, Success
from spawn.entrypoints.http.protocol.request import StrictRequest
from spawn.entrypoints.http.protocol.response import encode_json
from spawn.entrypoints.http.protocol.route import Route, route
from spawn.entrypoints.http.wire import Count, PageView, WireStruct


@dataclass
class Share:
    holder: str
    per_cent: int
    secret: str = "internal"  # noqa: S105


@dataclass
class Holding:
    name: str
    shares: tuple[Share, ...]
    secret: str = "internal"  # noqa: S105


class ShareView(WireStruct, frozen=True):
    holder: str
    per_cent: Count


class HoldingView(WireStruct, frozen=True, kw_only=True):
    name: str
    shares: tuple[ShareView, ...]
    note: str | UnsetType = UNSET


HOLDING = Holding("Sierra", (Share("Fund", 60), Share("Bank", 40)))


def declare(handler: Any, path: str = "/things/{thing_id}", **more: Any) -> Route:
    more = {"tag": "admin", "summary": "Get a thing", "scopes": (), **more}
    return route("GET", path, "getThing", returns=Success(ShareView, "A thing."), **more)(handler)


def test_wire_struct_takes_its_members_and_those_of_its_parts_by_name() -> None:
    expected = b'{"name":"Sierra","shares":[{"holder":"Fund","per_cent":60},'
    assert encode_json(HoldingView.of(HOLDING, note=UNSET)).startswith(expected)
    assert HoldingView.of(HOLDING, note="x").shares[1] == ShareView("Bank", 40)
    assert ShareView.of(HOLDING.shares[0]) == ShareView("Fund", 60)


def test_member_takes_precedence_over_the_first_source_and_that_over_the_second() -> None:
    sources = (Share("Fund", 60), Share("Bank", 40))
    assert ShareView.of(*sources) == ShareView("Fund", 60)
    assert ShareView.of(*sources, per_cent=1) == ShareView("Fund", 1)


def test_absent_member_is_an_error() -> None:
    with pytest.raises(AttributeError, match="per_cent"):
        ShareView.of(HOLDING, holder="Fund")


def test_handler_without_a_parameter_of_the_path_is_not_declared() -> None:
    async def read(request: StrictRequest) -> ShareView:
        raise NotImplementedError

    with pytest.raises(TypeError, match="getThing takes"):
        declare(read)


def test_components_are_called_after_their_structs() -> None:
    schemas = WireSchemas([HoldingView, PageView[HoldingView]])
    assert schemas.components.keys() == {"Holding", "Share", "HoldingPage"}
    assert schemas.schema_of(HoldingView) == {"$ref": "#/components/schemas/Holding"}
    page = schemas.components["HoldingPage"]
    assert page["properties"]["next"]["type"] == ["string", "null"]
    assert page["required"] == ["items", "next"]
    assert schemas.components["Holding"]["required"] == ["name", "shares"]


def test_two_wire_structs_of_one_name_are_rejected() -> None:
    other = msgspec.defstruct("Share", [("x", int)], bases=(WireStruct,), frozen=True)
    with pytest.raises(TypeError, match="two wire types are called Share"):
        WireSchemas([ShareView, other])


def test_every_id_is_declared_once_and_every_route_has_an_operation() -> None:
    ids = [one.operation.id for one in ROUTES if one.operation.id]
    assert len(ids) == len(set(ids)) > 50
    assert all(one.description for one in ROUTES)
    OpenApiBuilder(ROUTES)


def test_span_is_named_for_the_use_case() -> None:
    async def read(request: StrictRequest, thing_id: str) -> ShareView:
        raise NotImplementedError

    assert declare(read).operation.use_case == "get_thing"


def revalidated() -> list[str]:
    return [
        one.operation.path.format(schema_id="project_schema", number="0")
        for one in ROUTES
        if one.operation.cache is Cache.REVALIDATE and "quality" not in one.operation.path
    ]


@pytest.mark.parametrize("path", revalidated())
def test_revalidated_response_is_304_to_a_client_that_has_it(
    client: httpx.Client, path: str
) -> None:
    first = client.get(path)
    assert (first.status_code, first.headers["cache-control"]) == (200, "no-cache")
    again = client.get(path, headers={"if-none-match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["etag"] == first.headers["etag"]
    assert client.get(path, headers={"if-none-match": '"other"'}).status_code == 200


def test_states_of_two_services_are_apart(client: httpx.Client, start: Start) -> None:
    with start().client() as second:
        created = second.post("/v1/ops/projects", json=WIND).raise_for_status()
        address = created.headers["location"]
        assert second.get(address).status_code == 200
        assert client.get(address).status_code == 404


def test_field_errors_name_every_unknown_parameter(client: httpx.Client) -> None:
    problem = client.get("/v1/jobs/x?b=1&a=2").json()
    errors = [FieldError(**error) for error in problem["errors"]]
    assert [error.pointer for error in errors] == ["/b", "/a"]


TRACE = f"{7:032x}"
SAMPLED, NOT_SAMPLED = (
    {"traceparent": f"00-{TRACE}-00f067aa0ba902b7-{flags}"} for flags in ("01", "00")
)


@pytest.fixture
def exporter(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = provider.get_tracer("spawn")
    monkeypatch.setattr("spawn.entrypoints.composition.configure_tracing", lambda _: tracer)
    return exporter


def test_problem_of_a_client_is_no_error_of_the_use_case(
    start: Start, exporter: InMemorySpanExporter
) -> None:
    service = start()
    with service.client() as client:
        assert client.get("/v1/governance/quality", headers=SAMPLED).status_code == 404
    service.stop()  # the span of the request ends after its response
    spans = {span.name: span for span in exporter.get_finished_spans()}
    assert spans["get_quality"].status.status_code is StatusCode.UNSET
    parent = spans["get_quality"].parent
    assert parent is not None
    assert parent.span_id == spans["GET /v1/governance/quality"].context.span_id


def test_client_decides_whether_its_request_is_recorded(
    start: Start, exporter: InMemorySpanExporter
) -> None:
    service = start()
    with service.client() as client:
        path = client.post("/v1/ops/projects", json=WIND, headers=NOT_SAMPLED).headers["location"]
        for headers in (NOT_SAMPLED, SAMPLED):  # both responses come from the cache
            assert client.get(path, headers=headers).status_code == 200
    service.stop()
    (span,) = exporter.get_finished_spans()
    assert span.name == "GET /v1/ops/projects/{project_id}"
    assert f"{span.context.trace_id:032x}" == TRACE
    assert dict(span.attributes or {}) == {
        "http.request.method": "GET",
        "http.route": "/v1/ops/projects/{project_id}",
        "http.response.status_code": 200,
    }


def test_a_tenth_of_other_requests_is_recorded(
    start: Start, exporter: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    draws = iter([0.0999, 0.1])
    monkeypatch.setattr(
        "spawn.entrypoints.http.middleware.request_spans.random", lambda: next(draws)
    )
    service = start()
    with service.client() as client:
        for path in ("/monitoring/live", "/v1/ops/projects"):
            assert client.get(path).status_code == 200
    service.stop()
    names = [span.name for span in exporter.get_finished_spans()]
    assert names[-1] == "GET /monitoring/live"
    assert not [name for name in names if "projects" in name]
