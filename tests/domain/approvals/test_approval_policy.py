"""The policy decides by kind, amount and caller, and what it cannot read needs an approval."""

import json
from decimal import Decimal

import pytest

from spawn.domain.approvals.approval import diff_states
from spawn.domain.approvals.approval_policy import (
    ApprovalRule,
    CommandFacts,
    needs_approval,
    read_policy,
    write_exactly,
)
from spawn.domain.json_tokens import parse_object
from spawn.domain.principal import Principal, Scope
from spawn.domain.schemas.value_readers import read_status

CALLER = Principal(id="key:desk", scopes=frozenset({Scope.PROJECTS_WRITE}))
FACTS = CommandFacts(kind="kind", amount="amount")
LARGE = ApprovalRule(command="x", amount_from=Decimal(1000))


@pytest.mark.parametrize(
    ("body", "is_needed"),
    [
        ('{"amount": "999.99"}', False),
        ('{"amount": 1000}', True),
        ('{"amount": "1E+3"}', True),
        ('{"amount": "-1000"}', True),
        ('{"amount": "NaN"}', True),
        ('{"amount": "much"}', True),
        ('{"amount": null}', True),
        ('{"amount": ["1"]}', True),
        ("{}", False),
    ],
)
def test_amounts_from_the_threshold_on_need_an_approval(body: str, *, is_needed: bool) -> None:
    assert needs_approval((LARGE,), FACTS, parse_object(body.encode()), CALLER) is is_needed


def test_rule_reads_a_kind_as_the_command_does() -> None:
    rule = ApprovalRule(command="x", kinds=("OPERATION",))
    facts = CommandFacts(kind="to", read_kind=read_status)
    for kind, is_needed in (("OPERATION", True), ("ACTIVE", True), ("MANDATED", False), (1, True)):
        body = parse_object(json.dumps({"to": kind}).encode())
        assert needs_approval((rule,), facts, body, CALLER) is is_needed, kind


def test_one_rule_is_enough_and_an_exception_is_of_its_rule() -> None:
    draws = ApprovalRule(command="x", kinds=("draw",), except_scopes=(Scope.ADMIN,))
    admin = Principal(id="key:admin", scopes=frozenset({Scope.ADMIN}))
    body = parse_object(b'{"kind": "draw", "amount": "5"}')
    assert needs_approval((LARGE, draws), FACTS, body, CALLER)
    assert not needs_approval((LARGE, draws), FACTS, body, admin)
    assert not needs_approval((), FACTS, body, CALLER)


def test_policy_is_read_with_exact_amounts() -> None:
    rule = {"command": "x", "amount_from": "0.1", "kinds": ["draw"], "except_scopes": ["admin"]}
    policy = read_policy(json.dumps({"rules": [rule]}).encode(), {"x": FACTS})
    assert policy.rules[0].amount_from == Decimal("0.1")
    assert policy.rules[0].except_scopes == (Scope.ADMIN,)
    assert policy.lifetime.days == 7


def test_body_keeps_its_numbers_digit_by_digit() -> None:
    body = b' { "b" : 12345678901234567.890, "a": [true, null, "\\u00e9\\n"] } '
    text = write_exactly(parse_object(body))
    assert text == '{"a":[true,null,"\u00e9\\n"],"b":12345678901234567.890}'
    assert parse_object(text.encode()) == parse_object(body)


def test_difference_names_each_field() -> None:
    before = {"a": 1, "b": {"c": "x", "d/e": 1}, "entries": [{"n": 1}], "gone": True}
    after = {"a": 1.0, "b": {"c": "y", "d/e": 2}, "entries": [{"n": 1}, {"n": 2}], "new": None}
    changes = {one.pointer: (one.before, one.after) for one in diff_states("k", "i", before, after)}
    assert changes == {
        "/a": (1, 1.0),
        "/b/c": ("x", "y"),
        "/b/d~1e": (1, 2),
        "/entries/1/n": (None, 2),
        "/gone": (True, None),
    }
    assert list(diff_states("k", "i", after, after)) == []
