"""`spawn schema check`: what a proposed schema would change, for whoever publishes schemas."""

import asyncio
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import msgspec

from spawn.domain.errors import InvalidInput
from spawn.domain.schemas.document_parser import read_schema
from spawn.domain.schemas.evolution.adoption_policy import judge
from spawn.domain.schemas.evolution.column_mapping import succeed
from spawn.domain.schemas.evolution.compatibility import Mode
from spawn.domain.schemas.evolution.migration_plan import plan_migration
from spawn.domain.schemas.model import Schema
from spawn.entrypoints.cli.backend import open_access
from spawn.entrypoints.cli.parser import CommandError
from spawn.entrypoints.http.schemas.verdicts import judgement_fields, plan_fields
from spawn.entrypoints.settings import Settings

_RELATIONS: Final = ("rows", "writers", "readers")


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """What `spawn schema check` was asked; `against` names documents, newest first.

    Without documents the service at `url` is asked, or whatever the environment names.
    """

    path: Path
    against: tuple[Path, ...]
    url: str | None
    mode: Mode | None
    as_json: bool


async def check(settings: Settings, question: Question) -> bool:
    """Print the verdict; whether the document would be adopted."""
    if question.against:
        fields = await asyncio.to_thread(_compared, question)
    else:
        # What breaks the rules of documents is told by path, wherever the data are.
        await asyncio.to_thread(_read, question.path, ordinal=1)
        document = await asyncio.to_thread(question.path.read_bytes)
        async with open_access(settings, url=question.url) as access:
            fields = await access.check_schema(document, question.mode)
    if question.as_json:
        sys.stdout.write(msgspec.json.encode(fields).decode() + "\n")
    else:
        sys.stdout.write("\n".join(_lines(fields)) + "\n")
    return bool(fields["adoptable"])


def _compared(question: Question) -> dict[str, Any]:
    """The verdict on documents alone: whether stored data bear it out, nobody can say."""
    known: list[Schema] = []
    for at, path in enumerate(reversed(question.against), start=1):
        read = _read(path, ordinal=at)
        known.append(succeed(known[-1], read) if known else read)
    *earlier, active = known
    candidate = _read(question.path, ordinal=active.version + 1)
    mode = question.mode or Mode.BACKWARD_TRANSITIVE
    judgement = judge(candidate, active, earlier, mode, datetime.now(UTC).date())
    plan = plan_migration(active, candidate)
    fields = judgement_fields(judgement)
    late = _not_newer(candidate, active)
    return {
        "schema_id": candidate.id,
        "version": candidate.version,
        **fields,
        "adoptable": judgement.adoptable and not late,
        "objections": [*judgement.objections, *late],
        "plan": plan_fields(plan),
        "statements": [],
        "failures": [],
        "to_prove": [proof.stored for proof in plan.proofs],
    }


def _not_newer(candidate: Schema, active: Schema) -> list[str]:
    if candidate.version > active.version or candidate.fingerprint == active.fingerprint:
        return []
    return [f"Version {candidate.version} does not come after version {active.version}."]


def _read(path: Path, *, ordinal: int) -> Schema:
    document = path.read_bytes()
    try:
        return read_schema(document, ordinal=ordinal)
    except InvalidInput as refused:
        told = "; ".join(f"{error.pointer or '/'} {error.detail}" for error in refused.errors)
        raise CommandError(f"{path} is no schema: {told}") from None


def _lines(fields: dict[str, Any]) -> Iterator[str]:
    for comparison in fields["comparisons"]:
        yield f"{fields['schema_id']} {fields['version']} after {comparison['old_version']}"
        for finding in comparison["findings"]:
            verdicts = ", ".join(f"{name} {finding[name]}" for name in _RELATIONS)
            yield f"  {finding['path']}: {finding['reason']}"
            yield f"    {verdicts}. {finding['consequence']}"
        if not comparison["findings"]:
            yield "  nothing changes"
    yield from _section("plan", fields["plan"])
    yield from _section("statements", fields["statements"])
    yield from _section("to be proven by stored data", fields.get("to_prove", ()))
    yield from _section("refuted by stored data", [_refuted(f) for f in fields["failures"]])
    yield from _section("objections", fields["objections"])
    yield f"{'adoptable' if fields['adoptable'] else 'not adoptable'} ({fields['mode']})"


def _refuted(failure: dict[str, Any]) -> str:
    sample = ", ".join(failure["sample"])
    count = failure["projects"]
    many = f"{count} project" if count == 1 else f"{count} projects"
    return f"{failure['stored']} of {many} {failure['detail']}: {sample}"


def _section(title: str, lines: Sequence[str]) -> Iterator[str]:
    if lines:
        yield title
        yield from (f"  {line}" for line in lines)
