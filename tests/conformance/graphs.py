"""Reads catalogue and context as RDF and holds both to shapes; run by the tools' own Python.

Prints what it found, and exits with 1 if anything does not hold.
"""

import json
import sys
from pathlib import Path

from pyshacl import validate  # type: ignore[import-not-found]  # lives in the tools' environment
from rdflib import RDF, Graph, Namespace  # type: ignore[import-not-found]  # as above

DCAT = Namespace("http://www.w3.org/ns/dcat#")
SCHEMA = Namespace("https://schema.org/")
SHAPES = Path(__file__).with_name("shapes.ttl")


def main(folder: Path) -> int:
    """Check `catalog.jsonld`, and `project.json` read with `context.jsonld`, in a folder."""
    catalog = Graph().parse(folder / "catalog.jsonld", format="json-ld")
    context = json.loads((folder / "context.jsonld").read_text())["@context"]
    project = json.loads((folder / "project.json").read_text())
    linked = {"@context": context, "@type": "Project", **project}
    data = Graph().parse(data=json.dumps(linked), format="json-ld")
    faults = [*_broken("catalog", catalog), *_broken("project", data)]
    faults += _missing_variables(catalog, context)
    faults += _lost_fields(data, project)
    for fault in faults:
        print(fault, file=sys.stderr)
    print(f"{len(catalog)} triples of the catalogue, {len(data)} of a project")
    return 1 if faults else 0


def _broken(name: str, graph: Graph) -> list[str]:
    conforms, _, text = validate(graph, shacl_graph=str(SHAPES), shacl_graph_format="turtle")
    targets = set(graph.subjects(RDF.type, None))
    if not targets:
        return [f"{name}: nothing in it has a type"]
    return [] if conforms else [f"{name}: {text}"]


def _missing_variables(catalog: Graph, context: dict[str, object]) -> list[str]:
    """Fields of the context that the catalogue does not know, structural ones aside."""
    named = {str(name) for name in catalog.objects(None, SCHEMA.name)}
    structural = {"spv", "sponsors", "milestones", "external_ref", "items", "next"}
    fields = {name for name in context if name[0].islower()} - structural
    return [f"catalog: no variable {name}" for name in sorted(fields - named)]


def _lost_fields(data: Graph, project: dict[str, object]) -> list[str]:
    """A field with a value of which no triple came."""
    root = next(iter(set(data.subjects()) - set(data.objects())))
    properties = set(data.predicates(root)) - {RDF.type}
    present = [n for n, v in project.items() if v not in (None, []) and not n.startswith("x_")]
    # Two fields may share a meaning, so that there may be fewer properties, but never none.
    if len(properties) < len(present) - 2:
        return [f"project: {len(present)} fields became {len(properties)} properties"]
    return []


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
