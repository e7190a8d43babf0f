"""Examples of properties, taken from examples of whole documents."""

from typing import Any

from spawn.application.schema_examples import MAX_ITEMS, PropertyExamples

Json = dict[str, Any]
INTEGER: Json = {"type": "integer"}


def add_examples(schemas: Json, example: Any = None, **named_examples: Any) -> Json:
    """Return the examples by component and property of a document with one response."""
    media: Json = {"schema": {"$ref": "#/components/schemas/Case"}}
    if example is not None:
        media["examples"] = {"typical": {"value": example}}
    response = {"content": {"application/json": media}}
    document = {
        "paths": {"/cases": {"get": {"responses": {"200": response}}}},
        "components": {"schemas": schemas, "examples": {}},
    }
    components = PropertyExamples(document, named_examples).add_to_components()
    return {
        f"{component}.{name}": part["examples"][0]
        for component, schema in components.items()
        for name, part in schema.get("properties", {}).items()
        if "examples" in part
    }


def object_of(**properties: Json) -> Json:
    return {"type": "object", "properties": properties}


def test_values_of_a_whole_example_come_before_named_ones() -> None:
    schemas = {"Case": object_of(period=INTEGER, rank=INTEGER)}
    assert add_examples(schemas, {"period": 4}, period=1, rank=2) == {
        "Case.period": 4,
        "Case.rank": 2,
    }


def test_nested_objects_lists_and_choices_are_followed() -> None:
    row = {"$ref": "#/components/schemas/Row"}
    rows = {"anyOf": [{"type": "array", "items": row}, {"type": "null"}]}
    schemas = {
        "Case": object_of(rows=rows),
        "Row": object_of(amounts={"type": "array", "items": {"type": "number"}}),
    }
    examples = add_examples(schemas, {"rows": [{"amounts": []}, {"amounts": [1.5, 2, 3, 4]}]})
    assert examples == {"Row.amounts": [1.5, 2, 3, 4][:MAX_ITEMS]}


def test_a_component_may_have_a_named_value_of_its_own() -> None:
    schemas = {"Case": object_of(id={"type": "string"}), "Other": object_of(id={"type": "string"})}
    named_examples = {"id": "a-1", "Other.id": "b-2"}
    assert add_examples(schemas, **named_examples) == {"Case.id": "a-1", "Other.id": "b-2"}


def test_a_value_of_another_type_or_choice_is_passed_over() -> None:
    kind = {"anyOf": [{"enum": ["annuity", "bullet"]}, {"type": "number"}]}
    schemas = {"Case": object_of(kind={"type": "string"}), "Other": object_of(kind=kind)}
    assert add_examples(schemas, {"kind": "linear"}) == {"Case.kind": "linear"}
    assert add_examples(schemas, {"kind": "bullet"})["Other.kind"] == "bullet"
    assert add_examples(schemas, kind=True) == {}


def test_dates_and_booleans_need_no_named_value() -> None:
    date = {"anyOf": [{"type": "string", "format": "date"}, {"type": "null"}]}
    schemas = {"Case": object_of(due=date, is_paid={"type": "boolean"}, status={"enum": ["A"]})}
    assert add_examples(schemas) == {"Case.due": "2031-06-30", "Case.is_paid": True}


def test_the_document_itself_is_not_changed() -> None:
    schemas = {"Case": object_of(period=INTEGER)}
    add_examples(schemas, {"period": 4})
    assert schemas == {"Case": object_of(period={"type": "integer"})}
