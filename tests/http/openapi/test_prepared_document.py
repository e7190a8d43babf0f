"""The OpenAPI document is built after the start, before its first reader."""

import pytest
import tenacity
from tests.http.conftest import Start

from spawn.entrypoints.http.openapi.document import OpenApiBuilder
from spawn.entrypoints.http.product import routes


def test_the_first_reader_gets_a_document_that_was_built_before(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    builds: list[str] = []
    build = OpenApiBuilder.build

    def count(*args: object, **options: object) -> object:
        document = build(*args, **options)  # type: ignore[arg-type]  # passed on unchanged
        builds.append("built")
        return document

    monkeypatch.setattr(routes, "PREPARE_DELAY_S", 0.0)
    monkeypatch.setattr(OpenApiBuilder, "build", count)
    with start().client() as client:
        for attempt in tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(AssertionError),
            wait=tenacity.wait_fixed(0.02),
            stop=tenacity.stop_after_delay(20),
        ):
            with attempt:
                assert builds == ["built"]
        assert client.get("/openapi.json").status_code == 200
        health = client.get("/monitoring/health").json()
    assert builds == ["built"]
    assert health["status"] == "ok"
