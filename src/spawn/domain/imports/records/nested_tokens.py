"""Objects and lists from values at paths, as the cells of a table state them."""

from collections.abc import Mapping
from typing import Any

from spawn.domain.errors import InvalidInput
from spawn.domain.json_tokens import Token


def nest_tokens(values: Mapping[str, Token]) -> dict[str, Token]:
    """Return an object with each value at its path; a null is absent.

    `lenders.0.share` is the member `share` of the first item of `lenders`. Items are in the order
    of their numbers, and those without a value are left out.

    Raises:
        InvalidInput: a path leads into a value.
    """
    root: dict[str, Any] = {}
    for path, value in values.items():
        if value is None:
            continue
        *parents, last = path.split(".")
        place = root
        for part in parents:
            place = place.setdefault(part, {})
            if not isinstance(place, dict):
                detail = f"is stated beside {part}, which is a value"
                raise InvalidInput.at(f"/{path.replace('.', '/')}", "contradiction", detail)
        place[last] = value
    return {name: _order_items(member) for name, member in root.items()}


def _order_items(member: Any) -> Token:
    """Return a member; an object whose names are all numbers is a list."""
    if not isinstance(member, dict):
        return member  # type: ignore[no-any-return]  # a token
    members = {name: _order_items(value) for name, value in member.items()}
    if members and all(name.isdecimal() for name in members):
        return [members[name] for name in sorted(members, key=int)]
    return members
