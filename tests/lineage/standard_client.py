"""Validation of OpenLineage events by the classes of the standard's own Python client.

The classes are generated from the JSON Schemas of the standard. An event must have every member
that its class requires, of the right type, no unknown member, and each facet must name the schema
of its class, at the same version and in an allowed place.
"""

import importlib
import pkgutil
from collections.abc import Mapping
from typing import Any

import attr
import msgspec
from openlineage.client import generated
from openlineage.client.generated.base import (
    DatasetFacet,
    InputDatasetFacet,
    JobFacet,
    OutputDatasetFacet,
    RunEvent,
    RunFacet,
)

Json = dict[str, Any]


def _classes() -> dict[str, type]:
    """Return every facet class by the schema that it is generated from."""
    classes: dict[str, type] = {}
    for module in pkgutil.iter_modules(generated.__path__):
        names = vars(importlib.import_module(f"{generated.__name__}.{module.name}"))
        for value in names.values():
            if isinstance(value, type) and hasattr(value, "_get_schema"):
                classes[value._get_schema()] = value
    return classes


_CLASSES = _classes()


def validate_event(event: Json) -> Json:
    """Return the event if the standard's client can read every part of it.

    Raises:
        AssertionError, ValueError: the client cannot read a part.
    """
    _validate(event, RunEvent, skip=frozenset({"run", "job", "inputs", "outputs"}))
    assert event["schemaURL"] == RunEvent._get_schema()
    _validate_facets(event["run"], "facets", RunFacet)
    _validate_facets(event["job"], "facets", JobFacet)
    for name, facet_type in (("inputs", InputDatasetFacet), ("outputs", OutputDatasetFacet)):
        for dataset in event[name]:
            _validate_facets(dataset, "facets", DatasetFacet)
            _validate_facets(dataset, f"{name[:-1]}Facets", facet_type)
    return event


def _validate_facets(holder: Json, member: str, base: type) -> None:
    for key, facet in holder.get(member, {}).items():
        facet_class = _CLASSES[facet["_schemaURL"]]
        assert issubclass(facet_class, base), (key, facet_class, base)
        _validate(facet, facet_class)


def _validate(value: Json, expected: type, skip: frozenset[str] = frozenset()) -> None:
    """Assert that the value is an instance of the class, without unknown members."""
    instance: Any = msgspec.convert(value, expected)
    attr.validate(instance)
    for name, member in value.items():
        assert name in {field.name for field in attr.fields(expected)}, (expected, name)
        if name not in skip:
            _validate_members(member, getattr(instance, name))


def _validate_members(value: object, read: object) -> None:
    if isinstance(value, list) and isinstance(read, list):
        for one, other in zip(value, read, strict=True):
            _validate_members(one, other)
    elif isinstance(value, Mapping) and isinstance(read, Mapping):
        for name, one in value.items():
            _validate_members(one, read[name])
    elif isinstance(value, Mapping):
        names = {field.name for field in attr.fields(type(read))}  # type: ignore[arg-type]  # of the client's own classes
        assert set(value) <= names, (type(read), set(value) - names)
        for name, one in value.items():
            _validate_members(one, getattr(read, name))
