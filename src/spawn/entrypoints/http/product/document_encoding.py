"""Encoding of documents as JSON and YAML, with every digit of their decimals."""

from decimal import Decimal
from typing import Any, Final

import msgspec
import yaml  # type: ignore[import-untyped]  # it has no types of its own

encode_json_document: Final = msgspec.json.Encoder(decimal_format="number").encode
"""Encode a document as JSON; a decimal is a number of exactly its digits."""


class _ExactDumper(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc]  # untyped
    """Dumper of YAML whose numbers keep the digits of decimals."""


def _represent_decimal(dumper: Any, value: Decimal) -> Any:
    digits = f"{value:f}"
    return dumper.represent_scalar(
        "tag:yaml.org,2002:float", digits if "." in digits else f"{digits}.0"
    )


_ExactDumper.add_representer(Decimal, _represent_decimal)


def encode_yaml_document(document: object) -> bytes:
    """Encode a document as YAML in block style, in its own order."""
    plain = msgspec.to_builtins(document, builtin_types=(Decimal,))
    content: bytes = yaml.dump(
        plain, Dumper=_ExactDumper, encoding="utf-8", sort_keys=False, allow_unicode=True
    )
    return content
