"""An independent reader of OpenLineage events: the classes that the standard's own client has.

They are generated from the JSON Schemas of the standard. An event must have every member that its
class demands, of its type, no member that the class does not know, and each facet must name the
schema of its class at the very version that the class is of, in a place where it may stand.
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
    """Every facet class by the schema that it was generated from."""
    found: dict[str, type] = {}
    for module in pkgutil.iter_modules(generated.__path__):
        names = vars(importlib.import_module(f"{generated.__name__}.{module.name}"))
        for one in names.values():
            if isinstance(one, type) and hasattr(one, "_get_schema"):
                found[one._get_schema()] = one
    return found


_CLASSES = _classes()


def check(event: Json) -> Json:
    """The event, if the standard's client can read every part of it.

    Raises:
        AssertionError, ValueError: it cannot, and why.
    """
    _check(event, RunEvent, but=frozenset({"run", "job", "inputs", "outputs"}))
    assert event["schemaURL"] == RunEvent._get_schema()
    _facets(event["run"], "facets", RunFacet)
    _facets(event["job"], "facets", JobFacet)
    for name, its_own in (("inputs", InputDatasetFacet), ("outputs", OutputDatasetFacet)):
        for dataset in event[name]:
            _facets(dataset, "facets", DatasetFacet)
            _facets(dataset, f"{name[:-1]}Facets", its_own)
    return event


def _facets(holder: Json, member: str, base: type) -> None:
    for key, facet in holder.get(member, {}).items():
        found = _CLASSES[facet["_schemaURL"]]
        assert issubclass(found, base), (key, found, base)
        _check(facet, found)


def _check(value: Json, wanted: type, but: frozenset[str] = frozenset()) -> None:
    """The value is one of the class, with no member that the class does not know."""
    read: Any = msgspec.convert(value, wanted)
    attr.validate(read)
    for name, member in value.items():
        assert name in {field.name for field in attr.fields(wanted)}, (wanted, name)
        if name not in but:
            _known(member, getattr(read, name))


def _known(value: object, read: object) -> None:
    if isinstance(value, list) and isinstance(read, list):
        for one, other in zip(value, read, strict=True):
            _known(one, other)
    elif isinstance(value, Mapping) and isinstance(read, Mapping):
        for name, one in value.items():
            _known(one, read[name])
    elif isinstance(value, Mapping):
        names = {field.name for field in attr.fields(type(read))}  # type: ignore[arg-type]  # of the client's own classes
        assert set(value) <= names, (type(read), set(value) - names)
        for name, one in value.items():
            _known(one, getattr(read, name))
