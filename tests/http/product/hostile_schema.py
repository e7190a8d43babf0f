"""A schema whose columns have everything that documents were published wrongly for."""

from typing import Any, Final

COLUMNS: Final[tuple[dict[str, Any], ...]] = (
    {"name": "permit_on", "type": "date", "minimum": "2000-01-01", "maximum": "2100-12-31"},
    {"name": "metered_at", "type": "timestamp", "minimum": "2000-01-01T00:00:00+02:00"},
    {"name": "price_tag", "type": "string", "pattern": r"[0-9]+\$"},
    {"name": "label", "type": "string(9)", "pattern": r"\S+"},
    {"name": "choice", "type": "string", "pattern": r"^a|b\\|[\]\-^]$"},
    {"name": "lookalike", "type": "string", "pattern": "\u0430bc|٣|é\u2028|😀{1,2}"},
    {"name": "ratio", "type": "decimal(38,20)", "enum": [0.1, 2.5]},
    {"name": "tranche_amount", "type": "decimal(20,4)", "enum": [10, 20.5], "aliases": ["tranche"]},
    {"name": "fee_amount", "type": "decimal(38,2)", "minimum": 0, "aliases": ["fee", "levy"]},
    {"name": "weight", "type": "decimal(38,38)", "required": True, "default": 0.5},
    {"name": "serial", "type": "bigint", "maximum": 9223372036854775806},
    {"name": "share_of", "type": "double", "minimum": 0, "maximum": 1.5},
    {"name": "quoted", "type": "string", "enum": ['say "hi"', "it's", "a\\b", "a: b", "- x", "no"]},
    {"name": "class", "type": "string(5)"},
    {"name": "select", "type": "integer", "aliases": ["from", "where"]},
    {"name": "null", "type": "boolean", "required": True, "default": False},
    {"name": "yes", "type": "date", "deprecated": True, "sunset": "2050-01-31"},
)

VALUES: Final[dict[str, Any]] = {
    "permit_on": "2026-01-31",
    "metered_at": "2026-01-31T12:00:00Z",
    "price_tag": "15$",
    "label": "a\u2028b",
    "choice": "^",
    "lookalike": "😀😀",
    "tranche": "20.50",
    "levy": 9.25,
    "serial": 9223372036854775806,
    "share_of": 1.5,
    "quoted": 'say "hi"',
    "class": "A",
    "where": 3,
    "null": True,
    "yes": "2026-01-31",
}
