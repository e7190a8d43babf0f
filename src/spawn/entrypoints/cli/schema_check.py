"""Command `spawn schema check`: the changes of a proposed schema, for its publisher."""

import asyncio
import sys
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec

from spawn.application.schemas.document_check import check_document
from spawn.domain.errors import InvalidInput
from spawn.domain.schema_version import Schema
from spawn.domain.schemas.document_parser import read_schema
from spawn.domain.schemas.evolution.compatibility import CompatibilityMode
from spawn.domain.schemas.evolution.migration_plan import describe_plan
from spawn.entrypoints.cli.backend import open_backend
from spawn.entrypoints.cli.errors import CommandError
from spawn.entrypoints.http.schemas.wire import ProposalView, ViolationView
from spawn.entrypoints.settings import Settings

_RELATIONS: Final = ("rows", "writers", "readers")


class SchemaCheckOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Options of `spawn schema check`; `against` names documents, newest first.

    Without documents the service at `url` decides, or the one of the environment. `kind` is the
    kind of aggregate that the document governs; None for that of the schema with its id.
    """

    path: Path
    against: tuple[Path, ...]
    url: str | None
    mode: CompatibilityMode | None
    kind: str | None
    as_json: bool


class DocumentCheckView(ProposalView, frozen=True, kw_only=True):
    """A comparison of documents alone, with the columns whose stored values remain to be proven."""

    to_prove: tuple[str, ...]


async def check_schema(settings: Settings, options: SchemaCheckOptions) -> bool:
    """Print the result and return whether the document would be adopted."""
    proposal: ProposalView
    document = await asyncio.to_thread(options.path.read_bytes)
    kind = options.kind or settings.schema_policies.of_document(document).kind
    if options.against:
        proposal = await asyncio.to_thread(_compare_documents, options, kind)
    else:
        # An invalid document is reported with its path, wherever the data are.
        await asyncio.to_thread(_read_file, options.path, kind, default_version=1)
        async with open_backend(settings, url=options.url) as backend:
            response = await backend.check_schema(document, options.mode)
        proposal = msgspec.json.decode(response, type=ProposalView)
    if options.as_json:
        sys.stdout.write(msgspec.json.encode(proposal).decode() + "\n")
    else:
        sys.stdout.write("\n".join(_format_lines(proposal)) + "\n")
    return proposal.adoptable


def _compare_documents(options: SchemaCheckOptions, kind: str) -> DocumentCheckView:
    """Compare documents alone; proofs on stored data remain open."""
    versions = [
        _read_file(path, kind, default_version=number)
        for number, path in enumerate(reversed(options.against), start=1)
    ]
    candidate = _read_file(options.path, kind, default_version=versions[-1].version + 1)
    mode = options.mode or CompatibilityMode.BACKWARD_TRANSITIVE
    check = check_document(candidate, versions, mode, datetime.now(UTC).date())
    return DocumentCheckView.of(
        check.judgement,
        schema_id=candidate.id,
        version=candidate.version,
        adoptable=check.is_adoptable,
        violations=check.violations,
        plan=describe_plan(check.plan),
        statements=(),
        failures=(),
        ineffective=candidate.ineffective,
        consumers=(),
        to_prove=tuple(proof.stored_name for proof in check.plan.proofs),
    )


def _read_file(path: Path, kind: str, *, default_version: int) -> Schema:
    document = path.read_bytes()
    try:
        return read_schema(document, default_version=default_version, kind=kind)
    except InvalidInput as failure:
        details = "; ".join(f"{error.pointer or '/'} {error.detail}" for error in failure.errors)
        raise CommandError(f"{path} is not a valid schema: {details}") from None


def _format_lines(proposal: ProposalView) -> Iterator[str]:
    for comparison in proposal.comparisons:
        yield f"{proposal.schema_id} {proposal.version} after {comparison.old_version}"
        for finding in comparison.findings:
            verdicts = ", ".join(f"{name} {getattr(finding, name)}" for name in _RELATIONS)
            yield f"  {finding.path}: {finding.reason}"
            yield f"    {verdicts}. {finding.consequence}"
        if not comparison.findings:
            yield "  nothing changes"
    yield from _format_section("plan", proposal.plan)
    yield from _format_section("statements", proposal.statements)
    if isinstance(proposal, DocumentCheckView):
        yield from _format_section("to be proven by stored data", proposal.to_prove)
    yield from _format_section("refuted by stored data", map(_format_failure, proposal.failures))
    yield from _format_section("without effect", proposal.ineffective)
    yield from _format_section("violations", proposal.violations)
    yield f"{'adoptable' if proposal.adoptable else 'not adoptable'} ({proposal.mode})"


def _format_failure(failure: ViolationView) -> str:
    rows = "1 row" if failure.projects == 1 else f"{failure.projects} rows"
    return f"{failure.stored} of {rows} {failure.detail}: {', '.join(failure.sample)}"


def _format_section(title: str, lines: Iterable[str]) -> Iterator[str]:
    items = [f"  {line}" for line in lines]
    if items:
        yield title
        yield from items
