"""Comparing two schema versions: every change with its verdicts, one small rule per kind of change.

A rule looks at one column before and after. Its verdicts hold for stored rows, for requests that
were written for the old version (and respect a Sunset that it gave), and for clients that hold
answers against the old version's JSON Schema.
"""

from collections.abc import Iterable, Iterator
from datetime import date
from typing import Any

import msgspec

from spawn.domain.json_tokens import read_token
from spawn.domain.schemas.core_columns import EXTENSION_PREFIX, core_columns
from spawn.domain.schemas.evolution.column_mapping import Succession, succeed, succession
from spawn.domain.schemas.evolution.compatibility import (
    ChangeKind,
    Comparison,
    Finding,
    Proof,
    Relation,
)
from spawn.domain.schemas.evolution.type_widening import same_type, widens
from spawn.domain.schemas.model import Column, RetiredColumn, Schema, Value

_Verdicts = tuple[Relation, Relation, Relation]
"""Rows, writers, readers."""

_YES, _IF_PROVEN, _NO = Relation.YES, Relation.IF_PROVEN, Relation.NO
_HARMLESS: _Verdicts = (_YES, _YES, _YES)
_IMPACT: _Verdicts = (_YES, _YES, _NO)
_REFUSED: _Verdicts = (_NO, _NO, _NO)
_SEVERITY = (_YES, _IF_PROVEN, _NO)


def compare(old: Schema, new: Schema, *, on: date, via: Schema | None = None) -> Comparison:
    """Every change from `old` to `new`, judged on a day.

    `via` is the version that `new` succeeds, where that is not `old` itself: what was announced
    and what was retired by then count. For a version that was adopted already it is `new`.
    """
    before = via or old
    successor = succeed(before, new)
    notices = _notices(before)
    pairs = succession(old, successor)
    findings = [*_of_schema(old, new), *_of_pairs(pairs, old)]
    for column in new.governed:
        if column in pairs.added:
            findings.extend(_added(column, pairs.returning.get(column.name)))
    heard = _heard(successor)
    findings += [
        _removed(column, notices.get(column.name), on, heard=heard.issuperset(_inputs(column)))
        for column in pairs.removed
    ]
    return Comparison(
        old_version=old.version,
        new_version=new.version,
        findings=tuple(findings),
        rows=worst(finding.rows for finding in findings),
        writers=worst(finding.writers for finding in findings),
        readers=worst(finding.readers for finding in findings),
    )


def _inputs(column: Column) -> set[str]:
    return {column.name, *column.aliases}


def _heard(schema: Schema) -> set[str]:
    """Names of retired columns that requests may still use, since no other column has them."""
    taken = {n for column in (*core_columns(schema), *schema.governed) for n in _inputs(column)}
    return {n for retired in schema.retired for n in _inputs(retired.column)} - taken


def worst(relations: Iterable[Relation]) -> Relation:
    """The least favourable of some relations; YES if there are none."""
    return max(relations, key=_SEVERITY.index, default=_YES)


def _notices(schema: Schema) -> dict[str, Column | None]:
    """The columns that still have to be given notice; None for those that went already."""
    notices: dict[str, Column | None] = {retired.name: None for retired in schema.retired}
    return {**notices, **{column.name: column for column in schema.governed}}


def _of_schema(old: Schema, new: Schema) -> Iterator[Finding]:
    if old.id != new.id:
        yield _finding(
            "/id",
            ChangeKind.MEANING_CHANGED,
            _REFUSED,
            f"The schema {old.id} became {new.id}.",
            "Another schema says nothing about the data of this one.",
        )
    if (old.name, old.description) != (new.name, new.description):
        yield _text("/description", "The schema's name or description changed.")
    terms = _redefined_terms(old, new)
    if terms:
        yield _finding(
            "/@context",
            ChangeKind.MEANING_CHANGED,
            _REFUSED,
            f"The context gives another meaning to {', '.join(terms)}.",
            "Stored values and requests keep the meaning that they were written with.",
        )
    elif old.context != new.context:
        yield _text("/@context", "The JSON-LD context changed, no column's term in it.")
    if old.promises != new.promises:
        yield _text("/quality", "What is promised of the data as a whole changed.")
    if _order(old, new) != _order(new, old):
        yield _finding(
            "/columns",
            ChangeKind.REORDERED,
            _HARMLESS,
            "The columns have another order.",
            "Answers list them in the new order; nothing else depends on it.",
        )


def _order(schema: Schema, other: Schema) -> list[str]:
    names = {column.name for column in other.columns}
    return [column.name for column in schema.columns if column.name in names]


def _redefined_terms(old: Schema, new: Schema) -> list[str]:
    """Columns of both versions whose term in the contexts differs."""
    before, after = _terms(old), _terms(new)
    names = {column.name for column in old.columns} & {column.name for column in new.columns}
    return sorted(
        name for name in names if name in before and before[name] != after.get(name, before[name])
    )


def _terms(schema: Schema) -> dict[str, Any]:
    """The terms that the context itself defines; what it only refers to is never fetched."""
    context: Any = None if schema.context is None else read_token(bytes(schema.context))
    parts = context if isinstance(context, list) else [context]
    return {term: said for part in parts if isinstance(part, dict) for term, said in part.items()}


def _of_pairs(pairs: Succession, old: Schema) -> Iterator[Finding]:
    for before, after in pairs.kept:
        if before != after:
            yield from _changed(before, after)
    for before, after in pairs.renamed:
        yield _rename(before, after, occupied=after in pairs.occupied)
        yield from _changed(before, after)
    core = {column.name for column in core_columns(old)}
    for before, after in pairs.merged:
        owner = "the core's" if after.name in core else "another column's"
        yield _finding(
            _path(after, "aliases"),
            ChangeKind.MEANING_CHANGED,
            _REFUSED,
            f"{before.name} became an alias of {after.name}, which has {owner} values already.",
            "A project may hold two values and the new column takes one.",
        )


def _rename(before: Column, after: Column, *, occupied: bool) -> Finding:
    reason = f"{before.name} is called {after.name} now."
    if occupied:
        return _finding(
            _path(after, "name"),
            ChangeKind.MEANING_CHANGED,
            _REFUSED,
            f"{reason} A column of that name went before, and its values are kept.",
            "Kept values would be taken for values of the renamed column: choose another name.",
        )
    return _finding(
        _path(after, "name"),
        ChangeKind.RENAMED,
        _IMPACT,
        reason,
        f"Requests may use both names. Answers have {after.name} and no {before.name}.",
    )


def _changed(before: Column, after: Column) -> Iterator[Finding]:
    """What happened to one column, by every rule."""
    yield from _type(before, after)
    yield from _presence(before, after)
    if same_type(before, after) or widens(before, after):
        # Values of two types that have nothing to do with each other cannot be compared.
        yield from _enumeration(before, after)
        yield from _limits(before, after)
        yield from _pattern(before, after)
    yield from _meaning(before, after)
    yield from _aliases(before, after)
    yield from _notice(before, after)
    if before.description != after.description:
        yield _text(_path(after, "description"), f"The description of {after.name} changed.")


def _type(before: Column, after: Column) -> Iterator[Finding]:
    if same_type(before, after):
        return
    path = _path(after, "type")
    reason = f"{after.name} is {after.type.phrase} where it was {before.type.phrase}."
    if before.type == after.type:
        shape = "a decimal string" if after.is_amount else "a JSON number"
        reason = f"{after.name} is {shape} on the wire and {before.name} was not."
    if widens(before, after):
        consequence = "Stored values and requests stay valid. Answers may hold larger values."
        yield _finding(path, ChangeKind.TYPE_WIDENED, _IMPACT, reason, consequence)
        return
    consequence = "Stored values and requests cannot all be read as the new type."
    yield _finding(path, ChangeKind.TYPE_CHANGED, _REFUSED, reason, consequence)


def _presence(before: Column, after: Column) -> Iterator[Finding]:
    """Required, and the default that makes up for absence."""
    path, name = _path(after, "required"), after.name
    if before.required and not after.required:
        reason, consequence = f"{name} is optional now.", "Answers may hold null."
        yield _finding(path, ChangeKind.MADE_OPTIONAL, _IMPACT, reason, consequence)
    elif after.required and not before.required and after.default is not None:
        yield _finding(
            path,
            ChangeKind.MADE_REQUIRED,
            _HARMLESS,
            f"{name} is required now, with a default.",
            f"Projects and requests without it get {_show(after.default)}.",
        )
    elif after.required and not before.required:
        yield _finding(
            path,
            ChangeKind.MADE_REQUIRED,
            (_IF_PROVEN, _NO, _YES),
            f"{name} is required now, without a default.",
            "Every stored project must have a value. Requests that leave it out are refused.",
            Proof(stored=before.name, column=after, nulls=False),
        )
    if before.default != after.default:
        yield _default(before, after)


def _default(before: Column, after: Column) -> Finding:
    path = _path(after, "default")
    reason = (
        f"The default of {after.name} is {_show(after.default)} and was {_show(before.default)}."
    )
    if after.default is None and before.required and after.required:
        consequence = "Requests that leave it out are refused."
        return _finding(path, ChangeKind.DEFAULT_CHANGED, (_YES, _NO, _YES), reason, consequence)
    consequence = "Stored values stay. Requests that leave it out get what the new version says."
    return _finding(path, ChangeKind.DEFAULT_CHANGED, _HARMLESS, reason, consequence)


def _enumeration(before: Column, after: Column) -> Iterator[Finding]:
    if before.enum == after.enum:
        return
    path = _path(after, "enum")
    old, new = before.enum, after.enum
    fewer = new is not None and (old is None or not {*old} <= {*new})
    more = old is not None and (new is None or not {*new} <= {*old})
    if more:
        added = "any value" if new is None else _listed(v for v in new if v not in {*(old or ())})
        yield _finding(
            path,
            ChangeKind.ENUM_EXTENDED,
            _IMPACT,
            f"{after.name} may also be {added}.",
            "Answers may hold values that old clients do not know.",
        )
    if fewer:
        kept = {*(new or ())}
        lost = _listed(v for v in old if v not in kept) if old else "anything else"
        yield _finding(
            path,
            ChangeKind.ENUM_REDUCED,
            (_IF_PROVEN, _NO, _YES),
            f"{after.name} may no longer be {lost}.",
            "No stored project may hold such a value. Requests with one are refused.",
            Proof(stored=before.name, column=after),
        )
    if not more and not fewer:
        reason = f"The values of {after.name} are listed in another order."
        yield _finding(path, ChangeKind.REORDERED, _HARMLESS, reason, "Nothing depends on it.")


def _limits(before: Column, after: Column) -> Iterator[Finding]:
    yield from _limit(before, after, "minimum", before.minimum, after.minimum)
    yield from _limit(before, after, "maximum", before.maximum, after.maximum)


def _limit(before: Column, after: Column, member: str, old: Any, new: Any) -> Iterator[Finding]:
    if old == new:
        return
    lower = new is None or (old is not None and new < old)
    looser = new is None or (old is not None and lower == (member == "minimum"))
    reason = f"The {member} of {after.name} is {_show(new)} and was {_show(old)}."
    yield _constraint(before, after, member, reason, looser=looser, tighter=not looser)


def _pattern(before: Column, after: Column) -> Iterator[Finding]:
    if before.pattern == after.pattern:
        return
    reason = (
        f"The pattern of {after.name} is {_show(after.pattern)} and was {_show(before.pattern)}."
    )
    yield _constraint(
        before,
        after,
        "pattern",
        reason,
        looser=before.pattern is not None,
        tighter=after.pattern is not None,
    )


def _constraint(
    before: Column, after: Column, member: str, reason: str, *, looser: bool, tighter: bool
) -> Finding:
    """Which of two patterns allows more is not known: such a change may be both."""
    readers = _NO if looser else _YES
    if not tighter:
        consequence = "Answers may hold values that the old version ruled out."
        verdicts = (_YES, _YES, readers)
        return _finding(
            _path(after, member), ChangeKind.CONSTRAINT_LOOSENED, verdicts, reason, consequence
        )
    return _finding(
        _path(after, member),
        ChangeKind.CONSTRAINT_TIGHTENED,
        (_IF_PROVEN, _NO, readers),
        reason,
        "Every stored value must keep to it. Requests that do not are refused.",
        Proof(stored=before.name, column=after),
    )


def _meaning(before: Column, after: Column) -> Iterator[Finding]:
    for member, old, new in (
        ("semantic", before.semantic, after.semantic),
        ("unit", before.unit, after.unit),
    ):
        path = _path(after, member)
        if old == new:
            continue
        if old is None:
            yield _text(path, f"The {member} of {after.name} is stated: {new}.")
            continue
        yield _finding(
            path,
            ChangeKind.MEANING_CHANGED,
            _REFUSED,
            f"The {member} of {after.name} is {_show(new)} and was {old}.",
            "The same figure would mean something else. Publish it under another name.",
        )


def _aliases(before: Column, after: Column) -> Iterator[Finding]:
    path = _path(after, "aliases")
    lost = [name for name in before.aliases if name not in {*after.aliases, after.name}]
    won = [name for name in after.aliases if name not in {*before.aliases, before.name}]
    if lost:
        yield _finding(
            path,
            ChangeKind.ALIAS_REMOVED,
            (_YES, _NO, _YES),
            f"{after.name} no longer answers to {_listed(lost)}.",
            "Requests that use the alias are refused.",
        )
    if won:
        yield _finding(
            path,
            ChangeKind.ALIAS_ADDED,
            _HARMLESS,
            f"{after.name} may also be called {_listed(won)}.",
            "Requests may use the alias; answers keep the name.",
        )


def _notice(before: Column, after: Column) -> Iterator[Finding]:
    if (before.deprecated, before.sunset) == (after.deprecated, after.sunset):
        return
    path = _path(after, "deprecated")
    if not after.deprecated:
        reason = f"{after.name} is not deprecated."
        yield _finding(path, ChangeKind.UNDEPRECATED, _HARMLESS, reason, "Its notice is withdrawn.")
        return
    until = f" until {after.sunset}" if after.sunset else ""
    yield _finding(
        path,
        ChangeKind.DEPRECATED,
        _HARMLESS,
        f"{after.name} is deprecated.",
        f"It is served{until} with notice in the Deprecation and Sunset headers.",
    )


def _added(column: Column, returning: RetiredColumn | None) -> Iterator[Finding]:
    name, path = column.name, _path(column)
    optional = msgspec.structs.replace(column, required=False)
    stored = EXTENSION_PREFIX + name if returning is None else returning.name
    proof = Proof(stored=stored, column=optional)
    found = f"Values that projects hold as {stored} become its values, and all must fit."
    if column.default is not None:
        kind, verdicts = ChangeKind.ADDED_WITH_DEFAULT, (_IF_PROVEN, _YES, _YES)
        fate = f"Projects and requests without it get {_show(column.default)}. {found}"
    elif not column.required:
        kind, verdicts = ChangeKind.ADDED_OPTIONAL, (_IF_PROVEN, _YES, _YES)
        fate = f"Projects and requests may go without it. {found}"
    else:
        kind, verdicts = ChangeKind.ADDED_REQUIRED, (_NO, _NO, _YES)
        fate = "Neither stored projects nor old requests have a value, and no default is declared."
    proofs = () if kind is ChangeKind.ADDED_REQUIRED else (proof,)
    yield _finding(path, kind, verdicts, f"{name} is new.", fate, *proofs)
    if returning is not None:
        yield from _reused(returning, column)


def _reused(returning: RetiredColumn, column: Column) -> Iterator[Finding]:
    """A name whose kept values are of another type or meaning is not free."""
    before = returning.column
    for finding in (*_type(before, column), *_meaning(before, column)):
        if finding.rows is _NO:
            reason = f"Version {returning.since} retired {before.name}. {finding.reason}"
            yield msgspec.structs.replace(finding, reason=reason)


def _removed(column: Column, notice: Column | None, on: date, *, heard: bool) -> Finding:
    """A column that went; `heard` if requests may still name it."""
    name = column.name
    kind = ChangeKind.REMOVED_REQUIRED if column.required else ChangeKind.REMOVED_OPTIONAL
    always = column.required or column.default is not None
    writers = _YES if heard else _NO
    fate = "Requests that name it are refused."
    if heard:
        sunset = column.announced_sunset
        until = f" until {sunset}, then refused" if sunset else ""
        fate = f"What requests say of it is ignored with a warning{until}."
    early = notice is not None and notice.required and not _expired(notice, on)
    if early:
        fate = f"A required column goes after deprecation and its Sunset. {fate}"
    return Finding(
        path=_path(column),
        kind=kind,
        rows=_YES,
        writers=writers,
        readers=_NO if always else _YES,
        reason=f"{name} is gone.",
        consequence=f"Its values stay in the documents, unserved. {fate}",
        early=early,
    )


def _expired(column: Column, on: date) -> bool:
    sunset = column.announced_sunset
    return sunset is not None and sunset <= on


def _text(path: str, reason: str) -> Finding:
    consequence = "Validation and data stay as they are."
    return _finding(path, ChangeKind.TEXT_CHANGED, _HARMLESS, reason, consequence)


def _finding(
    path: str, kind: ChangeKind, verdicts: _Verdicts, reason: str, consequence: str, *proofs: Proof
) -> Finding:
    rows, writers, readers = verdicts
    return Finding(
        path=path,
        kind=kind,
        rows=rows,
        writers=writers,
        readers=readers,
        reason=reason,
        consequence=consequence,
        proofs=proofs,
    )


def _path(column: Column, member: str = "") -> str:
    return f"/columns/{column.name}" + (f"/{member}" if member else "")


_LISTED = 10


def _listed(values: Iterable[Value]) -> str:
    texts = [str(value) for value in values]
    return ", ".join(texts[:_LISTED]) + (", …" if len(texts) > _LISTED else "")


def _show(value: Value | None) -> str:
    return "none" if value is None else str(value)
