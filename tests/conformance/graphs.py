"""Validate catalogue and context as RDF against SHACL shapes, in the tools' environment.

The exit code is 1 if a check fails.
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
    document = {"@context": context, "@type": "Project", **project}
    data = Graph().parse(data=json.dumps(document), format="json-ld")
    errors = [*_validate_shapes("catalog", catalog), *_validate_shapes("project", data)]
    errors += _missing_variables(catalog, context)
    errors += _lost_fields(data, project)
    for error in errors:
        print(error, file=sys.stderr)
    print(f"{len(catalog)} triples of the catalogue, {len(data)} of a project")
    return 1 if errors else 0


def _validate_shapes(name: str, graph: Graph) -> list[str]:
    conforms, _, text = validate(graph, shacl_graph=str(SHAPES), shacl_graph_format="turtle")
    targets = set(graph.subjects(RDF.type, None))
    if not targets:
        return [f"{name}: no node has a type"]
    return [] if conforms else [f"{name}: {text}"]


def _missing_variables(catalog: Graph, context: dict[str, object]) -> list[str]:
    """Return fields of the context without a variable in the catalogue, except structures."""
    variables = {str(name) for name in catalog.objects(None, SCHEMA.name)}
    structural = {"spv", "sponsors", "milestones", "external_ref", "items", "next"}
    fields = {name for name in context if name[0].islower()} - structural
    return [f"catalog: no variable {name}" for name in sorted(fields - variables)]


def _lost_fields(data: Graph, project: dict[str, object]) -> list[str]:
    """Return an error if a field with a value produced no triple."""
    root = next(iter(set(data.subjects()) - set(data.objects())))
    properties = set(data.predicates(root)) - {RDF.type}
    fields = [n for n, v in project.items() if v not in (None, []) and not n.startswith("x_")]
    # Two fields may share a meaning, so there may be fewer properties.
    if len(properties) < len(fields) - 2:
        return [f"project: {len(fields)} fields became {len(properties)} properties"]
    return []


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
