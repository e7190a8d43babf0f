"""The caller of a use case: id, kind, scopes and row scope."""

import re
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Final, Self

import msgspec

from spawn.domain.errors import FieldError, InvalidInput
from spawn.domain.text import check_line

MAX_ID_LENGTH = 200
"""Characters of a principal's id."""


class Scope(StrEnum):
    """A group of operations that a principal is permitted."""

    PROJECTS_READ = "projects:read"
    PROJECTS_WRITE = "projects:write"
    FINANCE_READ = "finance:read"
    FINANCE_WRITE = "finance:write"
    RESTATE = "restate"
    ANALYSIS = "analysis"
    EVENTS_READ = "events:read"
    DATA_EXPORT = "data:export"
    SCHEMA_ADMIN = "schema:admin"
    APPROVALS_DECIDE = "approvals:decide"
    ADMIN = "admin"
    METRICS_READ = "metrics:read"


ALL_SCOPES: Final = frozenset(Scope)


WHOLE_STORE_SCOPES: Final = frozenset(
    {Scope.SCHEMA_ADMIN, Scope.APPROVALS_DECIDE, Scope.ADMIN, Scope.METRICS_READ}
)
"""Scopes whose operations all cover the whole store, so that a row scope leaves none of them."""

MAX_ROW_RULES: Final = 8
MAX_ROW_VALUES: Final = 500
"""Fields of a row scope, and values of one of them."""

PORTFOLIO_RULE: Final = "portfolio_id"
"""The rule of a row scope whose values are portfolios: it is met by what one of them holds."""

_MAX_VALUE_LENGTH: Final = 200
_FIELD: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")


class RowRule(msgspec.Struct, frozen=True):
    """A field of a project, and the texts of which it must have one.

    The field `PORTFOLIO_RULE` is none of the project: its values are portfolios that hold it.
    """

    field: str
    values: tuple[str, ...]


class RowScope(msgspec.Struct, frozen=True):
    """The projects that a principal may see and change: those that meet every rule.

    A rule without values is met by none. Equal row scopes have equal rules, in the same order.
    """

    rules: tuple[RowRule, ...]

    @classmethod
    def of(cls, values_by_field: Mapping[str, Iterable[str]]) -> Self:
        """Return the row scope in its canonical form.

        Raises:
            InvalidInput: there is no rule, or too many; a name or a value is not one line of text.
        """
        errors: list[FieldError] = []
        if not 1 <= len(values_by_field) <= MAX_ROW_RULES:
            detail = f"must have 1 to {MAX_ROW_RULES} fields"
            errors.append(FieldError("/row_scope", "wrong_length", detail))
        rules = []
        for name, values in sorted(values_by_field.items()):
            unique = tuple(sorted(set(values)))
            errors += _check_row_rule(name, unique)
            rules.append(RowRule(name, unique))
        if errors:
            raise InvalidInput(errors[:MAX_ROW_RULES])
        return cls(tuple(rules))

    def to_mapping(self) -> dict[str, tuple[str, ...]]:
        """Return the values by field."""
        return {rule.field: rule.values for rule in self.rules}

    @property
    def attribute_rules(self) -> tuple[RowRule, ...]:
        """The rules about fields of a project."""
        return tuple(rule for rule in self.rules if rule.field != PORTFOLIO_RULE)

    @property
    def portfolio_ids(self) -> tuple[str, ...] | None:
        """The portfolios of which one must hold a project; None without such a rule."""
        return self.to_mapping().get(PORTFOLIO_RULE)

    @property
    def is_by_portfolio_alone(self) -> bool:
        """Whether everything that the portfolios hold is in the scope."""
        return self.portfolio_ids is not None and not self.attribute_rules


def _check_row_rule(name: str, values: tuple[str, ...]) -> list[FieldError]:
    if not _FIELD.fullmatch(name):
        return [FieldError("/row_scope", "invalid_name", "a name is not one of a field")]
    pointer, errors = f"/row_scope/{name}", list[FieldError]()
    if len(values) > MAX_ROW_VALUES:
        errors.append(FieldError(pointer, "too_many", f"at most {MAX_ROW_VALUES} values"))
    for value in values[:MAX_ROW_VALUES]:
        check_line(value, pointer, _MAX_VALUE_LENGTH, errors)
    return errors


class PrincipalKind(StrEnum):
    """The way in which a principal is known.

    `service` is the process itself, `local` a caller of a service without access control or a
    command that opens the file, `key` a client with an API key, `token` the subject of a bearer
    token, `anonymous` a caller without valid credentials.
    """

    SERVICE = "service"
    LOCAL = "local"
    KEY = "key"
    TOKEN = "token"  # noqa: S105 - a kind of principal, not a secret
    ANONYMOUS = "anonymous"


class Principal(msgspec.Struct, frozen=True, kw_only=True):
    """The actor of a use case.

    `id` is recorded as actor in the history; that of a key begins with `key:`, that of a token with
    `token:`. `scopes` are the permitted groups of operations. `row_scope` limits the projects that
    the principal may see and change; None is all of them.

    Raises:
        InvalidInput: on construction, if the id is not a valid line of text.
    """

    id: str
    kind: PrincipalKind = PrincipalKind.LOCAL
    scopes: frozenset[Scope] = ALL_SCOPES
    row_scope: RowScope | None = None

    def __post_init__(self) -> None:
        """Check the id, which the history will record."""
        errors: list[FieldError] = []
        check_line(self.id, "", MAX_ID_LENGTH, errors)
        if errors:
            raise InvalidInput(errors)


SERVICE_PRINCIPAL: Final = Principal(id="service", kind=PrincipalKind.SERVICE)
"""The principal of background work: schema refreshes, measurements, the end of jobs."""

LOCAL_PRINCIPAL: Final = Principal(id="local")
"""The principal of every request to a service without access control."""

ANONYMOUS: Final = Principal(id="anonymous", kind=PrincipalKind.ANONYMOUS, scopes=frozenset())
"""The principal of a request without valid credentials."""
