"""Core fields of a project whose values are codes of a standard, as one table.

The columns, readers, JSON Schemas, quality rules and examples of these fields are derived from it.
"""

from collections.abc import Callable, Mapping

import msgspec

from spawn.domain.errors import FieldError
from spawn.domain.iso.countries import ALPHA_3, COUNTRIES, parse_country
from spawn.domain.iso.subdivisions import SUBDIVISIONS, find_country, parse_subdivision
from spawn.domain.money import CURRENCIES, get_exponent


class CodeField(msgspec.Struct, frozen=True, kw_only=True):
    """A core field and the closed list of its codes.

    `parse` converts an accepted text to its code, or raises `InvalidInput` at `pointer` with
    `unknown_error`; `aliases` are the codes of accepted texts that are no codes themselves;
    `input_pattern` matches every accepted text, `pattern` every code. `within`
    names the field that a code must agree with; `find_parent` returns the only value it may have.
    """

    name: str
    standard: str
    description: str
    semantic: str | None = None
    codes: tuple[str, ...]
    parse: Callable[..., str]
    pattern: str
    input_pattern: str = ""
    aliases: Mapping[str, str] = {}
    default: str | None = None
    examples: tuple[str, ...]
    unknown_error: str
    within: str | None = None
    mismatch_error: str = ""
    find_parent: Callable[[str], str | None] | None = None

    @property
    def max_length(self) -> int:
        """Characters of the longest code."""
        return max(map(len, self.codes))


def parse_currency(code: str, *, pointer: str = "") -> str:
    """Return the code of a currency with a minor unit.

    Raises:
        InvalidInput: `unknown_currency` or `no_minor_unit` at `pointer`.
    """
    get_exponent(code, pointer=pointer)
    return code


_FIELDS = (
    CodeField(
        name="currency_code",
        standard="ISO 4217",
        description="ISO 4217 code of the currency of every amount of the project.",
        semantic="https://spec.edmcouncil.org/fibo/ontology/FND/Accounting/CurrencyAmount/Currency",
        codes=tuple(sorted(c for c, unit in CURRENCIES.items() if unit.exponent is not None)),
        parse=parse_currency,
        pattern="^[A-Z]{3}$",
        default="USD",
        examples=("EUR", "USD"),
        unknown_error="unknown_currency",
    ),
    CodeField(
        name="country_code",
        standard="ISO 3166-1 alpha-3",
        description="ISO 3166-1 alpha-3 code of the country of the asset.",
        codes=tuple(sorted(COUNTRIES)),
        parse=parse_country,
        pattern="^[A-Z]{3}$",
        input_pattern="^[A-Z]{2,3}$",
        aliases={text: code for text, code in ALPHA_3.items() if text != code},
        examples=("ESP", "PRT"),
        unknown_error="unknown_country",
    ),
    CodeField(
        name="subdivision_code",
        standard="ISO 3166-2",
        description="ISO 3166-2 code of the region of the asset; needs the region's country.",
        semantic="https://schema.org/addressRegion",
        codes=tuple(sorted(SUBDIVISIONS)),
        parse=parse_subdivision,
        pattern="^[A-Z]{2}-[A-Z0-9]{1,3}$",
        examples=("ES-GA", "PT-13"),
        unknown_error="unknown_subdivision",
        within="country_code",
        mismatch_error="country_mismatch",
        find_parent=find_country,
    ),
)
CODE_FIELDS: dict[str, CodeField] = {field.name: field for field in _FIELDS}
"""Code fields by name, in document order."""

# A currency is checked together with the amount in it.
_RULES = [(field, frozenset(field.codes)) for field in _FIELDS if field.name != "currency_code"]


def check_codes(project: object, errors: list[FieldError]) -> None:
    """Append an error for each code that is unknown or disagrees with the field it is within."""
    for field, codes in _RULES:
        code = getattr(project, field.name)
        if code is None:
            continue
        pointer = f"/{field.name}"
        if code not in codes:
            detail = f"must be an {field.standard} code such as {field.examples[0]}"
            errors.append(FieldError(pointer, field.unknown_error, detail))
        elif field.within is not None and field.find_parent is not None:
            parent = field.find_parent(code)
            if getattr(project, field.within) != parent:
                detail = f"needs {field.within} {parent}"
                errors.append(FieldError(pointer, field.mismatch_error, detail))
