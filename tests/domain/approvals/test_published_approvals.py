"""States in events have no field that their aggregate lacks."""

import msgspec

from spawn.domain.aggregates import AGGREGATE_TYPES
from spawn.domain.events.published_states import PUBLISHED_STATES, publish_state


def test_published_fields_are_those_of_the_stored_state() -> None:
    for kind, published in PUBLISHED_STATES.items():
        stored = set(AGGREGATE_TYPES[kind].state_type.__struct_fields__)
        assert set(published.__struct_fields__) < stored


def test_approval_of_an_earlier_release_is_published_without_its_body() -> None:
    """Its document has neither kind nor amount."""
    document = msgspec.json.encode(
        {
            "approval_id": "a",
            "command": "amendProject",
            "target": "/v1/ops/projects/p",
            "body": '{"description":"secret"}',
            "maker": "key:m",
            "state": "pending",
            "expires_at": "2026-03-01T12:00:00Z",
            "preview": {"changes": [{"after": "secret"}]},
        }
    )
    published = publish_state("approval", document)
    assert b"secret" not in published
    assert msgspec.json.decode(published)["amount"] == ""


def test_state_of_another_kind_is_published_as_it_is_stored() -> None:
    assert publish_state("project", b'{"a":1}') == b'{"a":1}'
