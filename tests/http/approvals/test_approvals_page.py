"""The page of approvals: what waits for the caller, with its changes; it decides nothing."""

import msgspec
from tests.http.approvals.conftest import APPROVALS, LARGE, Desk
from tests.http.covenants.test_certificate_routes import Texts

from spawn.application.access.api_clients import create_api_client
from spawn.domain.principal import LOCAL_PRINCIPAL, Scope

PAGE = "/pages/approvals"


async def read(desk: Desk, who: str = "checker") -> str:
    response = await desk.send(who, "GET", PAGE)
    assert response.status_code == 200, response.text
    return response.text


async def test_a_waiting_command_is_shown_with_its_changes_until_it_is_decided(desk: Desk) -> None:
    assert "Nothing waits for your decision." in Texts(await read(desk)).texts
    project = await desk.create()
    hostile = "Wind <script>alert(1)</script>"
    approval = await desk.amend(project, {**LARGE, "project_name": hostile})
    path = approval.headers["location"]
    document = (await desk.send("checker", "GET", path)).json()
    page = Texts(await read(desk))
    for change in document["changes"]:
        for text in ("pointer", "before", "after"):
            assert change[text] in page.texts
    assert len(document["changes"]) == 2
    assert hostile in page.texts
    assert not {"script", "form", "button"} & set(page.elements)
    assert f"{document['command']} by {document['maker']}" in page.texts
    assert document["state"] in page.texts
    assert document["expires_at"][:16].replace("T", " ") + " UTC" in page.texts
    command = f'spawn approvals approve {document["approval_id"]} --reason "…"'
    assert any(command in text for text in page.texts)
    assert (await desk.decide("checker", path)).status_code == 200
    assert document["approval_id"] not in await read(desk)


async def test_a_value_is_shown_whole_or_said_to_be_longer(desk: Desk) -> None:
    project = await desk.create()
    for length, is_whole in ((1_999, True), (2_001, False)):
        text = "n" * (length - 1) + "!"
        sent = await desk.amend(project, {**LARGE, "x_note": text})
        assert sent.status_code == 202, sent.text
        page = await read(desk)
        assert (text in page) is is_whole
        assert ("more than is shown here" in page) is not is_whole


async def test_a_stale_command_cannot_be_approved(desk: Desk) -> None:
    project = await desk.create()
    approval_id = (await desk.request(project)).rpartition("/")[2]
    assert (await desk.amend(project, {"dscr": 1.5})).status_code == 200
    page = Texts(await read(desk))
    assert "stale" in page.texts
    project_id = project.rpartition("/")[2]
    assert any(f"project {project_id} is at version 2." in text for text in page.texts)
    (commands,) = (text for text in page.texts if text.startswith("spawn approvals"))
    assert commands == f'spawn approvals reject {approval_id} --reason "…"'


async def test_own_commands_are_left_out_and_the_key_of_the_maker_only_rejects(desk: Desk) -> None:
    await desk.add("both", Scope.PROJECTS_READ, Scope.PROJECTS_WRITE, Scope.APPROVALS_DECIDE)
    project = await desk.create()
    approval_id = (await desk.request(project)).rpartition("/")[2]
    tag = (await desk.send("both", "GET", project)).headers["etag"]
    own = await desk.send("both", "PATCH", project, LARGE, if_match=tag)
    assert own.status_code == 202, own.text
    waiting = (await desk.send("both", "GET", APPROVALS)).json()["items"]
    assert {one["maker"] for one in waiting} == {"key:maker", "key:both"}
    page = await read(desk, "both")
    for one in waiting:
        assert (one["approval_id"] in page) is (one["maker"] == "key:maker")

    maker = msgspec.structs.replace(LOCAL_PRINCIPAL, id="key:maker")
    scopes = frozenset({Scope.APPROVALS_DECIDE})
    issued = await create_api_client(
        desk.dependencies, maker, "friend", scopes, environment="test", row_scope=None
    )
    desk.headers["friend"] = {"Authorization": f"Bearer {issued.text}"}
    page = await read(desk, "friend")
    assert f"spawn approvals reject {approval_id}" in page
    assert f"spawn approvals approve {approval_id}" not in page


async def test_the_page_needs_the_scope_to_decide(desk: Desk) -> None:
    assert (await desk.send("maker", "GET", PAGE)).status_code == 403
    assert (await desk.client.get(PAGE)).status_code == 401
