"""Encoding of documents as JSON and YAML, with every digit of their decimals."""

import re
from decimal import Decimal
from functools import cache
from typing import Any, Final

import msgspec

encode_json_document: Final = msgspec.json.Encoder(decimal_format="number").encode
"""Encode a document as JSON; a decimal is a number of exactly its digits."""

_EARLIER_BREAKS: Final = re.compile("[\x85\u2028\u2029]")
_AMBIGUOUS: Final = {
    "float": (r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$", "-+.0123456789"),
    "int": (r"[-+]?0[oO][0-7]+$", "-+0"),
    "bool": (r"[yYnN]$", "yYnN"),
}
"""Texts that need quotes beside those of YAML 1.1, as expression and first characters, by type.

YAML 1.2 reads 1e3 and 0o14 as numbers, and some readers of 1.1 read y and n as booleans.
"""


def encode_yaml_document(document: object) -> bytes:
    """Encode a document as YAML in block style, in its own order."""
    import yaml  # type: ignore[import-untyped]  # it has no types of its own

    plain = msgspec.to_builtins(document, builtin_types=(Decimal,))
    content: bytes = yaml.dump(
        plain, Dumper=_exact_dumper(), encoding="utf-8", sort_keys=False, allow_unicode=True
    )
    return content


@cache
def _exact_dumper() -> Any:
    """Return a dumper of YAML whose numbers keep the digits of decimals."""
    import yaml  # 30 ms, which no start needs

    class ExactDumper(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc]  # untyped
        pass

    ExactDumper.add_representer(Decimal, _represent_decimal)
    ExactDumper.add_representer(str, _represent_text)
    for name, (expression, first) in _AMBIGUOUS.items():
        tag = f"tag:yaml.org,2002:{name}"
        ExactDumper.add_implicit_resolver(tag, re.compile(expression), [*first])
    return ExactDumper


def _represent_decimal(dumper: Any, value: Decimal) -> Any:
    digits = f"{value:f}"
    return dumper.represent_scalar(
        "tag:yaml.org,2002:float", digits if "." in digits else f"{digits}.0"
    )


def _represent_text(dumper: Any, value: str) -> Any:
    # Line breaks of YAML 1.1 alone; between double quotes they are escaped.
    style = '"' if _EARLIER_BREAKS.search(value) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)
