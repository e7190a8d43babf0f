"""Use a client that openapi-python-client generated: create, list, import and size a debt.

Runs in the tools' environment, with the folder of the generated package on the path. Arguments: the
address of a running service.
"""

import sys
import time
from io import BytesIO
from typing import TypeVar
from uuid import uuid4

import httpx
from spawn_client import AuthenticatedClient  # type: ignore[import-not-found,unused-ignore]
from spawn_client.api.analysis import calculate_debt_sizing  # type: ignore[import-not-found,unused-ignore]
from spawn_client.api.imports import get_import, put_import_mapping, start_import  # type: ignore[import-not-found,unused-ignore]
from spawn_client.api.jobs import get_job  # type: ignore[import-not-found,unused-ignore]
from spawn_client.api.operations import create_project, list_projects  # type: ignore[import-not-found,unused-ignore]
from spawn_client.models import (  # type: ignore[import-not-found,unused-ignore]
    ColumnMapping,
    Import,
    ImportMapping,
    Job,
    JobStatus,
    ListProjectsFilters,
    Project,
    ProjectInput,
    ProjectPage,
    RowKey,
    SizingRequest,
    SizingResponse,
)
from spawn_client.types import File  # type: ignore[import-not-found,unused-ignore]

T = TypeVar("T")


def expect(value: object, expected_type: type[T]) -> T:
    """Return a parsed response of the expected type; a problem ends the script with its text."""
    if not isinstance(value, expected_type):
        raise SystemExit(f"expected {expected_type.__name__}, got {value}")
    return value


def main(url: str) -> int:
    """Run each use once, and print what came back."""
    mark = uuid4().hex
    timeout = httpx.Timeout(60)
    with AuthenticatedClient(base_url=url, token="local", timeout=timeout) as client:  # noqa: S106 - checked by no one
        body = ProjectInput(project_name="Harbour Wind", total_amount="184500000.00", sector=mark)
        project = expect(create_project.sync(client=client, body=body), Project)
        filters = ListProjectsFilters(sector=mark)
        page = expect(list_projects.sync(client=client, filters=filters, limit=10), ProjectPage)
        if [one.project_id for one in page.items] != [project.project_id]:
            raise SystemExit(f"the list does not have the new project alone: {page.items}")
        result = import_plants(client, mark)
        case = SizingRequest(cfads=[9.8, 10.1, 10.3, 10.6], annual_rates=0.055, target_dscr=1.3)
        sized = expect(calculate_debt_sizing.sync(client=client, body=case), SizingResponse)
    print(f"project {project.project_name}, {result.accepted} imported, debt {sized.debt:.3f}")
    return 0


def import_plants(client: AuthenticatedClient, mark: str) -> Import:
    """Import two rows, one of which is quarantined, and return the counts."""
    columns = [
        ColumnMapping(attribute="project_name", column="name"),
        ColumnMapping(attribute="total_amount", column="amount"),
    ]
    mapping = ImportMapping(columns=columns, key=RowKey(source=mark, column="id"))
    name = f"generated-{mark[:8]}"
    expect(put_import_mapping.sync(name, client=client, body=mapping), ImportMapping)
    file = File(payload=BytesIO(b"id,name,amount\n1,North,5\n2,South,x\n"))
    job = expect(start_import.sync(client=client, body=file, mapping=name), Job)
    while job.status in {JobStatus.QUEUED, JobStatus.RUNNING}:
        time.sleep(0.1)
        job = expect(get_job.sync(job.job_id, client=client), Job)
    result = expect(get_import.sync(job.job_id, client=client), Import)
    if (result.accepted, result.quarantined) != (1, 1):
        raise SystemExit(f"unexpected counts: {result}")
    return result


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
