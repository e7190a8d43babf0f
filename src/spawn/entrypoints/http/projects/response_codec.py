"""Codec of the responses to commands: a whole project, rendered the first time and again."""

from typing import Final

from spawn.application.dependencies import Dependencies
from spawn.application.projects.versioned_views import get_recorded_version
from spawn.application.schemas.served_versions import find_schema
from spawn.domain.change import ResponseRecipe
from spawn.entrypoints.http.projects.representation import (
    ProjectRepresentation,
    build_representation,
)
from spawn.entrypoints.http.protocol.etags import version_etag
from spawn.entrypoints.http.protocol.response import (
    Header,
    Response,
    decode_headers,
    encode_headers,
)

CODEC: Final = "project.v1"
"""Name of the codec in receipts; another way to render a project needs another name."""

PATH: Final = "/v1/ops/projects"
_CREATED: Final = 201


def build_recipe(
    status: int, view_headers: tuple[Header, ...], warnings: tuple[Header, ...], epoch: int
) -> ResponseRecipe:
    """Return the recipe of the response that `render_command_response` builds."""
    headers = encode_headers((*view_headers, *warnings))
    return ResponseRecipe(codec=CODEC, status=status, headers=headers, epoch=epoch)


def render_command_response(
    status: int, document: ProjectRepresentation, warnings: tuple[Header, ...] = ()
) -> Response:
    """Return the response to a command: the project, and its location if it is new."""
    response = document.to_response(status, *warnings)
    if status == _CREATED:
        location = (b"location", f"{PATH}/{document.project_id}".encode())
        response.head_message["headers"].insert(0, location)
    return response


async def render_recipe(dependencies: Dependencies, recipe: ResponseRecipe) -> Response:
    """Render a command's response again, from the journal's document of that version."""
    subject = recipe.subject
    if subject is None:
        raise RuntimeError("the receipt of a command must refer to a project")
    aggregate = await get_recorded_version(dependencies, subject)
    schema = await find_schema(dependencies, aggregate.schema_version)
    etag = version_etag(aggregate.version, recipe.epoch, schema.version)
    headers = tuple(decode_headers(recipe.headers))
    return render_command_response(
        recipe.status, build_representation(aggregate, schema, etag, headers)
    )
