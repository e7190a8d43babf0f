"""Has independent tools judge the live documents of a real service, after an evolution.

A service starts with the sample portfolio under version 1 of a schema; the ontology server
publishes version 2, which the service adopts; projects are written under it. Then the documents, an
export, the store's own table, events and lineage go to the tools. `make conformance` prepares them.
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
from tests.lineage import oracle as openlineage
from tests.product.service import Service, free_port

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
ADDED: Final = (
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
"""What version 2 adds."""

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
OF_VERSION_2: Final = {
    "capacity_mw": 123456789.125,
    "technology": "TIDAL",
    "turbine_count": 21,
    "risk_grade": "A",
}
"""What only version 2 allows."""

Row = tuple[str, bool, float, str]
Check = Callable[[], str]


class Failed(Exception):
    """A check that does not hold; the message says what came out."""


def main() -> int:
    """Run everything; 1 if anything failed."""
    data = BUILD / "data"
    shutil.rmtree(data, ignore_errors=True)
    data.mkdir(parents=True)
    rows: list[Row] = []
    with _ontology() as ontology:
        _publish(ontology, first_version())
        service = Service(
            data,
            command="demo",
            SPAWN_ONTOLOGY_URL=ontology,
            SPAWN_PRODUCT_ID="conformance",
            SPAWN_PRODUCT_OWNER="Conformance desk",
            SPAWN_PRODUCT_CONTACT="mailto:desk@spawn.example",
            # Nobody listens there; the documents tell of the ways all the same.
            SPAWN_EVENTS_URL=f"nats://127.0.0.1:{free_port()}/desk.events,log://",
        )
        try:
            service.start()
            rows.append(_judged("evolution", lambda: _evolve(service, ontology)))
            rows.append(_judged("writing", lambda: _write(service)))
            rows.append(_judged("documents", lambda: _collect(service)))
            rows.append(_judged("export", lambda: _export(service)))
        finally:
            service.stop()
    rows.append(_judged("snapshot", lambda: _snapshot(service.folder / "spawn.duckdb")))
    rows += [_judged(name, check) for name, check in CHECKS.items()]
    return _report(rows)


# -- a service that has been through an evolution -------------------------------------------


def first_version() -> dict[str, Any]:
    """The bundled schema as version 1 of an organisation's."""
    bundled = files("spawn.adapters.ontology") / "bundled" / "project_schema.json"
    document: dict[str, Any] = json.loads(bundled.read_text())
    return {**document, "version": 1}


def second_version() -> dict[str, Any]:
    """Columns added, one deprecated with its last day, one widened, an enum grown, a promise."""
    document = first_version()
    columns = {column["name"]: column for column in document["columns"]}
    columns["offtaker"] |= {"deprecated": True, "sunset": "2035-12-31"}
    columns["capacity_mw"]["type"] = "decimal(18,3)"
    columns["technology"]["enum"].append("TIDAL")
    promises = [{"complete": "turbine_count", "threshold": 0.5, "severity": "warning"}]
    return {
        **document,
        "version": 2,
        "columns": [*columns.values(), *ADDED],
        "quality": promises,
    }


@contextmanager
def _ontology() -> Iterator[str]:
    """A real ontology server on a port of its own."""
    port = free_port()
    command = [sys.executable, "-m", "spawn.entrypoints.cli", "ontology-server"]
    log = (BUILD / "ontology.log").open("wb")
    clean = {k: v for k, v in os.environ.items() if not k.startswith("SPAWN_")}
    process = subprocess.Popen([*command, "--port", str(port)], stdout=log, stderr=log, env=clean)
    url = f"http://127.0.0.1:{port}"
    try:
        _patiently(httpx.TransportError, lambda: httpx.get(f"{url}/health").raise_for_status())
        yield url
    finally:
        process.terminate()
        process.wait(30)
        log.close()


def _publish(ontology: str, document: dict[str, Any]) -> None:
    address = f"{ontology}/schemas/{SCHEMA_ID}/versions/{document['version']}"
    httpx.put(address, json=document).raise_for_status()


def _evolve(service: Service, ontology: str) -> str:
    """Publish version 2 and see it adopted."""
    with httpx.Client(base_url=service.url, timeout=60) as client:
        _publish(ontology, second_version())
        client.post(f"{SCHEMAS}/refresh").raise_for_status()

        def adopted() -> None:
            version = client.get(SCHEMAS).json()["version"]
            if version != 2:
                waiting = client.get(f"{SCHEMAS}/candidates").json()["items"]
                raise Failed(f"version {version} is active, waiting: {waiting}")

        _patiently(Failed, adopted)
    return "version 2 adopted"


def _write(service: Service) -> str:
    """A project through its first steps, an import, and a measurement, under what rules."""
    with httpx.Client(base_url=service.url, timeout=60) as client:
        version = client.get(SCHEMAS).json()["version"]
        body = {**PROJECT, **(OF_VERSION_2 if version == 2 else {})}
        made = client.post("/v1/ops/projects", json=body).raise_for_status()
        where, match = made.headers["location"], {"if-match": "*"}
        client.patch(where, json={"dscr": 1.4}, headers=match).raise_for_status()
        step = {"to": "MANDATED", "reason": "Mandate signed"}
        client.post(f"{where}/transitions", json=step, headers=match).raise_for_status()
        row = json.dumps({**body, "external_ref": {"source": "desk", "id": "CN-2"}}) + "\n"
        ndjson = {"content-type": "application/x-ndjson"}
        started = client.post("/v1/ops/imports", content=row, headers=ndjson).raise_for_status()

        def ended() -> None:
            job = client.get(f"/v1/jobs/{started.json()['job_id']}").json()
            if job["status"] != "succeeded":
                raise Failed(f"the import is {job['status']}: {job.get('error')}")

        _patiently(Failed, ended)
        client.post("/v1/governance/quality/runs").raise_for_status()
    return f"under version {version}"


def _patiently(until: type[Exception], act: Callable[[], object]) -> None:
    tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(until),
        wait=tenacity.wait_fixed(0.1),
        stop=tenacity.stop_after_delay(30),
        reraise=True,
    )(act)


# -- what the tools are given ---------------------------------------------------------------


def _collect(service: Service) -> str:
    """The live documents, events, lineage and one project, as files."""
    with httpx.Client(base_url=service.url, timeout=60) as client:
        for path, name in DOCUMENTS.items():
            _keep(name, client.get(path).raise_for_status().content)
        events = client.get("/v1/events", params={"limit": 500}).raise_for_status()
        newest = client.get("/v1/ops/projects", params={"project_name": "Cabo Norte Wind"})
        _keep("events.json", _all_kinds(client, events.json()["events"]))
        _keep("project.json", msgspec.json.encode(newest.json()["items"][0]))
        client.get("/v1/data/projects").raise_for_status()
        _keep("lineage.json", client.get("/lineage").raise_for_status().content)
    return f"{len(DOCUMENTS)} documents"


def _all_kinds(client: httpx.Client, first: list[Any]) -> bytes:
    """The first events, and the newest ones of each type that the service tells."""
    messages = client.get("/asyncapi.json").json()["components"]["messages"].values()
    types = [message["name"] for message in messages if message["name"].startswith("spawn.")]
    events = list(first)
    for name in types:
        events += client.get("/v1/events", params={"type": name}).json()["events"]
    return msgspec.json.encode({"events": events})


def _keep(name: str, content: bytes) -> None:
    (BUILD / "data" / name).write_bytes(content)


def _export(service: Service) -> str:
    """Every project through `spawn export`, in both formats."""
    spawn = [sys.executable, "-m", "spawn.entrypoints.cli", "export"]
    environment = {**os.environ, "SPAWN_URL": service.url}
    for file_format in ("csv", "ndjson"):
        target = BUILD / "data" / f"projects.{file_format}"
        _run(*spawn, "--format", file_format, "--output", str(target), env=environment)
    count = (BUILD / "data" / "projects.ndjson").read_bytes().count(b"\n")
    return f"{count} projects"


def _snapshot(store: Path) -> str:
    """A DuckDB file for the tools: the store's own typed table, and the structure as exported."""
    data = BUILD / "data"
    contract = _contract()
    types = {one["name"]: one["physicalType"] for one in contract["schema"][0]["properties"]}
    plain = ", ".join(f'p."{name}"' for name in types if name not in STRUCTURE)
    shapes = {"project_id": "VARCHAR", **{name: types[name] for name in STRUCTURE}}
    columns = ", ".join(f"'{name}': '{kind}'" for name, kind in shapes.items())
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
        raise Failed("the snapshot is empty")
    return f"{count} projects, {len(types)} columns"


def _physical_types() -> str:
    """The types that the contract names against those of the store's table; no tool compares."""
    with duckdb.connect(str(BUILD / "data" / "snapshot.duckdb"), read_only=True) as connection:
        described = connection.execute("describe projects").fetchall()
    found = {name: kind for name, kind, *_ in described if name not in STRUCTURE}
    properties = _contract()["schema"][0]["properties"]
    said = {one["name"]: one["physicalType"] for one in properties if one["name"] in found}
    if said != found:
        odd = {name: (kind, found[name]) for name, kind in said.items() if kind != found[name]}
        raise Failed(f"said and found: {odd}")
    return f"{len(found)} columns have the type that the contract names"


def _contract() -> dict[str, Any]:
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
    """The contract against data: its own words, with one server more that leads to the data."""
    contract = _contract()
    contract["servers"].insert(0, {"server": "here", **server})
    file, result = BUILD / "data" / "tested.yaml", BUILD / "data" / "tested.json"
    file.write_bytes(msgspec.yaml.encode(contract))
    result.unlink(missing_ok=True)
    command = (str(TOOLS / "datacontract"), "test", "--no-inline-references", "--server", "here")
    with suppress(Failed):  # the result says more than the code
        _run(*command, "--output", str(result), "--output-format", "json", str(file))
    if not result.exists():
        raise Failed("the tool gave no result")
    checks = json.loads(result.read_bytes())["checks"]
    bad = [c for c in checks if c["result"] not in {"passed", "warning", "info", "skipped"}]
    passed = sum(check["result"] == "passed" for check in checks)
    if bad or not passed:
        told = "\n".join(f"{c['name']}: {c.get('reason')}" for c in bad)
        raise Failed(f"{len(bad)} of {len(checks)} checks failed\n{told}")
    return f"{passed} of {len(checks)} checks passed, none failed"


def _test_snapshot() -> str:
    database = str(BUILD / "data" / "snapshot.duckdb")
    return _test_contract({"type": "duckdb", "database": database, "schema": "main"})


def _test_csv() -> str:
    path = str(BUILD / "data" / "{model}.csv")
    return _test_contract({"type": "local", "path": path, "format": "csv"})


def _lint_product() -> str:
    """The product, and that the contract of its ports is found and valid."""
    for stray in (BUILD / "data").glob("tested.*"):
        stray.unlink()
    said = _run(str(TOOLS / "dataproduct"), "lint", "product.odps.yaml")
    if "resolvable" not in said:
        raise Failed(said)
    return "valid against ODPS 1.1.0, contracts resolved"


def _validate_asyncapi() -> str:
    said = _run(
        str(NODE / "node_modules" / ".bin" / "asyncapi"),
        *("validate", "asyncapi.json", "--fail-severity", "warn"),
    )
    return "valid" if "is valid" in said else said


def _lint_openapi() -> str:
    spectral = str(NODE / "node_modules" / ".bin" / "spectral")
    _run(
        *(spectral, "lint", "--fail-severity", "hint"),
        *("--ruleset", str(HERE / "spectral.yaml"), "openapi.json"),
    )
    return "no errors, warnings or hints"


def _read_graphs() -> str:
    return _run(str(TOOLS / "python"), str(HERE / "graphs.py"), ".").strip().splitlines()[-1]


def _strict_events() -> str:
    """Each event by the JSON schema of the specification, as the JavaScript SDK has it."""
    environment = {**os.environ, "NODE_PATH": str(NODE / "node_modules")}
    return _run("node", str(HERE / "events.cjs"), "events.json", env=environment).strip()


def _typed_events() -> str:
    """Each event as the Python SDK reads it: attributes typed, no name that it refuses."""
    events = json.loads((BUILD / "data" / "events.json").read_bytes())["events"]
    for event in events:
        read = JSONFormat().read(None, msgspec.json.encode(event))
        if read.get_data() != event["data"]:
            raise Failed(f"the data of {event['id']} changed on the way")
    return f"{len(events)} events"


def _lineage() -> str:
    """Each event of lineage, with every facet, by the classes of the standard's own client."""
    events = json.loads((BUILD / "data" / "lineage.json").read_bytes())["items"]
    for event in events:
        try:
            openlineage.check(event)
        except (AssertionError, KeyError, TypeError, ValueError, msgspec.ValidationError) as odd:
            raise Failed(f"{odd!r} in {json.dumps(event)}") from odd
    jobs = {event["job"]["name"].partition(".")[0] for event in events}
    if not {"import", "export", "migration"} <= jobs:
        raise Failed(f"there are runs of {sorted(jobs)} only")
    return f"{len(events)} events of {', '.join(sorted(jobs))}"


CHECKS: Final[dict[str, Check]] = {
    "physical types": _physical_types,
    "datacontract lint": _lint_contract,
    "datacontract test (table)": _test_snapshot,
    "datacontract test (csv)": _test_csv,
    "dataproduct lint": _lint_product,
    "asyncapi validate": _validate_asyncapi,
    "spectral lint": _lint_openapi,
    "rdflib, pyshacl": _read_graphs,
    "CloudEvents schema": _strict_events,
    "CloudEvents SDK": _typed_events,
    "OpenLineage": _lineage,
}


# -- running and telling --------------------------------------------------------------------


def _run(*command: str, env: dict[str, str] | None = None) -> str:
    """What a command says, in the folder of the documents; its failure is ours."""
    folder = BUILD / "data"
    base = env or dict(os.environ)
    done = subprocess.run(
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
    if done.returncode:
        raise Failed(f"{Path(command[0]).name} ended with {done.returncode}\n{_told(done)}")
    return done.stdout


def _told(done: subprocess.CompletedProcess[str]) -> str:
    return f"{done.stdout}\n{done.stderr}".strip()[-4000:]


def _judged(name: str, check: Check) -> Row:
    started = time.monotonic()
    try:
        detail, holds = check(), True
    except (Failed, OSError, subprocess.SubprocessError, httpx.HTTPError, duckdb.Error) as failure:
        detail, holds = str(failure), False
    return name, holds, time.monotonic() - started, detail


def _report(rows: list[Row]) -> int:
    """A table of all checks, then what failed in full; 1 if anything did."""
    width = max(len(name) for name, *_ in rows)
    for name, holds, seconds, detail in rows:
        first = detail.splitlines()[0] if detail else ""
        print(f"{name:<{width}}  {'ok' if holds else 'FAILED':<6}  {seconds:6.1f} s  {first}")
    failed = [row for row in rows if not row[1]]
    for name, _, _, detail in failed:
        print(f"\n=== {name}\n{detail}")
    print(f"\n{len(rows) - len(failed)} passed, {len(failed)} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
