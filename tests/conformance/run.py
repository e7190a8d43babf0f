"""Validate the live documents of a real service with independent tools, after a migration.

A service starts with the sample portfolio under version 1 of a schema; the ontology server
publishes version 2, which the service adopts; projects are written under it. Then the tools
validate the documents, an export, the store's own table, events and lineage. `make conformance`
installs the tools.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import duckdb
import httpx
import msgspec
import tenacity
from cloudevents.core.formats.json import JSONFormat
from tests.conformance import accessibility, clients
from tests.http.product import hostile_schema
from tests.lineage import standard_client as openlineage
from tests.loopback import free_port
from tests.product.service import Service

ROOT: Final = Path(__file__).parents[2]
HERE: Final = Path(__file__).parent
BUILD: Final = ROOT / "build" / "conformance"
TOOLS: Final = ROOT / ".venv-conformance" / "bin"
NODE: Final = BUILD / "npm"
DEADLINE_S: Final = 300
SCHEMA_ID: Final = "project_schema"
SCHEMAS: Final = f"/v1/governance/schemas/{SCHEMA_ID}"
STRUCTURE: Final = ("spv", "sponsors", "milestones", "external_ref")
DOCUMENTS: Final = {
    "/contract": "projects.odcs.yaml",
    "/product": "product.odps.yaml",
    "/catalog": "catalog.jsonld",
    "/context.jsonld": "context.jsonld",
    "/asyncapi.json": "asyncapi.json",
    "/openapi.json": "openapi.json",
}
NEW_COLUMNS: Final = (
    {
        "name": "turbine_count",
        "type": "integer",
        "description": "Turbines, where there are any.",
        "minimum": 0,
        "aliases": ["turbines"],
    },
    {
        "name": "risk_grade",
        "type": "string(1)",
        "description": "The desk's grade.",
        "enum": ["A", "B", "C"],
        "required": True,
        "default": "B",
        "semantic": "https://schema.org/ratingValue",
    },
)
"""Columns that version 2 adds."""

HOSTILE_COLUMNS: Final = tuple(hostile_schema.COLUMNS)
"""Columns that version 2 adds for the sake of the documents: bounds of dates, escaped patterns,
enumerations of decimals, aliases, names that are words of languages."""

PROJECT: Final = {
    "project_name": "Cabo Norte Wind",
    "total_amount": "184500000.00",
    "currency_code": "EUR",
    "country_code": "ESP",
    "capacity_mw": 96.125,
    "financial_close_date": "2026-03-31",
    "spv": {"name": "Cabo Norte SPV", "registration_number": "B-1", "country_code": "ESP"},
    "sponsors": [{"name": "Ocean Equity", "share": "100"}],
    "milestones": [{"milestone_id": "cp-1", "title": "Permit", "draw_stop": True}],
    "external_ref": {"source": "desk", "id": "CN-1"},
}
VERSION_2_FIELDS: Final = {
    "capacity_mw": 123456789.125,
    "technology": "TIDAL",
    "turbine_count": 21,
    "risk_grade": "A",
    "ratio": 2.5,
    **hostile_schema.VALUES,
    # The contract's tool splits lines of JSON at U+2028 too.
    "label": "ab",
}
"""Values that only version 2 allows."""

Row = tuple[str, bool, float, str]
Check = Callable[[], str]


class CheckFailed(Exception):
    """A failed check; the message is its result."""


def main() -> int:
    """Run all checks; return 1 if one failed."""
    data = BUILD / "data"
    shutil.rmtree(data, ignore_errors=True)
    data.mkdir(parents=True)
    rows: list[Row] = []
    with _run_ontology_server() as ontology:
        _publish(ontology, build_first_version())
        service = Service(
            data,
            command="demo",
            SPAWN_ONTOLOGY_URL=ontology,
            SPAWN_PRODUCT_ID="conformance",
            SPAWN_PRODUCT_OWNER="Conformance desk",
            SPAWN_PRODUCT_CONTACT="mailto:desk@spawn.example",
            # There is no server; the documents describe the channels anyway.
            SPAWN_EVENTS_URL=f"nats://127.0.0.1:{free_port()}/desk.events,log://",
        )
        service.startup_s = DEADLINE_S
        try:
            service.start()
            rows.append(_run_check("first contract", lambda: _save_first_contract(service)))
            rows.append(_run_check("evolution", lambda: _migrate(service, ontology)))
            rows.append(_run_check("writing", lambda: _write(service)))
            rows.append(_run_check("documents", lambda: _collect(service)))
            rows.append(_run_check("export", lambda: _export(service)))
            rows.append(_run_check("axe-core", lambda: _check_pages(service)))
            rows.append(_run_check("recipes", lambda: _run_recipes(service)))
            rows.append(_run_check("openapi-python-client", lambda: _use_python_client(service)))
            rows.append(_run_check("openapi-typescript", lambda: _use_typescript_client(service)))
        finally:
            service.stop()
    rows.append(_run_check("snapshot", lambda: _snapshot(service.folder / "spawn.duckdb")))
    rows += [_run_check(name, check) for name, check in CHECKS.items()]
    return _report(rows)


# -- a service after a migration ------------------------------------------------------------


def build_first_version() -> dict[str, Any]:
    """Return the bundled schema as version 1."""
    bundled = files("spawn.adapters.ontology") / "bundled" / "project_schema.json"
    document: dict[str, Any] = json.loads(bundled.read_text())
    return {**document, "version": 1}


def build_second_version() -> dict[str, Any]:
    """Return version 2: new columns, a deprecation, a wider type, a longer enum, a quality rule."""
    document = build_first_version()
    columns = {column["name"]: column for column in document["columns"]}
    columns["offtaker"] |= {"deprecated": True, "sunset": "2035-12-31"}
    columns["capacity_mw"]["type"] = "decimal(18,3)"
    columns["technology"]["enum"].append("TIDAL")
    quality_rules = [{"complete": "turbine_count", "threshold": 0.5, "severity": "warning"}]
    return {
        **document,
        "version": 2,
        "columns": [*columns.values(), *NEW_COLUMNS, *HOSTILE_COLUMNS],
        "quality": quality_rules,
    }


@contextmanager
def _run_ontology_server() -> Iterator[str]:
    """Run a real ontology server and yield its URL."""
    port = free_port()
    command = [sys.executable, "-m", "spawn.entrypoints.cli", "ontology-server"]
    log = (BUILD / "ontology.log").open("wb")
    environment = {k: v for k, v in os.environ.items() if not k.startswith("SPAWN_")}
    process = subprocess.Popen(
        [*command, "--port", str(port)], stdout=log, stderr=log, env=environment
    )
    url = f"http://127.0.0.1:{port}"
    try:
        _retry_until_success(
            httpx.TransportError, lambda: httpx.get(f"{url}/health").raise_for_status()
        )
        yield url
    finally:
        process.terminate()
        process.wait(30)
        log.close()


def _publish(ontology: str, document: dict[str, Any]) -> None:
    address = f"{ontology}/schemas/{SCHEMA_ID}/versions/{document['version']}"
    httpx.put(address, json=document).raise_for_status()


def _save_first_contract(service: Service) -> str:
    """Save the contract of version 1, to compare it with that of version 2."""
    with httpx.Client(base_url=service.url, timeout=60) as client:
        content = client.get("/contract").raise_for_status().content
    _save("first.odcs.yaml", content)
    return str(msgspec.yaml.decode(content)["version"])


def _migrate(service: Service, ontology: str) -> str:
    """Publish version 2 and wait for its adoption."""
    with httpx.Client(base_url=service.url, timeout=60) as client:
        _publish(ontology, build_second_version())
        client.post(f"{SCHEMAS}/refresh").raise_for_status()

        def check_adoption() -> None:
            version = client.get(SCHEMAS).json()["version"]
            if version != 2:
                candidates = client.get(f"{SCHEMAS}/candidates").json()["items"]
                raise CheckFailed(f"version {version} is active, candidates: {candidates}")

        _retry_until_success(CheckFailed, check_adoption)
    return "version 2 adopted"


def _write(service: Service) -> str:
    """Write a project, transition it, import one, and measure quality."""
    with httpx.Client(base_url=service.url, timeout=60) as client:
        version = client.get(SCHEMAS).json()["version"]
        body = {**PROJECT, **(VERSION_2_FIELDS if version == 2 else {})}
        response = client.post("/v1/ops/projects", json=body).raise_for_status()
        location, match = response.headers["location"], {"if-match": "*"}
        client.patch(location, json={"dscr": 1.4}, headers=match).raise_for_status()
        step = {"to": "MANDATED", "reason": "Mandate signed"}
        client.post(f"{location}/transitions", json=step, headers=match).raise_for_status()
        row = json.dumps({**body, "external_ref": {"source": "desk", "id": "CN-2"}}) + "\n"
        ndjson = {"content-type": "application/x-ndjson"}
        job_response = client.post(
            "/v1/ops/imports", content=row, headers=ndjson
        ).raise_for_status()

        def check_import() -> None:
            job = client.get(f"/v1/jobs/{job_response.json()['job_id']}").json()
            if job["status"] != "succeeded":
                raise CheckFailed(f"the import is {job['status']}: {job.get('error')}")

        _retry_until_success(CheckFailed, check_import)
        client.post("/v1/governance/quality/runs").raise_for_status()
    return f"under version {version}"


def _retry_until_success(error: type[Exception], action: Callable[[], object]) -> None:
    tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(error),
        wait=tenacity.wait_fixed(0.1),
        stop=tenacity.stop_after_delay(30),
        reraise=True,
    )(action)


# -- input of the tools ---------------------------------------------------------------------


def _collect(service: Service) -> str:
    """Save the live documents, events, lineage and one project as files."""
    with httpx.Client(base_url=service.url, timeout=60) as client:
        for path, name in DOCUMENTS.items():
            _save(name, client.get(path).raise_for_status().content)
        events = client.get("/v1/events", params={"limit": 500}).raise_for_status()
        newest = client.get("/v1/ops/projects", params={"project_name": "Cabo Norte Wind"})
        _save("events.json", _collect_events(client, events.json()["events"]))
        _save("project.json", msgspec.json.encode(newest.json()["items"][0]))
        client.get("/v1/data/projects").raise_for_status()
        _save("lineage.json", client.get("/lineage").raise_for_status().content)
    return f"{len(DOCUMENTS)} documents"


def _collect_events(client: httpx.Client, first: list[Any]) -> bytes:
    """Return the first events, and those of each type that the service publishes."""
    messages = client.get("/asyncapi.json").json()["components"]["messages"].values()
    types = [message["name"] for message in messages if message["name"].startswith("spawn.")]
    events = list(first)
    for name in types:
        events += client.get("/v1/events", params={"type": name}).json()["events"]
    return msgspec.json.encode({"events": events})


def _save(name: str, content: bytes) -> None:
    (BUILD / "data" / name).write_bytes(content)


def _export(service: Service) -> str:
    """Export every project with `spawn export` in both formats, and download them as Parquet."""
    spawn = [sys.executable, "-m", "spawn.entrypoints.cli", "export"]
    environment = {**os.environ, "SPAWN_URL": service.url}
    for file_format, options in (("csv", []), ("ndjson", ["--nested", "json"])):
        target = BUILD / "data" / f"projects.{file_format}"
        _run(*spawn, *options, "--format", file_format, "--output", str(target), env=environment)
    with httpx.Client(base_url=service.url, timeout=60) as client:
        _save(
            "projects.parquet", client.get("/v1/data/projects.parquet").raise_for_status().content
        )
    count = (BUILD / "data" / "projects.ndjson").read_bytes().count(b"\n")
    return f"{count} projects"


def _run_recipes(service: Service) -> str:
    script, page = str(HERE / "recipes.py"), str(ROOT / "docs" / "data.md")
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    return _run(str(TOOLS / "python"), script, service.url, page, env=environment).strip()


def _use_python_client(service: Service) -> str:
    return clients.use_python_client(_run, TOOLS, BUILD / "data", service.url)


def _use_typescript_client(service: Service) -> str:
    return clients.use_typescript_client(_run, NODE / "node_modules", BUILD / "data", service.url)


def _check_pages(service: Service) -> str:
    """Open every kind of page in a browser: the rules of axe-core hold, and it fits a phone."""
    with httpx.Client(base_url=service.url, timeout=60) as client:
        paths = [
            "/",
            "/problems",
            "/problems/not-found",
            "/lineage?format=html",
            "/pages/approvals",
        ]
        paths += ["/pages/portfolios", *_list_financing_pages(client)]
    axe = NODE / "node_modules" / "axe-core" / "axe.min.js"
    violations = accessibility.find_violations(service.url, paths, axe)
    if violations:
        raise CheckFailed("\n".join(violations))
    return f"{len(paths)} pages on {len(accessibility.SCREENS)} screens"


def _list_financing_pages(client: httpx.Client) -> list[str]:
    """Return pages of a portfolio, of a project of each status, of a loan and of a test date."""

    def read_items(path: str, **query: str) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = (
            client.get(path, params=query).raise_for_status().json()["items"]
        )
        return items

    portfolio = read_items("/v1/ops/portfolios")[0]
    paths = [f"/pages/portfolios/{portfolio['portfolio_id']}"]
    for status in ("OPERATION", "DEFAULTED", "PROPOSED"):
        project = read_items("/v1/ops/projects", status=status, limit="1")[0]["project_id"]
        paths.append(f"/pages/projects/{project}")
        for loan in read_items(f"/v1/ops/projects/{project}/facilities")[:1]:
            query = f"format=html&from={loan['availability_start']}"
            paths.append(f"/v1/ops/facilities/{loan['facility_id']}/statement?{query}")
        for test in read_items(f"/v1/ops/projects/{project}/covenant-tests")[:1]:
            query = f"format=html&on={test['tested_on']}"
            paths.append(f"/v1/ops/projects/{project}/compliance-certificate?{query}")
    names = ("<b>Wind</b> & " + "W" * 186, "محطة الرياح " * 14)
    for name in names:
        body = {**PROJECT, **VERSION_2_FIELDS, "project_name": name, "external_ref": None}
        created = client.post("/v1/ops/projects", json=body).raise_for_status()
        paths.append(created.headers["location"].replace("/v1/ops", "/pages"))
    return paths


def _snapshot(store: Path) -> str:
    """Write a DuckDB file with the store's own typed table and the exported nested fields."""
    data = BUILD / "data"
    contract = _read_contract()
    types = {one["name"]: one["physicalType"] for one in contract["schema"][0]["properties"]}
    plain = ", ".join(f'p."{name}"' for name in types if name not in STRUCTURE)
    column_types = {"project_id": "VARCHAR", **{name: types[name] for name in STRUCTURE}}
    columns = ", ".join(f"'{name}': '{kind}'" for name, kind in column_types.items())
    nested = ", ".join(f"e.{name}" for name in STRUCTURE)
    with duckdb.connect(str(data / "snapshot.duckdb")) as connection:
        connection.execute(f"attach '{store}' as store (read_only)")
        connection.execute(
            f"create table projects as select {plain}, {nested} from store.projects p"  # noqa: S608  # our own contract's names
            f" join read_json('{data / 'projects.ndjson'}', columns = {{{columns}}},"
            " format = 'newline_delimited') e using (project_id)"
        )
        (count,) = connection.execute("select count(*) from projects").fetchone() or (0,)
    if not count:
        raise CheckFailed("the snapshot is empty")
    return f"{count} projects, {len(types)} columns"


def _check_physical_types() -> str:
    """Compare the types in the contract with those of the store's table; no tool does."""
    with duckdb.connect(str(BUILD / "data" / "snapshot.duckdb"), read_only=True) as connection:
        columns = connection.execute("describe projects").fetchall()
    stored_types = {name: kind for name, kind, *_ in columns if name not in STRUCTURE}
    properties = _read_contract()["schema"][0]["properties"]
    documented_types = {
        one["name"]: one["physicalType"] for one in properties if one["name"] in stored_types
    }
    if documented_types != stored_types:
        differences = {
            name: (kind, stored_types[name])
            for name, kind in documented_types.items()
            if kind != stored_types[name]
        }
        raise CheckFailed(f"documented and stored: {differences}")
    return f"{len(stored_types)} columns have the type that the contract names"


def _read_contract() -> dict[str, Any]:
    contract: dict[str, Any] = msgspec.yaml.decode(
        (BUILD / "data" / "projects.odcs.yaml").read_bytes()
    )
    return contract


# -- the tools ------------------------------------------------------------------------------


def _lint_contract() -> str:
    _run(
        *(str(TOOLS / "datacontract"), "lint", "--no-inline-references", "--all-errors"),
        "projects.odcs.yaml",
    )
    return "valid against ODCS 3.2.0"


def _test_contract(server: dict[str, Any]) -> str:
    """Test the contract against data, with one more server that points to the data."""
    contract = _read_contract()
    contract["servers"].insert(0, {**server, "server": "here"})
    file, result = BUILD / "data" / "tested.yaml", BUILD / "data" / "tested.json"
    file.write_bytes(msgspec.yaml.encode(contract))
    result.unlink(missing_ok=True)
    command = (str(TOOLS / "datacontract"), "test", "--no-inline-references", "--server", "here")
    with suppress(CheckFailed):  # the result has more detail than the exit code
        _run(*command, "--output", str(result), "--output-format", "json", str(file))
    if not result.exists():
        raise CheckFailed("the tool wrote no result")
    checks = json.loads(result.read_bytes())["checks"]
    failures = [c for c in checks if c["result"] not in {"passed", "warning", "info", "skipped"}]
    passed_count = sum(check["result"] == "passed" for check in checks)
    if failures or not passed_count:
        details = "\n".join(f"{c['name']}: {c.get('reason')}" for c in failures)
        raise CheckFailed(f"{len(failures)} of {len(checks)} checks failed\n{details}")
    return f"{passed_count} of {len(checks)} checks passed, none failed"


def _test_server(name: str) -> Check:
    """Return the check of a file that the contract itself names as a server."""

    def check() -> str:
        servers = {one["server"]: one for one in _read_contract()["servers"]}
        return _test_contract(servers[name])

    return check


def _compare_contracts() -> str:
    """Compare the published version with what the tool calls breaking between the contracts."""
    first = msgspec.yaml.decode((BUILD / "data" / "first.odcs.yaml").read_bytes())["version"]
    second = _read_contract()["version"]
    is_major = first.partition(".")[0] != second.partition(".")[0]
    command = (str(TOOLS / "datacontract"), "breaking", "--no-inline-references")
    try:
        _run(*command, "first.odcs.yaml", "projects.odcs.yaml")
        is_breaking = False
    except CheckFailed as failure:
        if "ended with 1" not in str(failure):
            raise
        is_breaking = True
    if is_major != is_breaking:
        raise CheckFailed(f"{first} became {second}; the tool says breaking: {is_breaking}")
    return f"{first} became {second}, breaking: {is_breaking}"


def _lint_product() -> str:
    """Check the product, and the contracts of its ports."""
    for path in (BUILD / "data").glob("tested.*"):
        path.unlink()
    output = _run(str(TOOLS / "dataproduct"), "lint", "product.odps.yaml")
    if "resolvable" not in output:
        raise CheckFailed(output)
    return "valid against ODPS 1.1.0, contracts resolved"


def _validate_asyncapi() -> str:
    output = _run(
        str(NODE / "node_modules" / ".bin" / "asyncapi"),
        *("validate", "asyncapi.json", "--fail-severity", "warn"),
    )
    return "valid" if "is valid" in output else output


def _lint_openapi() -> str:
    spectral = str(NODE / "node_modules" / ".bin" / "spectral")
    _run(
        *(spectral, "lint", "--fail-severity", "hint"),
        *("--ruleset", str(HERE / "spectral.yaml"), "openapi.json"),
    )
    return "no errors, warnings or hints"


def _validate_openapi() -> str:
    return _run(str(TOOLS / "python"), "-m", "openapi_spec_validator", "openapi.json").strip()


def _lint_openapi_with_redocly() -> str:
    environment = {**os.environ, "REDOCLY_TELEMETRY": "off"}
    redocly = str(NODE / "node_modules" / ".bin" / "redocly")
    _run(redocly, "lint", "--format", "summary", "openapi.json", env=environment)
    return "no errors"


def _read_graphs() -> str:
    return _run(str(TOOLS / "python"), str(HERE / "graphs.py"), ".").strip().splitlines()[-1]


def _strict_events() -> str:
    """Validate each event by the specification's JSON schema in the JavaScript SDK."""
    environment = {**os.environ, "NODE_PATH": str(NODE / "node_modules")}
    return _run("node", str(HERE / "events.cjs"), "events.json", env=environment).strip()


def _typed_events() -> str:
    """Read each event with the Python SDK, which validates names and types."""
    events = json.loads((BUILD / "data" / "events.json").read_bytes())["events"]
    for event in events:
        cloudevent = JSONFormat().read(None, msgspec.json.encode(event))
        if cloudevent.get_data() != event["data"]:
            raise CheckFailed(f"the data of {event['id']} changed when read")
    return f"{len(events)} events"


def _lineage() -> str:
    """Validate each lineage event and facet by the classes of the standard's client."""
    events = json.loads((BUILD / "data" / "lineage.json").read_bytes())["items"]
    for event in events:
        try:
            openlineage.validate_event(event)
        except (AssertionError, KeyError, TypeError, ValueError, msgspec.ValidationError) as error:
            raise CheckFailed(f"{error!r} in {json.dumps(event)}") from error
    jobs = {event["job"]["name"].partition(".")[0] for event in events}
    if not {"import", "export", "migration"} <= jobs:
        raise CheckFailed(f"there are runs of {sorted(jobs)} only")
    return f"{len(events)} events of {', '.join(sorted(jobs))}"


CHECKS: Final[dict[str, Check]] = {
    "physical types": _check_physical_types,
    "datacontract lint": _lint_contract,
    "datacontract test (ndjson)": _test_server("ndjson"),
    "datacontract test (csv)": _test_server("csv"),
    "datacontract test (parquet)": _test_server("parquet"),
    "datacontract breaking": _compare_contracts,
    "dataproduct lint": _lint_product,
    "asyncapi validate": _validate_asyncapi,
    "spectral lint": _lint_openapi,
    "redocly lint": _lint_openapi_with_redocly,
    "openapi-spec-validator": _validate_openapi,
    "rdflib, pyshacl": _read_graphs,
    "CloudEvents schema": _strict_events,
    "CloudEvents SDK": _typed_events,
    "OpenLineage": _lineage,
}


# -- execution and report -------------------------------------------------------------------


def _run(*command: str, env: dict[str, str] | None = None, folder: Path = BUILD / "data") -> str:
    """Run a command in a folder, by default that of the documents, and return its output."""
    base = env or dict(os.environ)
    process = subprocess.run(
        command,
        cwd=folder,
        env={
            **base,
            "PATH": f"{TOOLS}{os.pathsep}{base['PATH']}",
            "NO_COLOR": "1",
            "COLUMNS": "200",
            "CI": "true",
            "ASYNCAPI_METRICS": "false",
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    if process.returncode:
        raise CheckFailed(
            f"{Path(command[0]).name} ended with {process.returncode}\n{_read_output(process)}"
        )
    return process.stdout


def _read_output(process: subprocess.CompletedProcess[str]) -> str:
    return f"{process.stdout}\n{process.stderr}".strip()[-4000:]


def _run_check(name: str, check: Check) -> Row:
    started = time.monotonic()
    try:
        detail, has_passed = check(), True
    except (
        CheckFailed,
        OSError,
        subprocess.SubprocessError,
        httpx.HTTPError,
        duckdb.Error,
    ) as failure:
        detail, has_passed = str(failure), False
    return name, has_passed, time.monotonic() - started, detail


def _report(rows: list[Row]) -> int:
    """Print all checks, then the failures in full; return 1 if there is one."""
    width = max(len(name) for name, *_ in rows)
    for name, has_passed, seconds, detail in rows:
        first = detail.splitlines()[0] if detail else ""
        print(f"{name:<{width}}  {'ok' if has_passed else 'FAILED':<6}  {seconds:6.1f} s  {first}")
    failures = [row for row in rows if not row[1]]
    for name, _, _, detail in failures:
        print(f"\n=== {name}\n{detail}")
    print(f"\n{len(rows) - len(failures)} passed, {len(failures)} failed")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
