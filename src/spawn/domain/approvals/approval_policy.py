"""The approval policy: the commands that need an approval, by kind, amount and caller."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import timedelta
from decimal import Decimal, InvalidOperation
from typing import Any, Final

import msgspec
from msgspec import inspect

from spawn.domain.errors import Forbidden, InvalidInput
from spawn.domain.json_tokens import NumberToken, Token, parse_object
from spawn.domain.principal import Principal, Scope
from spawn.domain.struct_reader import compile_reader, read_string, text_reader

MAX_RULES: Final = 100
MAX_HOURS: Final = 8760
"""Hours after which an approval expires, at most."""


class ApprovalRule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Commands that need an approval.

    `kinds` limits the rule to commands of a kind, such as the entries `draw` and `fee` of a
    facility, `amount_from` to amounts of at least this size, in the currency of the target. Callers
    with one of `except_scopes` need none.
    """

    command: str
    kinds: tuple[str, ...] = ()
    amount_from: Decimal | None = None
    except_scopes: tuple[Scope, ...] = ()


class ApprovalPolicy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Rules, and the hours after which an undecided approval expires."""

    rules: tuple[ApprovalRule, ...] = ()
    expires_after_h: int = 168

    @property
    def lifetime(self) -> timedelta:
        """The time in which a decision is possible."""
        return timedelta(hours=self.expires_after_h)

    def rules_for(self, command: str) -> tuple[ApprovalRule, ...]:
        """Return the rules of a command."""
        return tuple(rule for rule in self.rules if rule.command == command)


IMPORTED_COMMANDS: Final = frozenset(
    {"createProject", "amendProject", "transitionProject", "addMilestone", "decideMilestone"}
)
"""Commands whose effect a row of an import may have."""


def check_import(policy: ApprovalPolicy, principal: Principal) -> None:
    """Check that no rule covers what the rows of an import may do.

    An import writes many projects at once and cannot wait for decisions about some of them.

    Raises:
        Forbidden: a rule covers it, by whose exceptions the principal is not.
    """
    for number, rule in enumerate(policy.rules):
        is_exempt = not principal.scopes.isdisjoint(rule.except_scopes)
        if rule.command in IMPORTED_COMMANDS and not is_exempt:
            raise Forbidden(
                f"Rule {number} of the approval policy asks for an approval of {_describe(rule)},"
                " which an import would do without one: send such commands one by one, or let a"
                " caller import whom the rule excepts (except_scopes)."
            )


def _describe(rule: ApprovalRule) -> str:
    parts = [rule.command]
    if rule.kinds:
        parts.append(f"of {' or '.join(rule.kinds)}")
    if rule.amount_from is not None:
        parts.append(f"from {rule.amount_from:f}")
    return " ".join(parts)


class CommandFacts(msgspec.Struct, frozen=True):
    """Members of a command's body that rules read; empty if the command has none.

    `read_kind` returns the kind that the command itself reads in the member, by another spelling
    too.
    """

    kind: str = ""
    amount: str = ""
    read_kind: Callable[[Token, str], str] = read_string


class StateFacts(msgspec.Struct, frozen=True):
    """Attributes of the state that a command results in, which rules read beside its body.

    A body states a part only, and may name an attribute by an alias of the schema. `aggregate` is
    the kind of the aggregate, `amount` its amount and `unit` what gives the amount its meaning. A
    command that brings `kind` to another value than `initial_kind` counts as the command
    `counts_as` too.
    """

    aggregate: str
    amount: str
    unit: str
    kind: str = ""
    initial_kind: str = ""
    counts_as: str = ""


class StateChange(msgspec.Struct, frozen=True):
    """Documents of an aggregate before and after a command; before is empty for a new one."""

    before: Mapping[str, Any]
    after: Mapping[str, Any]

    def changes(self, *names: str) -> bool:
        """Whether one of the attributes changes."""
        return any(self.before.get(name) != self.after.get(name) for name in names)


def result_needs_approval(
    policy: ApprovalPolicy,
    command: str,
    facts: StateFacts,
    change: StateChange,
    principal: Principal,
) -> bool:
    """Whether a rule applies to the state that a command results in.

    A rule from an amount on looks at the resulting amount if that or its unit changes. A rule of
    the command `counts_as` applies if the kind changes to one of its kinds.
    """
    own_rules = [one for one in policy.rules_for(command) if one.amount_from is not None]
    rules = [*own_rules] if change.changes(facts.amount, facts.unit) else []
    kind_before = change.before.get(facts.kind, facts.initial_kind)
    kind = change.after.get(facts.kind)
    if kind != kind_before:
        rules += policy.rules_for(facts.counts_as)
    return any(
        principal.scopes.isdisjoint(rule.except_scopes)
        and (not rule.kinds or kind in rule.kinds)
        and (rule.amount_from is None or _is_resulting_amount(rule.amount_from, facts, change))
        for rule in rules
    )


def _is_resulting_amount(threshold: Decimal, facts: StateFacts, change: StateChange) -> bool:
    amount = change.after.get(facts.amount)
    return amount is not None and _is_at_least(amount, threshold)


def needs_approval(
    rules: tuple[ApprovalRule, ...],
    facts: CommandFacts,
    body: Mapping[str, Token],
    principal: Principal,
) -> bool:
    """Whether one of the rules of a command applies to this body and caller.

    A value that cannot be read counts as one that needs an approval.
    """
    return any(_applies(rule, facts, body, principal) for rule in rules)


def read_facts(facts: CommandFacts, body: Mapping[str, Token]) -> tuple[str, str]:
    """Return kind and amount of a command; empty texts for those that it does not state."""
    kind, amount = "", body.get(facts.amount)
    if facts.kind in body:
        with suppress(InvalidInput):
            kind = facts.read_kind(body[facts.kind], f"/{facts.kind}")
    return kind, str(amount) if isinstance(amount, str) else ""


def _applies(
    rule: ApprovalRule, facts: CommandFacts, body: Mapping[str, Token], principal: Principal
) -> bool:
    if not principal.scopes.isdisjoint(rule.except_scopes):
        return False
    if rule.kinds and not _is_of_kind(body.get(facts.kind), rule.kinds, facts):
        return False
    if rule.amount_from is None:
        return True
    return facts.amount in body and _is_at_least(body[facts.amount], rule.amount_from)


def _is_of_kind(token: Token, kinds: tuple[str, ...], facts: CommandFacts) -> bool:
    try:
        return facts.read_kind(token, f"/{facts.kind}") in kinds
    except InvalidInput:
        return True


def _is_at_least(token: Token, threshold: Decimal) -> bool:
    if not isinstance(token, str):
        return True
    try:
        amount = Decimal(token)
    except InvalidOperation:
        return True
    return not amount.is_finite() or abs(amount) >= threshold


def read_policy(document: bytes, facts_by_command: Mapping[str, CommandFacts]) -> ApprovalPolicy:
    """Read a policy and check that its rules can apply.

    Raises:
        MalformedBody: the document is no JSON object.
        InvalidInput: it is no policy, or a rule names a command, kind or amount that does not
            exist; a pointer names the place.
    """
    policy: ApprovalPolicy = _read_policy(parse_object(document), "")
    if not 1 <= policy.expires_after_h <= MAX_HOURS:
        detail = f"must be from 1 to {MAX_HOURS}"
        raise InvalidInput.at("/expires_after_h", "out_of_range", detail)
    if len(policy.rules) > MAX_RULES:
        raise InvalidInput.at("/rules", "too_many", f"at most {MAX_RULES} rules")
    for number, rule in enumerate(policy.rules):
        _check_rule(f"/rules/{number}", rule, facts_by_command)
    return policy


def _check_rule(
    pointer: str, rule: ApprovalRule, facts_by_command: Mapping[str, CommandFacts]
) -> None:
    facts = facts_by_command.get(rule.command)
    if facts is None:
        names = ", ".join(sorted(facts_by_command))
        raise InvalidInput.at(f"{pointer}/command", "not_in_enum", f"must be one of: {names}")
    if rule.kinds and not facts.kind:
        detail = f"{rule.command} has no kinds"
        raise InvalidInput.at(f"{pointer}/kinds", "contradiction", detail)
    if rule.amount_from is not None and not facts.amount:
        detail = f"{rule.command} has no amount"
        raise InvalidInput.at(f"{pointer}/amount_from", "contradiction", detail)


def _parse_amount(text: str) -> Decimal:
    try:
        amount = Decimal(text)
    except InvalidOperation:
        raise ValueError("an amount is expected, such as 1000000.00") from None
    if not amount.is_finite() or amount < 0:
        raise ValueError("an amount of at least 0 is expected")
    return amount


def write_exactly(token: Token) -> str:
    """Return the JSON of a token with sorted keys, no blanks, and numbers as they were sent."""
    if isinstance(token, NumberToken):
        return str(token)
    if isinstance(token, dict):
        members = (f"{_quote(name)}:{write_exactly(token[name])}" for name in sorted(token))
        return "{" + ",".join(members) + "}"
    if isinstance(token, list):
        return "[" + ",".join(map(write_exactly, token)) + "]"
    return _quote(token)


def _quote(value: str | bool | None) -> str:  # noqa: FBT001 - a JSON value
    return msgspec.json.encode(value).decode()


_read_policy: Final = compile_reader(
    ApprovalPolicy, types={inspect.DecimalType: text_reader(_parse_amount)}
)
