"""Encoding of documents as JSON and YAML, with every digit of their decimals."""

from decimal import Decimal
from functools import cache
from typing import Any, Final

import msgspec

encode_json_document: Final = msgspec.json.Encoder(decimal_format="number").encode
"""Encode a document as JSON; a decimal is a number of exactly its digits."""


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
    return ExactDumper


def _represent_decimal(dumper: Any, value: Decimal) -> Any:
    digits = f"{value:f}"
    return dumper.represent_scalar(
        "tag:yaml.org,2002:float", digits if "." in digits else f"{digits}.0"
    )
