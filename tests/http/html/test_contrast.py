"""Colours of the pages: texts and lines stand out from their grounds, in light, dark and print."""

import re
from itertools import product

import pytest
from tests.http.html.test_rendering import STATIC

STYLE = (STATIC / "style.css").read_text()
SCHEMES = dict(
    zip(("light", "dark", "print"), re.findall(r":root \{(.*?)\}", STYLE, re.DOTALL), strict=True)
)
TEXTS = ("ink", "quiet", "accent", "ok", "warn", "bad")
GROUNDS = ("ground", "card", "soft")
SHADES = {"shade-1": "on-light", "shade-2": "on-light", "shade-3": "on-dark", "shade-4": "on-dark"}
TEXT_CONTRAST = 4.5
"""Least contrast of WCAG 2.2, 1.4.3, level AA."""


def read_colours(scheme: str) -> dict[str, str]:
    return dict(re.findall(r"--([a-z0-9-]+): (#[0-9a-f]{3,6})", SCHEMES[scheme]))


def luminance(colour: str) -> float:
    digits = colour[1:]
    pairs = [2 * one for one in digits] if len(digits) == 3 else re.findall("..", digits)
    parts = [int(pair, 16) / 255 for pair in pairs]
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(first: str, second: str) -> float:
    lights = sorted((luminance(first), luminance(second)))
    return (lights[1] + 0.05) / (lights[0] + 0.05)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_texts_stand_out_from_every_ground(scheme: str) -> None:
    colours = read_colours(scheme)
    pairs = [*product(TEXTS, GROUNDS), *((text, shade) for shade, text in SHADES.items())]
    assert contrast("#000", "#fff") == pytest.approx(21)
    faint = {
        (text, ground): round(contrast(colours[text], colours[ground]), 2)
        for text, ground in pairs
        if contrast(colours[text], colours[ground]) < TEXT_CONTRAST
    }
    assert faint == {}


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_darker_or_lighter_shade_is_always_a_larger_share(scheme: str) -> None:
    colours = read_colours(scheme)
    steps = [luminance(colours[shade]) for shade in SHADES]
    assert steps in (sorted(steps), sorted(steps, reverse=True))
