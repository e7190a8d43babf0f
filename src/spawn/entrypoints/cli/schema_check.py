"""Command `spawn schema check`: the changes of a proposed schema, for its publisher."""

import asyncio
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import msgspec

from spawn.domain.errors import InvalidInput
from spawn.domain.schema_version import Schema
from spawn.domain.schemas.document_parser import read_schema
from spawn.domain.schemas.evolution.adoption_policy import judge_adoption
from spawn.domain.schemas.evolution.column_mapping import carry_retired_columns
from spawn.domain.schemas.evolution.compatibility import CompatibilityMode
from spawn.domain.schemas.evolution.migration_plan import plan_migration
from spawn.entrypoints.cli.backend import open_backend
from spawn.entrypoints.cli.errors import CommandError
from spawn.entrypoints.http.schemas.wire import render_judgement, render_plan
from spawn.entrypoints.settings import Settings

_RELATIONS: Final = ("rows", "writers", "readers")


class SchemaCheckOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Options of `spawn schema check`; `against` names documents, newest first.

    Without documents the service at `url` decides, or the one of the environment.
    """

    path: Path
    against: tuple[Path, ...]
    url: str | None
    mode: CompatibilityMode | None
    as_json: bool


async def check_schema(settings: Settings, options: SchemaCheckOptions) -> bool:
    """Print the result and return whether the document would be adopted."""
    if options.against:
        fields = await asyncio.to_thread(_compare_documents, options)
    else:
        # An invalid document is reported with its path, wherever the data are.
        await asyncio.to_thread(_read_file, options.path, default_version=1)
        document = await asyncio.to_thread(options.path.read_bytes)
        async with open_backend(settings, url=options.url) as backend:
            fields = await backend.check_schema(document, options.mode)
    if options.as_json:
        sys.stdout.write(msgspec.json.encode(fields).decode() + "\n")
    else:
        sys.stdout.write("\n".join(_format_lines(fields)) + "\n")
    return bool(fields["adoptable"])


def _compare_documents(options: SchemaCheckOptions) -> dict[str, Any]:
    """Compare documents alone; proofs on stored data remain open."""
    history: list[Schema] = []
    for number, path in enumerate(reversed(options.against), start=1):
        schema = _read_file(path, default_version=number)
        history.append(carry_retired_columns(history[-1], schema) if history else schema)
    *earlier, active = history
    candidate = _read_file(options.path, default_version=active.version + 1)
    mode = options.mode or CompatibilityMode.BACKWARD_TRANSITIVE
    judgement = judge_adoption(candidate, active, earlier, mode, datetime.now(UTC).date())
    plan = plan_migration(active, candidate)
    fields = render_judgement(judgement)
    order_violations = _check_version_order(candidate, active)
    return {
        "schema_id": candidate.id,
        "version": candidate.version,
        **fields,
        "adoptable": judgement.is_adoptable and not order_violations,
        "objections": [*judgement.violations, *order_violations],
        "plan": render_plan(plan),
        "statements": [],
        "failures": [],
        "to_prove": [proof.stored_name for proof in plan.proofs],
    }


def _check_version_order(candidate: Schema, active: Schema) -> list[str]:
    if candidate.version > active.version or candidate.fingerprint == active.fingerprint:
        return []
    return [f"Version {candidate.version} does not come after version {active.version}."]


def _read_file(path: Path, *, default_version: int) -> Schema:
    document = path.read_bytes()
    try:
        return read_schema(document, default_version=default_version)
    except InvalidInput as failure:
        details = "; ".join(f"{error.pointer or '/'} {error.detail}" for error in failure.errors)
        raise CommandError(f"{path} is not a valid schema: {details}") from None


def _format_lines(fields: dict[str, Any]) -> Iterator[str]:
    for comparison in fields["comparisons"]:
        yield f"{fields['schema_id']} {fields['version']} after {comparison['old_version']}"
        for finding in comparison["findings"]:
            verdicts = ", ".join(f"{name} {finding[name]}" for name in _RELATIONS)
            yield f"  {finding['path']}: {finding['reason']}"
            yield f"    {verdicts}. {finding['consequence']}"
        if not comparison["findings"]:
            yield "  nothing changes"
    yield from _format_section("plan", fields["plan"])
    yield from _format_section("statements", fields["statements"])
    yield from _format_section("to be proven by stored data", fields.get("to_prove", ()))
    yield from _format_section(
        "refuted by stored data", [_format_failure(f) for f in fields["failures"]]
    )
    yield from _format_section("violations", fields["objections"])
    yield f"{'adoptable' if fields['adoptable'] else 'not adoptable'} ({fields['mode']})"


def _format_failure(failure: dict[str, Any]) -> str:
    sample = ", ".join(failure["sample"])
    count = failure["projects"]
    projects = f"{count} project" if count == 1 else f"{count} projects"
    return f"{failure['stored']} of {projects} {failure['detail']}: {sample}"


def _format_section(title: str, lines: Sequence[str]) -> Iterator[str]:
    if lines:
        yield title
        yield from (f"  {line}" for line in lines)
